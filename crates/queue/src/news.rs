//! The port through which servers that share a store hear of each other.

use async_trait::async_trait;
use cresset_task::{ModelName, State, TaskId};

use crate::QueueError;

/// What another server did that concerns this one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// A task has come to this state there. A task is never told here as queued for the first time.
    Moved {
        /// The task.
        id: TaskId,
        /// Its model.
        model: ModelName,
        /// Where it is now.
        state: State,
        /// It was leased when that happened, by whomever: its holder has to let go of it if it did not end it itself.
        was_leased: bool,
    },
    /// Tasks of this model have been queued.
    Work(ModelName),
    /// Something may have been missed, or a server has gone and nobody looks after what it looked after: look again, at
    /// everything.
    LookAgain,
}

/// News of the other servers on a store.
///
/// Promises that an implementation keeps which says that it is [`shared`](crate::Capabilities::shared):
///
/// - *After the fact.* What is told is in the store already: who looks finds it, or something newer.
/// - *Told or missed.* What another server does is told within a moment, or `LookAgain` is.
/// - *Not of oneself.* What this server did itself is not told.
/// - *Bounded.* What nobody asks for is not kept without end: it becomes `LookAgain`.
/// - *Said for as long as it is there.* What a server serves is known to the others when `introduce` returns, until it ends.
#[async_trait]
pub trait Neighbours: Send + Sync {
    /// The next news, at least one; where a store belongs to one server, never. Dropping the future loses nothing. One asks
    /// at a time.
    async fn news(&self) -> Vec<News> {
        std::future::pending().await
    }

    /// Says which models this server serves; what it said before is over.
    async fn introduce(&self, _models: Vec<ModelName>) -> Result<(), QueueError> {
        Ok(())
    }

    /// Which of these models, none of which this server serves, another one does that is there.
    async fn served_elsewhere(&self, _models: Vec<ModelName>) -> Result<Vec<ModelName>, QueueError> {
        Ok(Vec::new())
    }
}
