//! What the writer is asked to do, with room for the answer.

use std::sync::Arc;

use cresset_queue::kit::{self, Doom, Returns, Stored};
use cresset_queue::{
    BulkAdded, BulkMade, BulkSealed, Cancelled, Expiries, Finished, Lease, LeaseRequest, NewBulk,
    OutboxRequest, Redelivered, Release, Replayed, Retry, Sendings, Submitted, Tried,
};
use cresset_task::{BulkId, EventId, TaskId, Timestamp};

use crate::apply::Undo;
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
    Probe {
        slot: Slot<()>,
    },
}

/// An arm for each operation that somebody waits for.
macro_rules! each_slot {
    ($op:expr, |$slot:ident, $name:ident| $does:expr, $none:pat => $otherwise:expr) => {
        each_slot!(@ $op, $slot, $name, $does, $none => $otherwise;
            Submit "submit", Release "release", Finish "finish", Retry "retry", Cancel "cancel", Expire "expire",
            Purge "purge", Replay "replay", Discard "discard", OutboxLease "outbox_lease",
            OutboxSettle "outbox_settle", Redeliver "redeliver", BulkMake "bulk_make", BulkAdd "bulk_add",
            BulkSeal "bulk_seal", BulkCancel "bulk_cancel", Probe "probe")
    };
    (@ $op:expr, $slot:ident, $name:ident, $does:expr, $none:pat => $otherwise:expr; $($variant:ident $called:literal),*) => {
        match $op {
            $(Op::$variant { slot: $slot, .. } => {
                let $name = $called;
                $does
            })*
            $none => $otherwise,
        }
    };
}

impl Op {
    /// Bytes it brings into the transaction.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Submit { task, .. } | Self::Replay { task, .. } => task.input.bytes.len(),
            Self::Finish { endings, .. } => endings.iter().map(|e| e.outcome.bytes.len()).sum(),
            Self::BulkAdd { lines, .. } => lines.iter().map(line_weight).sum(),
            _ => 0,
        }
    }

    /// Its group is committed: the answer goes out.
    pub(crate) fn settle(self, returns: &Arc<Returns>) {
        if let Self::Lease { slot, .. } = self {
            slot.settle("lease", |leases| Given::new(leases, returns));
            return;
        }
        each_slot!(self, |slot, name| slot.settle(name, |answer| answer), _ => {});
    }

    /// It did not happen, or nobody knows.
    pub(crate) fn fail(mut self, error: &StoreError, returns: &Returns) {
        self.refuse(error);
        if let Self::GiveBack { leases } = self {
            returns.put_back(leases);
        }
    }

    /// Its caller is told that it failed; whether it did is not known yet.
    pub(crate) fn refuse(&mut self, error: &StoreError) {
        if let Self::Lease { slot, .. } = self {
            slot.refuse("lease", error.clone());
            return;
        }
        each_slot!(self, |slot, name| slot.refuse(name, error.clone()), _ => {});
    }

    /// What is to be undone of it when its caller was told that it failed and it was committed all the same. A lease gives
    /// itself back. Everything else may be asked for again and changes nothing then.
    pub(crate) fn undo(&self, undo: &mut Undo) {
        match self {
            Self::Submit { task, slot } if slot.answered(|submitted| *submitted == Submitted::New) => {
                undo.submitted.push(task.id);
                undo.begun.extend(task.started_at.map(|_| task.id));
            }
            Self::OutboxLease { slot, .. } => {
                slot.answered(|given| {
                    undo.sendings
                        .extend(given.sendings.iter().map(|sending| (sending.id, sending.fence)));
                    true
                });
            }
            _ => {}
        }
    }
}

fn line_weight(line: &Line) -> usize {
    match line {
        Line::Task(task) => task.input.bytes.len(),
        Line::Wrong(error) => error.len(),
    }
}
