//! What the writer is asked to do, with room for the answer.

use cresset_queue::kit::remote::{Operation, Undo, Waiting};
use cresset_queue::kit::{self, Doom, Entry, Stored};
use cresset_queue::{
    BulkAdded, BulkMade, BulkSealed, Cancelled, Expiries, Finished, InboxTaken, Lease, LeaseRequest, NewBulk,
    OutboxRequest, Redelivered, Release, Replayed, Retry, Sendings, Submitted, Tried,
};
use cresset_task::{BulkId, EventId, TaskId, Timestamp};

use crate::error::StoreError;
use crate::submission::{Ending, Submission};

/// Where an answer waits for the commit.
pub(crate) type Slot<T, R = T> = kit::Slot<T, StoreError, R>;

/// A line of a bulk, its task's input already in stored form.
pub(crate) type Line = kit::Line<Stored>;
/// Leases on their way to their asker; they go back when it has gone.
pub(crate) type Given = kit::Given<Lease>;

/// What is asked.
#[derive(Debug)]
pub(crate) enum Op {
    Submit {
        task: Box<Submission>,
        slot: Slot<Submitted>,
    },
    Lease {
        request: LeaseRequest,
        slot: Slot<Vec<Lease>, Given>,
    },
    Release {
        leases: Vec<Release>,
        slot: Slot<()>,
    },
    /// Leases nobody received; nobody waits for an answer either.
    GiveBack {
        leases: Vec<Release>,
    },
    Finish {
        endings: Vec<Ending>,
        slot: Slot<Vec<Finished>>,
    },
    Retry {
        retries: Vec<Retry>,
        slot: Slot<Vec<Finished>>,
    },
    Cancel {
        id: TaskId,
        reason: String,
        now: Timestamp,
        slot: Slot<Cancelled>,
    },
    Expire {
        now: Timestamp,
        slot: Slot<Expiries>,
    },
    Purge {
        now: Timestamp,
        slot: Slot<usize>,
    },
    Replay {
        letter: TaskId,
        task: Box<Submission>,
        slot: Slot<Replayed>,
    },
    Discard {
        doom: Doom,
        slot: Slot<usize>,
    },
    OutboxLease {
        request: OutboxRequest,
        slot: Slot<Sendings>,
    },
    OutboxSettle {
        tried: Tried,
        slot: Slot<Finished>,
    },
    Redeliver {
        id: EventId,
        now: Timestamp,
        slot: Slot<Redelivered>,
    },
    BulkMake {
        new: NewBulk,
        slot: Slot<BulkMade>,
    },
    BulkAdd {
        id: BulkId,
        first: u64,
        lines: Vec<Line>,
        now: Timestamp,
        slot: Slot<BulkAdded>,
    },
    BulkSeal {
        id: BulkId,
        total: u64,
        slot: Slot<BulkSealed>,
    },
    BulkCancel {
        id: BulkId,
        now: Timestamp,
        slot: Slot<bool>,
    },
    InboxTake {
        entries: Vec<Entry>,
        now: Timestamp,
        slot: Slot<Vec<InboxTaken>>,
    },
    /// Servers that seem to have ended; nobody waits for an answer.
    Reap {
        ids: Vec<i64>,
        requeued: u64,
    },
    /// This server ends.
    Leave,
    /// This server is there.
    Beat,
    /// What it says of itself; the others hear of it if `is_news`.
    Introduce {
        about: String,
        is_news: bool,
        slot: Slot<()>,
    },
    Probe {
        slot: Slot<()>,
    },
}

impl Op {
    /// True where other servers may soon have something to tell of the same tasks: it pays to look for it often.
    pub(crate) fn has_more_to_come(&self) -> bool {
        matches!(
            self,
            Self::Submit { .. }
                | Self::Lease { .. }
                | Self::Release { .. }
                | Self::GiveBack { .. }
                | Self::Finish { .. }
                | Self::Retry { .. }
                | Self::Cancel { .. }
                | Self::Replay { .. }
                | Self::BulkAdd { .. }
                | Self::InboxTake { .. }
        )
    }
}

impl Operation for Op {
    type Error = StoreError;

    fn give_back(leases: Vec<Release>) -> Self {
        Self::GiveBack { leases }
    }

    fn given_back(self) -> Option<Vec<Release>> {
        match self {
            Self::GiveBack { leases } => Some(leases),
            _ => None,
        }
    }

    fn slot(&mut self) -> Option<(&'static str, &mut dyn Waiting<StoreError>)> {
        Some(match self {
            Self::Submit { slot, .. } => ("submit", slot),
            Self::Lease { slot, .. } => ("lease", slot),
            Self::Release { slot, .. } => ("release", slot),
            Self::Finish { slot, .. } => ("finish", slot),
            Self::Retry { slot, .. } => ("retry", slot),
            Self::Cancel { slot, .. } => ("cancel", slot),
            Self::Expire { slot, .. } => ("expire", slot),
            Self::Purge { slot, .. } => ("purge", slot),
            Self::Replay { slot, .. } => ("replay", slot),
            Self::Discard { slot, .. } => ("discard", slot),
            Self::OutboxLease { slot, .. } => ("outbox_lease", slot),
            Self::OutboxSettle { slot, .. } => ("outbox_settle", slot),
            Self::Redeliver { slot, .. } => ("redeliver", slot),
            Self::BulkMake { slot, .. } => ("bulk_make", slot),
            Self::BulkAdd { slot, .. } => ("bulk_add", slot),
            Self::BulkSeal { slot, .. } => ("bulk_seal", slot),
            Self::BulkCancel { slot, .. } => ("bulk_cancel", slot),
            Self::InboxTake { slot, .. } => ("inbox_take", slot),
            Self::Introduce { slot, .. } => ("introduce", slot),
            Self::Probe { slot, .. } => ("probe", slot),
            Self::GiveBack { .. } | Self::Reap { .. } | Self::Leave | Self::Beat => return None,
        })
    }

    fn weight(&self) -> usize {
        match self {
            Self::Submit { task, .. } | Self::Replay { task, .. } => task.input.bytes.len(),
            Self::Finish { endings, .. } => endings.iter().map(|e| e.outcome.bytes.len()).sum(),
            Self::BulkAdd { lines, .. } => lines.iter().map(Line::weight).sum(),
            Self::InboxTake { entries, .. } => entries.iter().map(Entry::weight).sum(),
            _ => 0,
        }
    }

    /// A lease gives itself back. Everything else may be asked for again and changes nothing then; and a task that was taken out
    /// of the inbox must be there, whatever was answered.
    fn undo(&self, undo: &mut Undo) {
        match self {
            Self::Submit { task, slot } => undo.submit(task, slot),
            Self::OutboxLease { slot, .. } => undo.outbox_lease(slot),
            _ => {}
        }
    }
}
