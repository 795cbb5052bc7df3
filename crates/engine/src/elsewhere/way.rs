//! A way to the servers that run a model, where they are not on the store: an executor, and the model's own driver before it.
//!
//! It is made for one description of the model. When that is another one, or nobody knows the model any more, it is retired: it finishes
//! what is under way, gives back what is not, and goes.

use std::sync::Arc;
use std::time::Duration;

use cresset_config::ModelConfig;
use cresset_runner::{Executor, PoolState};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::{Elsewhere, Reach, Sight};
use crate::driver::Driver;
use crate::engine::Engine;
use crate::metrics::ModelMetrics;
use crate::served::Served;

/// Batches that each instance of a server may have of us: two seats, and as many again, so that the next ones are there when these end.
const BATCHES_EACH: usize = 4;
/// Items that are away at once, of one model: more wait in our queue, where priorities count and a cancel costs nothing.
const AWAY_MAX: usize = 1024;
/// News of the executor on their way to the driver, which takes them in at once.
const EVENTS_MAX: usize = 256;
/// What is under way with a retired executor has ended by then; the connections go.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Such a way.
pub(crate) struct Way {
    pub(crate) executor: Arc<dyn Executor>,
    room: watch::Sender<usize>,
    /// Its driver is to take nothing new.
    leave: CancellationToken,
    /// Its driver has gone.
    gone: CancellationToken,
}

impl Way {
    /// So many items may be away at once.
    pub(super) fn has_room(&self, room: usize) {
        self.room.send_if_modified(|now| {
            let is_news = *now != room;
            *now = room;
            is_news
        });
    }

    /// Why nothing can be sent, if so.
    pub(super) fn closed(&self) -> Option<String> {
        let status = self.executor.status();
        let why = status.last_failure.filter(|_| status.state == PoolState::Down)?;
        Some(why.to_string())
    }
}

/// Items that its servers can use at once: of those that do its work.
pub(super) fn room(sight: &Sight, config: &ModelConfig) -> usize {
    if !sight.is_taken() {
        return 0;
    }
    let ready = sight.runners.iter().filter(|runner| runner.offer.ready);
    let instances: usize = ready.map(|runner| runner.offer.instances.max(1)).sum();
    let each = config.batching.max_batch_size.saturating_mul(BATCHES_EACH);
    instances.saturating_mul(each).min(AWAY_MAX)
}

/// Opens one.
pub(super) fn open(
    engine: &Engine,
    reach: &dyn Reach,
    config: Arc<ModelConfig>,
    sight: Sight,
    metrics: ModelMetrics,
) -> Arc<Served> {
    let shared = &engine.inner.shared;
    let (events, news) = mpsc::channel(EVENTS_MAX);
    let room = watch::Sender::new(room(&sight, &config));
    let way = Way {
        executor: reach.open(Arc::clone(&config), room.subscribe(), events),
        room,
        leave: shared.draining.child_token(),
        gone: CancellationToken::new(),
    };
    let (leave, gone) = (way.leave.clone(), way.gone.clone());
    let (served, inbox) = Served::elsewhere(config, Elsewhere::new(sight, Some(way)), metrics);
    let served = Arc::new(served);
    let driver = Driver::new(Arc::clone(shared), Arc::clone(&served), leave);
    engine.inner.tracker.spawn(async move {
        driver.run(inbox, news).await;
        gone.cancel();
    });
    served
}

/// Another one takes its place, or nobody does.
pub(super) fn retire(engine: &Engine, served: &Arc<Served>) {
    let Some(way) = served.elsewhere.as_ref().and_then(|elsewhere| elsewhere.way()) else {
        return;
    };
    way.leave.cancel();
    let (gone, executor) = (way.gone.clone(), Arc::clone(&way.executor));
    let shared = Arc::clone(&engine.inner.shared);
    engine.inner.tracker.spawn(async move {
        tokio::select! {
            () = gone.cancelled() => executor.stop(STOP_GRACE).await,
            () = shared.abandon.cancelled() => executor.stop(Duration::ZERO).await,
        }
    });
}
