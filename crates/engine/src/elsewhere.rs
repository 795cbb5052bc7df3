//! A model that other servers on the store run, as a gateway has it: what callers may ask is known, and how it stands; its
//! processes and its driver are there.
//!
//! ```text
//!   servers' rows, or words -> look: who runs what -> sight: how each model stands -> Elsewhere, in a `Served` like any other
//! ```
//!
//! Its work lies in the store, where these servers take it. Where they are not on the store there is a way to them instead (`way`), which is
//! to the model's driver what its processes are elsewhere.
//!
//! What is known here is behind the fact by a moment. So nothing may depend on it but whether a request is worth taking: the
//! store decides everything else.

mod fleet;
mod port;
mod predict;
mod sight;
mod way;

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use cresset_config::ModelConfig;
use cresset_runner::{Executor, Job, NotTaken, PoolState, PoolStatus, Unwanted};
use cresset_task::{BatchId, InstanceId, ModelName, Timestamp};

pub(crate) use self::fleet::Fleet;
pub use self::port::{Reach, Roster};
pub(crate) use self::sight::Sight;
pub(crate) use self::way::Way;
use crate::admission::{Pace, What};
use crate::api::{EngineError, ModelHealth, Runner};

/// Who asks for a model without a server is to come back in a time between these: a restart takes seconds, and who has been
/// gone for long is seldom back in a moment.
const COME_BACK: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(60));

/// Such a model.
pub(crate) struct Elsewhere {
    sight: ArcSwap<Sight>,
    way: Option<Way>,
}

impl Elsewhere {
    /// `way`: what leads to who runs it, where that is not the store.
    pub(crate) fn new(sight: Sight, way: Option<Way>) -> Self {
        Self {
            sight: ArcSwap::from_pointee(sight),
            way,
        }
    }

    /// What leads to who runs it, where that is not the store.
    pub(crate) fn way(&self) -> Option<&Way> {
        self.way.as_ref()
    }

    /// How it stands; gives how it stood.
    fn see(&self, sight: Sight, config: &ModelConfig) -> Arc<Sight> {
        if let Some(way) = &self.way {
            way.has_room(way::room(&sight, config));
        }
        self.sight.swap(Arc::new(sight))
    }

    pub(crate) fn health(&self, name: &ModelName) -> ModelHealth {
        let sight = self.sight.load();
        let closed = self.way.as_ref().filter(|_| sight.is_ready).and_then(Way::closed);
        let (state, ready, reason) = match closed {
            Some(why) => (PoolState::Down, false, Some(why)),
            None => (sight.state, sight.is_ready, sight.reason.clone()),
        };
        ModelHealth {
            name: name.clone(),
            state,
            ready,
            reason,
        }
    }

    /// Refuses when nobody would take the work, or all who would fail to.
    pub(crate) fn check_available(&self, name: &ModelName) -> Result<(), EngineError> {
        let sight = self.sight.load();
        if sight.is_taken() {
            return Ok(());
        }
        Err(EngineError::ModelUnavailable {
            model: name.clone(),
            reason: sight.words(),
            retry_after: come_back(sight.gone_at, Timestamp::now()),
        })
    }

    /// A prediction was not done in time: because the model is not up, or because it is slow. If it could not become a task then,
    /// that is why.
    pub(crate) fn late(
        &self,
        name: &ModelName,
        limit: Duration,
        refusal: Option<&EngineError>,
    ) -> EngineError {
        let sight = self.sight.load();
        if sight.is_ready {
            return EngineError::PredictTimeout {
                limit,
                refusal: refusal.map(ToString::to_string),
            };
        }
        EngineError::ModelUnavailable {
            model: name.clone(),
            reason: sight.words(),
            retry_after: come_back(sight.gone_at, Timestamp::now()),
        }
    }

    pub(crate) fn runners(&self) -> Vec<Runner> {
        self.sight.load().runners.clone()
    }

    /// Items a second, all servers together.
    pub(crate) fn rate(&self) -> Option<f64> {
        self.sight.load().rate
    }

    /// The same, for callers who are told to come back.
    pub(crate) fn pace(&self, what: What) -> Pace {
        let rate = match what {
            What::Tasks | What::Predictions => self.rate().unwrap_or_default(),
            // Nobody says how many.
            What::Bytes => 0.0,
        };
        Pace::of(rate, COME_BACK.0)
    }
}

/// About as long as it has been gone already, within bounds.
fn come_back(gone_at: Option<Timestamp>, now: Timestamp) -> Duration {
    let gone = gone_at.map_or(Duration::ZERO, |at| now.since(at));
    gone.clamp(COME_BACK.0, COME_BACK.1)
}

/// It has no processes here, so none is ever given a job.
#[async_trait]
impl Executor for Elsewhere {
    fn run(&self, _: InstanceId, job: Job) -> Result<(), NotTaken> {
        Err(NotTaken(job))
    }

    fn cancel(&self, _: InstanceId, _: BatchId, _: usize, _: Unwanted) {}

    fn unload(&self) {}

    fn load(&self) {}

    fn status(&self) -> PoolStatus {
        PoolStatus {
            state: self.sight.load().state,
            instances: Vec::new(),
            last_failure: None,
        }
    }

    async fn stop(&self, _: Duration) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_a_model_that_is_gone_comes_back_the_later_the_longer_it_is() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        let told = |gone: Option<i64>| come_back(gone.map(at), at(1_000)).as_secs();
        assert_eq!(told(Some(999)), 2);
        assert_eq!(told(Some(970)), 30);
        assert_eq!(told(Some(0)), 60);
        assert_eq!(told(None), 2);
    }
}
