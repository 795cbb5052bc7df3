//! The port through which servers that share a store hear of each other.

use async_trait::async_trait;
use cresset_task::{ModelName, State, TaskId};

use crate::{About, Member, QueueError};

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
    /// A server says something else of itself than it did.
    Members,
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
/// - *Said for as long as it is there.* What a server says of itself is known to the others when `introduce` returns, until it ends;
///   also when it had been taken for ended, and goes on as a new one.
/// - *Remembered.* What the newest of those said that have ended is known for a day.
#[async_trait]
pub trait Neighbours: Send + Sync {
    /// The next news, at least one; where a store belongs to one server, never. Dropping the future loses nothing. One asks
    /// at a time.
    async fn news(&self) -> Vec<News> {
        std::future::pending().await
    }

    /// Says what this server is and which models it runs; what it said before is over. `is_news`: the others are told at once, and
    /// need not look for it.
    async fn introduce(&self, _about: About, _is_news: bool) -> Result<(), QueueError> {
        Ok(())
    }

    /// The servers that are there, by number, this one among them; before them, if `with_ended`, those that were. Where a store
    /// belongs to one server, none.
    async fn members(&self, _with_ended: bool) -> Result<Vec<Member>, QueueError> {
        Ok(Vec::new())
    }

    /// Which of these models, none of which this server serves, another one does that is there.
    async fn served_elsewhere(&self, _models: Vec<ModelName>) -> Result<Vec<ModelName>, QueueError> {
        Ok(Vec::new())
    }
}
