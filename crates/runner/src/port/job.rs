//! What an instance is given.

use cresset_task::{BatchId, Payload, TaskId, Trace};

/// Items for one instance, to be run together.
#[derive(Debug)]
pub struct Job {
    /// Unique while the server lives.
    pub batch: BatchId,
    /// The inputs, at least one. For a tensor model all have the same shapes.
    pub items: Vec<Payload>,
    /// For each of them where its run is in its caller's trace; empty when no caller has one.
    pub traces: Vec<Option<Trace>>,
    /// For each of them whose it is; who has processes of its own need not look.
    pub names: Vec<Name>,
}

/// Whose an item is: for an executor that hands it on to others, who must tell it apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Name {
    /// The task. `None`: a prediction, which is stored nowhere.
    pub task: Option<TaskId>,
    /// How urgent it is: a higher one is more so.
    pub priority: i8,
    /// How often it has failed before and is tried again: what is said of an earlier try is not said of this one.
    pub retries: u32,
    /// It is given to somebody for the first time since it was accepted: nobody can have ended it.
    pub is_first: bool,
}
