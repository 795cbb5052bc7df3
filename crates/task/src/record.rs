//! A task as a store knows it.

use bytes::Bytes;

use crate::id::{Attempt, TaskId};
use crate::name::ModelName;
use crate::outcome::Outcome;
use crate::retry::RetryTerms;
use crate::state::State;
use crate::time::Timestamp;
use crate::trace::Trace;

/// Redeliveries remembered for each task: enough to see a pattern, and a loop cannot fill the store.
pub const HISTORY_MAX: usize = 32;

/// Why a task was handed to an instance once more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redelivery {
    /// The attempt that ended without an outcome.
    pub attempt: Attempt,
    /// When that was.
    pub at: Timestamp,
    /// Why, in words.
    pub reason: String,
}

/// Everything known of one task except its input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRecord {
    /// Its id.
    pub id: TaskId,
    /// The model it is for.
    pub model: ModelName,
    /// Where it is in its life.
    pub state: State,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When it was last handed to an instance.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// When it may be leased: a delayed start, or the next try of one that failed. `None` once that time has come.
    pub due_at: Option<Timestamp>,
    /// After this it is revoked rather than started.
    pub expires_at: Option<Timestamp>,
    /// After this it is revoked, wherever it is.
    pub deadline_at: Option<Timestamp>,
    /// How often it was handed to an instance.
    pub attempts: Attempt,
    /// How often it failed and was tried again by the retry policy; other reasons to run again are not counted here.
    pub retries: u32,
    /// Why it ran more than once, oldest first; the newest [`HISTORY_MAX`] are kept.
    pub history: Vec<Redelivery>,
    /// -100 (last) to 100 (first), 0 unless told.
    pub priority: i8,
    /// The caller's own small JSON object, given back untouched.
    pub metadata: Option<Bytes>,
    /// The model version that made the outcome.
    pub version: Option<String>,
    /// How its submitter has it tried again, where that is not left to its model.
    pub retry: Option<Box<RetryTerms>>,
    /// The trace that its submitter follows, seen from the span that it is a child of; `None` when there is none.
    pub trace: Option<Box<Trace>>,
    /// Its result is that of an equal input: no process ran this task.
    pub cached: bool,
    /// The dead letter that this task is a replay of.
    pub replay_of: Option<TaskId>,
    /// Present exactly when `state` is terminal.
    pub outcome: Option<Outcome>,
}

/// A task in a list of them: what it is and where it stands, without its result.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of `TaskRecord`")]
pub struct TaskSummary {
    pub id: TaskId,
    pub model: ModelName,
    pub version: Option<String>,
    pub state: State,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub due_at: Option<Timestamp>,
    pub attempts: Attempt,
    pub retries: u32,
    pub priority: i8,
    pub metadata: Option<Bytes>,
}

/// How far a task has come: of two readings of one task the later one never has the smaller number, and one that shows another
/// state, or another attempt, has a larger one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl TaskRecord {
    /// How far it has come. Attempts only grow, and within one a task is started, then perhaps queued again, then perhaps ended.
    #[must_use]
    pub fn revision(&self) -> Revision {
        let stage = match self.state {
            State::Started => 0,
            State::Pending | State::Retry => 1,
            State::Success | State::Failure | State::Revoked => 2,
        };
        Revision(3 * u64::from(self.attempts.0) + stage)
    }
}
