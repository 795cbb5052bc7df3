//! The port to where states and results live.

use async_trait::async_trait;
use cresset_task::{Attempt, Evidence, Outcome, Ownership, Redelivery, TaskId, TaskRecord, Timestamp};

use crate::error::QueueError;
use crate::revoke::{Cancelled, Expiries};

/// The end of a task, as the holder of its lease reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The task.
    pub id: TaskId,
    /// The attempt that ends it.
    pub attempt: Attempt,
    /// How often the holder of the lease ran it again by itself (its batch raised, its instance died). Counted into the
    /// task's attempts.
    pub redeliveries: u32,
    /// Why, oldest first; goes into the task's history.
    pub history: Vec<Redelivery>,
    /// How it ended.
    pub outcome: Outcome,
    /// The model version that ended it.
    pub version: Option<String>,
    /// When.
    pub finished_at: Timestamp,
    /// How the input took its process down, if that is how it ended: it is kept as a dead letter then.
    pub evidence: Option<Box<Evidence>>,
    /// The outcome is that of an equal input, and no process ran this task. Shown by `fetch`.
    pub cached: bool,
}

/// A task that failed and is to be tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The task.
    pub id: TaskId,
    /// The attempt that gives it up.
    pub attempt: Attempt,
    /// As in [`Completion`].
    pub redeliveries: u32,
    /// As in [`Completion`], this failure last.
    pub history: Vec<Redelivery>,
    /// Not before this.
    pub due_at: Timestamp,
}

/// What became of a completion or a retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finished {
    /// It is the task's one outcome now.
    Recorded,
    /// Refused: the task had ended already, or another attempt holds its lease, or there is no such task.
    Stale,
}

/// What is known of an id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The task.
    Found(Box<TaskRecord>),
    /// There was such a task; it ended and its record has been purged.
    Expired,
    /// No such task was ever accepted, as far as anyone can remember.
    Unknown,
}

/// Where states and results live.
///
/// Promises that every implementation keeps, and the conformance suite checks by name:
///
/// - *One terminal state, once.* The first completion under the current attempt is recorded; every other one is `Stale`
///   and changes nothing. When `finish` returns `Ok`, recorded outcomes are on stable storage.
/// - *A retry is a state.* `retry` under the current attempt makes a task RETRY, counts, and queues it with its `due_at`,
///   durably; under another attempt it is `Stale` and changes nothing.
/// - *A cancellation is final.* When `cancel` answers `Queued` or `Leased`, the task is REVOKED on stable storage, and no
///   later completion, retry or release changes it, not across a crash either.
/// - *What expired does not run.* `expire` revokes queued tasks whose `expires_at` has passed, a bounded chunk a call, those
///   that expired first first. A leased task does not expire. The ends it answers are on stable storage.
/// - *A deadline ends a lease.* `expire` also revokes leased tasks whose `deadline_at` has passed, likewise.
/// - *History is kept.* The reasons that `finish` and `retry` report, and the end of a process that held a lease, are shown
///   by `fetch`, the newest [`HISTORY_MAX`](cresset_task::HISTORY_MAX) of them.
/// - *Read your writes.* After `submit`, `lease`, `release` or `finish` has returned, `fetch` shows it.
/// - *Results expire.* A finished task older than the store's time to live is purged with its input; its id answers
///   `Expired` for a further, longer time, then `Unknown`. An open task never expires this way.
/// - *An owner stays.* `owner` says of a task whose it was when it was submitted, also across a crash, and after its purge for
///   as long as its id answers `Expired`.
/// - *Bounded work.* `purge` removes at most a bounded chunk a call, so that it never holds up submits for long.
#[async_trait]
pub trait ResultStore: Send + Sync {
    /// Records outcomes; the answers stand in the order of the completions.
    async fn finish(&self, completions: Vec<Completion>) -> Result<Vec<Finished>, QueueError>;

    /// Queues failed tasks again, for later; the answers stand in the order of the retries.
    async fn retry(&self, retries: Vec<Retry>) -> Result<Vec<Finished>, QueueError>;

    /// Revokes a task that has not ended, for this reason.
    async fn cancel(&self, id: TaskId, reason: &str, now: Timestamp) -> Result<Cancelled, QueueError>;

    /// Revokes one chunk of the queued tasks that expired by `now`.
    async fn expire(&self, now: Timestamp) -> Result<Expiries, QueueError>;

    /// What is known of an id.
    async fn fetch(&self, id: TaskId) -> Result<Lookup, QueueError>;

    /// Whose a task is, or was as long as its id is remembered. Never changes while the id is known.
    async fn owner(&self, id: TaskId) -> Result<Ownership, QueueError>;

    /// Removes one chunk of records that expired before `now`; says how many it removed. Zero means none are left.
    async fn purge(&self, now: Timestamp) -> Result<usize, QueueError>;
}
