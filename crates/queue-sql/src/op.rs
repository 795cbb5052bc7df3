//! What the writer is asked to do, with room for the answer.
//!
//! How its answer waits for the commit is in `cresset_queue::kit`.

use std::sync::Arc;

use cresset_queue::kit::{self, Doom, Returns};
use cresset_queue::{Cancelled, Expiries, Finished, LeaseRequest, Release, Replayed, Retry, Submitted};
use cresset_task::{TaskId, Timestamp};

use crate::bulk::BulkOp;
use crate::error::StoreError;
use crate::files::{Doomed, Files};
use crate::outbox::OutboxOp;
use crate::place::Kept;
use crate::purge::Purged;
use crate::returns::{Given, Leased};

/// A task, its input in a row or in a file.
pub(crate) type Submission = kit::Submission<Kept>;
/// The end of a task, likewise.
pub(crate) type Ending = kit::Ending<Kept>;
/// Where an answer waits for the commit.
pub(crate) type Slot<T, R = T> = kit::Slot<T, StoreError, R>;

/// An operation of the writer.
#[derive(Debug)]
pub(crate) enum Op {
    Submit {
        task: Box<Submission>,
        slot: Slot<Submitted>,
    },
    Lease {
        request: LeaseRequest,
        slot: Slot<Vec<Leased>, Given>,
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
        slot: Slot<Purged, Doomed>,
    },
    Replay {
        letter: TaskId,
        task: Box<Submission>,
        slot: Slot<Replayed>,
    },
    Discard {
        doom: Doom,
        slot: Slot<Purged, Doomed>,
    },
    Outbox(OutboxOp),
    Bulk(BulkOp),
    Probe {
        slot: Slot<()>,
    },
}

impl Op {
    /// True when the answer promises stable storage. Losing a lease or a release with the machine costs nothing: leases end
    /// with their process. An expiry is an end that callers are told, and a clock that was set back might let what it ended
    /// run after all. A purge could be done again, but not after the files of its rows have been removed.
    pub(crate) fn promises_durability(&self) -> bool {
        if let Self::Outbox(op) = self {
            return op.promises_durability();
        }
        matches!(
            self,
            Self::Submit { .. }
                | Self::Finish { .. }
                | Self::Retry { .. }
                | Self::Cancel { .. }
                | Self::Expire { .. }
                | Self::Purge { .. }
                | Self::Replay { .. }
                | Self::Discard { .. }
                | Self::Bulk(_)
                | Self::Probe { .. }
        )
    }

    /// Bytes it brings into the transaction.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Submit { task, .. } | Self::Replay { task, .. } => task.input.weight(),
            Self::Bulk(op) => op.weight(),
            Self::Finish { endings, .. } => endings.iter().map(|e| e.outcome.weight()).sum(),
            Self::Lease { .. }
            | Self::Release { .. }
            | Self::GiveBack { .. }
            | Self::Retry { .. }
            | Self::Cancel { .. }
            | Self::Expire { .. }
            | Self::Purge { .. }
            | Self::Discard { .. }
            | Self::Outbox(_)
            | Self::Probe { .. } => 0,
        }
    }

    /// Its group is committed: new files that rows name now stay, others go, and the answer goes out.
    pub(crate) fn settle(self, returns: &Arc<Returns>, files: &Arc<Files>) {
        match self {
            Self::Submit { task, slot } => {
                if slot.answered(|submitted| *submitted == Submitted::New) {
                    task.input.keep();
                }
                slot.settle("submit", |submitted| submitted);
            }
            Self::Lease { slot, .. } => slot.settle("lease", |leases| Given::new(leases, returns)),
            Self::Release { slot, .. } => slot.settle("release", |()| ()),
            Self::GiveBack { .. } => {}
            Self::Finish { endings, slot } => {
                for (number, ending) in endings.into_iter().enumerate() {
                    if slot.answered(|answers| answers.get(number) == Some(&Finished::Recorded)) {
                        ending.outcome.keep();
                    }
                }
                slot.settle("finish", |answers| answers);
            }
            Self::Retry { slot, .. } => slot.settle("retry", |answers| answers),
            Self::Cancel { slot, .. } => slot.settle("cancel", |cancelled| cancelled),
            Self::Expire { slot, .. } => slot.settle("expire", |expiries| expiries),
            Self::Purge { slot, .. } => {
                slot.settle("purge", |purged| Doomed::new(purged.count, purged.files, files));
            }
            Self::Replay { task, slot, .. } => {
                if slot.answered(|replayed| *replayed == Replayed::New) {
                    task.input.keep();
                }
                slot.settle("replay", |replayed| replayed);
            }
            Self::Discard { slot, .. } => {
                slot.settle("discard", |gone| Doomed::new(gone.count, gone.files, files));
            }
            Self::Outbox(op) => op.settle(),
            Self::Bulk(op) => op.settle(),
            Self::Probe { slot } => slot.settle("probe", |()| ()),
        }
    }

    /// It did not happen, or nobody knows. What it would have kept is the caller's to drop, which removes it.
    pub(crate) fn fail(self, error: StoreError, returns: &Arc<Returns>) -> Vec<Kept> {
        match self {
            Self::Submit { task, slot } => {
                slot.fail("submit", error);
                return vec![task.input];
            }
            Self::Replay { task, slot, .. } => {
                slot.fail("replay", error);
                return vec![task.input];
            }
            Self::Lease { slot, .. } => slot.fail("lease", error),
            Self::Release { slot, .. } => slot.fail("release", error),
            Self::GiveBack { leases } => returns.put_back(leases),
            Self::Finish { endings, slot } => {
                slot.fail("finish", error);
                return endings.into_iter().map(|ending| ending.outcome).collect();
            }
            Self::Retry { slot, .. } => slot.fail("retry", error),
            Self::Cancel { slot, .. } => slot.fail("cancel", error),
            Self::Expire { slot, .. } => slot.fail("expire", error),
            Self::Purge { slot, .. } => slot.fail("purge", error),
            Self::Discard { slot, .. } => slot.fail("discard", error),
            Self::Outbox(op) => op.fail(error),
            Self::Bulk(op) => return op.fail(error),
            Self::Probe { slot } => slot.fail("probe", error),
        }
        Vec::new()
    }
}
