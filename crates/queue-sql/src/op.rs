//! What the writer is asked to do, with room for the answer.
//!
//! An operation keeps its input until its group is committed, because a group may have to be applied twice (see
//! `group`). Its answer waits in a slot and is sent after the commit, never before.

use std::sync::Arc;

use bytes::Bytes;
use cresset_queue::{
    Cancelled, Expiries, Finished, Idempotency, LeaseRequest, NewTask, QueueError, QueueErrorKind, Release,
    Replayed, Retry, Submitted, Turn,
};
use cresset_task::{Attempt, CacheUse, Callback, Redelivery, TaskId, Tenant, Timestamp};
use tokio::sync::oneshot;

use crate::bulk::BulkOp;
use crate::codec::retry_text;
use crate::depth::Owner;
use crate::error::StoreError;
use crate::files::{Doomed, Files};
use crate::letters::Doom;
use crate::outbox::OutboxOp;
use crate::place::Kept;
use crate::purge::Purged;
use crate::returns::{Given, Leased, Returns};

/// A task, its input already in stored form: encoding is the caller's work, not the writer's.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) id: TaskId,
    pub(crate) owner: Owner,
    pub(crate) priority: i8,
    pub(crate) turn: Turn,
    pub(crate) weight: i64,
    pub(crate) created_at: Timestamp,
    pub(crate) due_at: Option<Timestamp>,
    pub(crate) expires_at: Option<Timestamp>,
    pub(crate) deadline_at: Option<Timestamp>,
    pub(crate) metadata: Option<Bytes>,
    pub(crate) input: Kept,
    pub(crate) idempotency: Option<Idempotency>,
    pub(crate) cache: CacheUse,
    /// In stored form.
    pub(crate) retry: Option<String>,
    /// In stored form.
    pub(crate) trace: Option<String>,
    pub(crate) tenant: Option<Tenant>,
    pub(crate) callback: Option<Callback>,
}

impl Submission {
    /// A task whose payload, of this weight, has gone where its row will have it.
    pub(crate) fn new(task: NewTask, weight: usize, input: Kept) -> Result<Self, StoreError> {
        let retry = retry_text(task.retry.as_deref())?;
        Ok(Self {
            id: task.id,
            owner: Owner {
                model: task.model,
                client: task.client,
            },
            priority: task.priority,
            turn: task.turn,
            weight: i64::try_from(weight).unwrap_or(i64::MAX),
            created_at: task.created_at,
            due_at: task.due_at,
            expires_at: task.expires_at,
            deadline_at: task.deadline_at,
            metadata: task.metadata,
            input,
            idempotency: task.idempotency,
            cache: task.cache,
            retry,
            trace: task.trace.map(|trace| trace.to_text()),
            tenant: task.tenant,
            callback: task.callback,
        })
    }
}

/// The end of a task, its outcome already in stored form.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) id: TaskId,
    pub(crate) attempt: Attempt,
    pub(crate) redeliveries: u32,
    pub(crate) history: Vec<Redelivery>,
    pub(crate) state: i64,
    pub(crate) version: Option<String>,
    pub(crate) finished_at: Timestamp,
    pub(crate) outcome: Kept,
    /// In stored form.
    pub(crate) evidence: Option<String>,
    pub(crate) cached: bool,
}

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

/// Where an answer waits for the commit. `R` is what the caller gets of a `T`.
#[derive(Debug)]
pub(crate) struct Slot<T, R = T> {
    answer: Option<Result<T, StoreError>>,
    reply: oneshot::Sender<Result<R, QueueError>>,
}

impl<T, R> Slot<T, R> {
    pub(crate) fn new() -> (Self, oneshot::Receiver<Result<R, QueueError>>) {
        let (reply, receiver) = oneshot::channel();
        (Self { answer: None, reply }, receiver)
    }

    /// The answer, if the commit succeeds; replaces that of an earlier try.
    pub(crate) fn set(&mut self, answer: Result<T, StoreError>) {
        self.answer = Some(answer);
    }

    /// True when there is an answer, and it is like this.
    pub(crate) fn answered(&self, is: impl FnOnce(&T) -> bool) -> bool {
        matches!(&self.answer, Some(Ok(answer)) if is(answer))
    }

    pub(crate) fn settle(self, operation: &'static str, given: impl FnOnce(T) -> R) {
        let answer = match self.answer {
            Some(Ok(answer)) => Ok(given(answer)),
            Some(Err(error)) => Err(error.into_queue(operation)),
            None => Err(QueueError::new(
                QueueErrorKind::Internal,
                operation,
                "it was committed without an answer",
            )),
        };
        // The caller may have gone; what must not be lost then gives itself back (see `returns`).
        let _gone = self.reply.send(answer);
    }

    pub(crate) fn fail(self, operation: &'static str, error: StoreError) {
        let _gone = self.reply.send(Err(error.into_queue(operation)));
    }
}
