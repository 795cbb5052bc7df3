//! What is needed of whatever leads to other servers, where that is not the store.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use cresset_config::ModelConfig;
use cresset_queue::{About, Member};
use cresset_runner::{Executor, PoolEvent};
use tokio::sync::{mpsc, watch};

/// Who else there is, by what they say of themselves.
///
/// Promises: what a server says is known to the others a moment later, and for as long as it is there; one that is not heard of any more is
/// found to have ended. While nothing can be heard at all, nobody is.
#[async_trait]
pub trait Roster: Send + Sync + fmt::Debug {
    /// Says what this server is, from now on; what it said before is over. `is_news`: the others are told at once.
    fn introduce(&self, about: About, is_news: bool);

    /// The servers that are there, those that came first first, this one among them; before them, if `with_ended`, those that were.
    fn members(&self, with_ended: bool) -> Vec<Member>;

    /// Returns when one has come or gone, or says something else. One asks at a time; dropping the future loses nothing.
    async fn changed(&self);

    /// Returns when those who were there before this server have had the time to say so.
    async fn settled(&self);
}

/// What leads work to the servers that run it.
pub trait Reach: Send + Sync + fmt::Debug {
    /// An executor for a model of theirs, which gives each item to one of them. At most `room` items are with them at once; as long as that
    /// is none, nothing is given to anybody. It tells of itself through `events`, as every executor does.
    fn open(
        &self,
        model: Arc<ModelConfig>,
        room: watch::Receiver<usize>,
        events: mpsc::Sender<PoolEvent>,
    ) -> Arc<dyn Executor>;
}
