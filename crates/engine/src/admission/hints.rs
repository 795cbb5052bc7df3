//! Refusals at a bound, each with the time after which there should be room.
//!
//! The hint is what has to leave, divided by how fast that leaves: room for a tenth of the bound, since a wait for one place
//! would bring everybody back at once. A client's tasks are taken to be spread evenly over all that is queued.

use std::time::Duration;

use super::drain::{Pace, What};
use super::{Bound, Unit};
use crate::api::EngineError;
use crate::engine::Engine;
use crate::served::Served;

impl Engine {
    /// How fast all models together work something off.
    fn pace_of_all(&self, what: What) -> Pace {
        let now = self.inner.shared.now();
        let models = self.inner.models.load();
        let paces = models.values().map(|served| served.pace(what, now));
        paces.fold(Pace::default(), Pace::plus)
    }

    pub(super) fn queue_full(&self, served: &Served, bound: Bound, bytes: u64) -> EngineError {
        let pace = served.pace(what(&bound), self.inner.shared.now());
        EngineError::QueueFull {
            model: served.config.name.clone(),
            bound,
            retry_after: pace.time_for(excess(&bound, bytes)),
        }
    }

    pub(super) fn server_full(&self, bound: Bound, bytes: u64) -> EngineError {
        let pace = self.pace_of_all(what(&bound));
        EngineError::ServerFull {
            bound,
            retry_after: pace.time_for(excess(&bound, bytes)),
        }
    }

    pub(super) fn client_queue_full(&self, bound: Bound, bytes: u64) -> EngineError {
        let what = what(&bound);
        let all = self.inner.shared.backend.load();
        let queued = if what == What::Bytes { all.bytes } else { all.tasks };
        let retry_after = self.time_for_share(what, excess(&bound, bytes), bound.current, queued);
        EngineError::ClientLimit { bound, retry_after }
    }

    pub(super) fn overloaded(&self, served: &Served) -> EngineError {
        let bound = Bound {
            setting: "limits.max_waiting",
            unit: Unit::Predictions,
            limit: served.config.limits.max_waiting as u64,
            current: served.waiting() as u64,
        };
        self.too_many_wait(served, bound, excess(&bound, 1))
    }

    /// The predictions of a model weigh too much together.
    pub(super) fn too_heavy(&self, served: &Served, bound: Bound) -> EngineError {
        // A tenth of their bytes is about a tenth of their number.
        let waiting = served.waiting() as u64;
        self.too_many_wait(served, bound, waiting.div_ceil(10).max(1))
    }

    fn too_many_wait(&self, served: &Served, bound: Bound, leaving: u64) -> EngineError {
        let pace = served.pace(What::Predictions, self.inner.shared.now());
        EngineError::Overloaded {
            model: served.config.name.clone(),
            bound,
            retry_after: pace.time_for(leaving),
        }
    }

    pub(super) fn client_waits(&self, setting: &'static str, limit: u64, current: u64) -> EngineError {
        let bound = Bound {
            setting,
            unit: Unit::Predictions,
            limit,
            current,
        };
        let models = self.inner.models.load();
        let all: usize = models.values().map(|served| served.waiting()).sum();
        let retry_after = self.time_for_share(What::Predictions, excess(&bound, 1), current, all as u64);
        EngineError::ClientLimit { bound, retry_after }
    }

    pub(super) fn all_wait(&self, limit: u64, current: u64) -> EngineError {
        let bound = Bound {
            setting: "limits.max_waiting_total",
            unit: Unit::Predictions,
            limit,
            current,
        };
        let pace = self.pace_of_all(What::Predictions);
        EngineError::ServerFull {
            bound,
            retry_after: pace.time_for(excess(&bound, 1)),
        }
    }

    /// When `leaving` of the `own` should have left, which are spread over `all`.
    fn time_for_share(&self, what: What, leaving: u64, own: u64, all: u64) -> Duration {
        let among = u128::from(leaving) * u128::from(all.max(own)) / u128::from(own.max(1));
        let among = u64::try_from(among).unwrap_or(u64::MAX);
        self.pace_of_all(what).time_for(among.max(leaving))
    }
}

fn what(bound: &Bound) -> What {
    if bound.unit == Unit::Bytes {
        What::Bytes
    } else {
        What::Tasks
    }
}

/// What has to leave before `more` fits and a tenth of the bound is free.
fn excess(bound: &Bound, more: u64) -> u64 {
    let more = if bound.unit == Unit::Bytes { more } else { 1 };
    let free = (bound.limit / 10).max(more);
    bound
        .current
        .saturating_add(free)
        .saturating_sub(bound.limit)
        .max(1)
}
