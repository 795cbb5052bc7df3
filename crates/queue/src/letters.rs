//! The port to dead letters: inputs that took their model's process down, kept to be looked at and run again.

use async_trait::async_trait;
use cresset_task::{DeadLetter, ModelName, Payload, TaskId, Tenant, Timestamp};

use crate::broker::NewTask;
use crate::error::QueueError;

/// Letters that one page lists, at most: each has up to
/// [`EVIDENCE_BYTES_MAX`](cresset_task::EVIDENCE_BYTES_MAX) of log.
pub const LETTERS_MAX: usize = 100;

/// A place in the list of letters. The number is the store's own; callers pass it back as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LetterCursor(pub u64);

/// Which letters to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterQuery {
    /// Of this model only.
    pub model: Option<ModelName>,
    /// Of this tenant only.
    pub tenant: Option<Tenant>,
    /// Those that come behind this place only.
    pub after: Option<LetterCursor>,
    /// At most so many, and never more than [`LETTERS_MAX`].
    pub limit: usize,
}

/// A part of the list of letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterPage {
    /// The newest first.
    pub letters: Vec<DeadLetter>,
    /// Where the next page begins; `None` when this was the last one.
    pub next: Option<LetterCursor>,
}

/// Which letters to throw away.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterFilter {
    /// Of this model only.
    pub model: Option<ModelName>,
    /// Of this tenant only.
    pub tenant: Option<Tenant>,
    /// Those that died before this only.
    pub before: Option<Timestamp>,
}

/// What became of a replay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replayed {
    /// It made the task it carries.
    New,
    /// The letter had been replayed before, as this task: nothing changed.
    Before(TaskId),
    /// There is no such letter: nothing changed.
    Unknown,
}

/// Where dead letters live.
///
/// Promises that every implementation keeps, and the conformance suite checks by name:
///
/// - *Written with the end.* A completion that carries evidence and is recorded leaves a letter under its task's id, in the
///   same step: both are on stable storage, or neither. A stale one leaves none.
/// - *It outlives its task.* A letter and its input stay when the task is purged, for the store's time to live of letters,
///   and are purged by [`ResultStore::purge`](crate::ResultStore::purge) after it.
/// - *Replayed once.* Of all replays of one letter, however many at once and across crashes, the first makes its task;
///   every other one answers with that task, also when that has been purged. The task is accepted as durably as any other
///   and says what it is a replay of.
/// - *Newest first.* A list walked page by page shows each letter that stays there once.
/// - *Bounded work.* `discard` removes at most a bounded chunk a call.
#[async_trait]
pub trait DeadLetters: Send + Sync {
    /// A page of the list.
    async fn letters(&self, query: LetterQuery) -> Result<LetterPage, QueueError>;

    /// One letter; `None` when there is no such letter.
    async fn letter(&self, id: TaskId) -> Result<Option<DeadLetter>, QueueError>;

    /// The input of a letter; `None` when there is no such letter.
    async fn letter_input(&self, id: TaskId) -> Result<Option<Payload>, QueueError>;

    /// Queues `task`, whose input and model are the letter's, unless the letter has been replayed. An idempotency key of
    /// the task is not looked at: the letter is the key.
    async fn replay(&self, letter: TaskId, task: NewTask) -> Result<Replayed, QueueError>;

    /// Throws one letter away; false when there was none.
    async fn discard(&self, id: TaskId) -> Result<bool, QueueError>;

    /// Throws away one chunk of the letters that match, the oldest first; says how many. Zero means none are left.
    async fn discard_all(&self, filter: LetterFilter) -> Result<usize, QueueError>;
}
