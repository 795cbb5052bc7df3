//! The port to the list of tasks: for people and tools that look for some, not for the request path.

use async_trait::async_trait;
use cresset_task::{ModelName, State, TaskSummary, Tenant};

use crate::error::QueueError;

/// Tasks that one page lists, at most: each may have its metadata.
pub const TASKS_MAX: usize = 100;

/// A place in the list of tasks. The number is the store's own; callers pass it back as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TaskCursor(pub u64);

/// Which tasks to list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskQuery {
    /// Of this model only.
    pub model: Option<ModelName>,
    /// In this state only.
    pub state: Option<State>,
    /// Of this tenant only.
    pub tenant: Option<Tenant>,
    /// Those that come behind this place only.
    pub after: Option<TaskCursor>,
    /// At most so many, and never more than [`TASKS_MAX`].
    pub limit: usize,
}

/// A part of the list of tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskPage {
    /// Those accepted last come first.
    pub tasks: Vec<TaskSummary>,
    /// Where the next page begins; `None` when this was the last one.
    pub next: Option<TaskCursor>,
}

/// What tasks there are.
///
/// Promises that every implementation keeps, and the conformance suite checks by name:
///
/// - *Newest first.* A list walked page by page shows each task that stays there, and in the state that is asked for, once,
///   whatever comes meanwhile.
/// - *Bounded work.* One page costs a bounded time, however many tasks there are. Where few of them match it may have fewer than
///   were asked for, or none, and still a `next`.
#[async_trait]
pub trait TaskList: Send + Sync {
    /// A page of the list.
    async fn tasks(&self, query: TaskQuery) -> Result<TaskPage, QueueError>;
}
