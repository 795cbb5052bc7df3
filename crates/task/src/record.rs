//! A task as a store knows it.

use bytes::Bytes;

use crate::id::{Attempt, TaskId};
use crate::name::ModelName;
use crate::outcome::Outcome;
use crate::state::State;
use crate::time::Timestamp;

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
    /// How often it was handed to an instance.
    pub attempts: Attempt,
    /// -100 (last) to 100 (first), 0 unless told.
    pub priority: i8,
    /// The caller's own small JSON object, given back untouched.
    pub metadata: Option<Bytes>,
    /// The model version that made the outcome.
    pub version: Option<String>,
    /// Present exactly when `state` is terminal.
    pub outcome: Option<Outcome>,
}
