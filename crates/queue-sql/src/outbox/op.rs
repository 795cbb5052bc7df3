//! What the writer is asked to do with the outbox.

use cresset_queue::kit::Change;
use cresset_queue::{Finished, OutboxRequest, Redelivered, Sendings, Tried};
use cresset_task::{EventId, Timestamp};
use rusqlite::Connection;

use crate::error::StoreError;
use crate::op::Slot;

/// An operation.
#[derive(Debug)]
pub(crate) enum OutboxOp {
    Lease {
        request: OutboxRequest,
        slot: Slot<Sendings>,
    },
    Settle {
        tried: Tried,
        slot: Slot<Finished>,
    },
    Redeliver {
        id: EventId,
        now: Timestamp,
        slot: Slot<Redelivered>,
    },
}

impl OutboxOp {
    pub(crate) fn apply(&mut self, conn: &Connection, change: &mut Change) -> Result<(), StoreError> {
        match self {
            Self::Lease { request, slot } => slot.set(Ok(super::lease(conn, request, change)?)),
            Self::Settle { tried, slot } => slot.set(Ok(super::settle(conn, tried, change)?)),
            Self::Redeliver { id, now, slot } => {
                slot.set(Ok(super::redeliver(conn, *id, *now, change)?));
            }
        }
        Ok(())
    }

    /// As with tasks, a lease that the machine's death undoes costs nothing.
    pub(crate) fn promises_durability(&self) -> bool {
        matches!(self, Self::Settle { .. } | Self::Redeliver { .. })
    }

    pub(crate) fn settle(self) {
        match self {
            Self::Lease { slot, .. } => slot.settle("outbox_lease", |sendings| sendings),
            Self::Settle { slot, .. } => slot.settle("outbox_settle", |finished| finished),
            Self::Redeliver { slot, .. } => slot.settle("redeliver", |done| done),
        }
    }

    pub(crate) fn fail(self, error: StoreError) {
        match self {
            Self::Lease { slot, .. } => slot.fail("outbox_lease", error),
            Self::Settle { slot, .. } => slot.fail("outbox_settle", error),
            Self::Redeliver { slot, .. } => slot.fail("redeliver", error),
        }
    }
}
