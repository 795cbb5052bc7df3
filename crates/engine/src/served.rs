//! One served model, as the doors and its driver both see it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use cresset_batch::Moment;
use cresset_config::{Batching, ModelConfig};
use cresset_runner::{Executor, PoolState, PoolStatus};
use cresset_task::{ModelName, TaskId};
use tokio::sync::{Notify, Semaphore, mpsc};

use crate::admission::{Coming, Done, Drain, Pace, What};
use crate::api::{EngineError, RETRY_SOON};
use crate::cache::Cache;
use crate::canary::Canary;
use crate::elsewhere::Elsewhere;
use crate::item::Item;
use crate::metrics::ModelMetrics;
use crate::progress::Progress;
use crate::rate::Rate;
use crate::revocations::Revocations;

/// Of a model whose items go out one by one, what is leased for each place that is free: a larger one goes all the same.
const ALONE_BYTES: usize = 256 << 10;

/// All served models.
pub(crate) type Models = BTreeMap<ModelName, Arc<Served>>;

/// One of them.
pub(crate) struct Served {
    pub(crate) config: Arc<ModelConfig>,
    pub(crate) executor: Arc<dyn Executor>,
    /// Other servers run it; without a way to them the store leads there, and there is no driver here.
    pub(crate) elsewhere: Option<Arc<Elsewhere>>,
    /// How items go together on their way to the executor.
    pub(crate) batching: Batching,
    pub(crate) metrics: ModelMetrics,
    /// Rung when a task has been queued.
    pub(crate) wake: Notify,
    /// Synchronous predictions on their way to the driver; as long as there are permits, so it is never full.
    pub(crate) inbox: mpsc::Sender<Item>,
    /// One for each synchronous prediction that may wait or run.
    pub(crate) permits: Arc<Semaphore>,
    /// Leased tasks that were cancelled.
    pub(crate) revocations: Revocations,
    /// Rung when a caller has hung up.
    pub(crate) hung_up: Notify,
    /// Items in instances.
    pub(crate) running: AtomicUsize,
    unavailable: ArcSwapOption<String>,
    /// Submits on their way to the store.
    pub(crate) coming: Coming,
    /// What the inputs of synchronous predictions weigh; counted only when it is bounded.
    pub(crate) waiting_bytes: Arc<AtomicU64>,
    /// When the driver last began to work or came to rest, in nanoseconds of the engine's clock.
    pub(crate) turned: AtomicU64,
    /// What its canary has found.
    pub(crate) canary: Canary,
    /// Results that are kept, if the model wants that.
    pub(crate) cache: Option<Arc<Cache>>,
    /// Whether anything moves.
    pub(crate) progress: Progress,
    pulse: Mutex<Pulse>,
}

/// What the model gets done.
#[derive(Default)]
struct Pulse {
    rate: Rate,
    drain: Drain,
}

impl Served {
    pub(crate) fn new(
        config: Arc<ModelConfig>,
        executor: Arc<dyn Executor>,
        metrics: ModelMetrics,
        cache: Option<Arc<Cache>>,
    ) -> (Self, mpsc::Receiver<Item>) {
        let waiting = config.limits.max_waiting.clamp(1, Semaphore::MAX_PERMITS);
        let (inbox, outbox) = mpsc::channel(waiting);
        let served = Self {
            batching: config.batching.clone(),
            config,
            executor,
            elsewhere: None,
            metrics,
            wake: Notify::new(),
            inbox,
            permits: Arc::new(Semaphore::new(waiting)),
            revocations: Revocations::default(),
            hung_up: Notify::new(),
            running: AtomicUsize::new(0),
            unavailable: ArcSwapOption::empty(),
            coming: Coming::default(),
            waiting_bytes: Arc::default(),
            turned: AtomicU64::new(0),
            canary: Canary::default(),
            cache,
            progress: Progress::default(),
            pulse: Mutex::default(),
        };
        (served, outbox)
    }

    /// A model that other servers run.
    pub(crate) fn elsewhere(
        config: Arc<ModelConfig>,
        elsewhere: Elsewhere,
        metrics: ModelMetrics,
    ) -> (Self, mpsc::Receiver<Item>) {
        let elsewhere = Arc::new(elsewhere);
        let executor = match elsewhere.way() {
            Some(way) => Arc::clone(&way.executor),
            None => Arc::clone(&elsewhere) as Arc<dyn Executor>,
        };
        let (served, inbox) = Self::new(config, executor, metrics, None);
        let batching = match elsewhere.way() {
            Some(_) => each_alone(&served.batching),
            None => served.batching.clone(),
        };
        let served = Self {
            elsewhere: Some(elsewhere),
            batching,
            ..served
        };
        (served, inbox)
    }

    /// Other servers run it, and take its work from the store.
    pub(crate) fn is_by_store(&self) -> bool {
        self.elsewhere
            .as_ref()
            .is_some_and(|elsewhere| elsewhere.way().is_none())
    }

    fn pulse(&self) -> MutexGuard<'_, Pulse> {
        self.pulse.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So much has ended at `now`, when the driver's busy clock says `clock`.
    pub(crate) fn finished(&self, done: Done, clock: Duration, now: Moment) {
        let mut pulse = self.pulse();
        pulse.rate.add(done.items(), now);
        pulse.drain.add(done, clock, now);
    }

    /// Items a second, for people to see.
    pub(crate) fn rate(&self, now: Moment) -> Option<f64> {
        self.pulse().rate.per_second(now)
    }

    /// How fast what is there is worked off, for callers who are told to come back.
    pub(crate) fn pace(&self, what: What, now: Moment) -> Pace {
        if let Some(elsewhere) = self.elsewhere.as_ref().filter(|_| self.is_by_store()) {
            return elsewhere.pace(what);
        }
        let turned = Duration::from_nanos(self.turned.load(Ordering::Relaxed));
        self.pulse().drain.pace(what, now, turned)
    }

    /// Synchronous predictions waiting or running.
    pub(crate) fn waiting(&self) -> usize {
        self.config
            .limits
            .max_waiting
            .saturating_sub(self.permits.available_permits())
    }

    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::Relaxed)
    }

    /// A leased task has been revoked: its driver takes it out of its hands, and stops it where it runs. Other servers hear of it
    /// by the store.
    pub(crate) fn stop(&self, id: TaskId) {
        if self.is_by_store() {
            return;
        }
        self.revocations.add(id);
        self.wake.notify_one();
    }

    /// Looks at the processes again; the driver calls it whenever one of them comes or goes. True when no instance has
    /// ever been ready and starting fails: whoever waits now should be told.
    pub(crate) fn refresh(&self) -> bool {
        let status = self.executor.status();
        let failed = status.state == PoolState::Failed;
        self.unavailable.store(failed.then(|| Arc::new(reason(&status))));
        failed
    }

    /// Refuses when the model has never come up and fails to. A model that came up once and is down for the moment
    /// takes work: its supervisor is bringing it back.
    pub(crate) fn check_available(&self) -> Result<(), EngineError> {
        if let Some(elsewhere) = &self.elsewhere {
            return elsewhere.check_available(&self.config.name);
        }
        match &*self.unavailable.load() {
            None => Ok(()),
            Some(reason) => Err(self.unavailable_because(String::clone(reason))),
        }
    }

    pub(crate) fn unavailable_because(&self, reason: String) -> EngineError {
        EngineError::ModelUnavailable {
            model: self.config.name.clone(),
            reason,
            retry_after: RETRY_SOON,
        }
    }

    /// A prediction ran out of time: because the model is down, or because it is slow. If it could not become a task then, that is
    /// why.
    pub(crate) fn late(&self, limit: Duration, refusal: Option<&EngineError>) -> EngineError {
        if let Some(elsewhere) = &self.elsewhere {
            return elsewhere.late(&self.config.name, limit, refusal);
        }
        let status = self.executor.status();
        if status.state == PoolState::Ready {
            EngineError::PredictTimeout {
                limit,
                refusal: refusal.map(ToString::to_string),
            }
        } else {
            self.unavailable_because(reason(&status))
        }
    }
}

/// For whoever makes batches of their own of what comes one by one.
fn each_alone(batching: &Batching) -> Batching {
    Batching {
        max_batch_size: 1,
        max_delay: Duration::ZERO,
        max_batch_bytes: batching.max_batch_bytes.min(ALONE_BYTES),
        max_batch_cost: None,
        ..batching.clone()
    }
}

/// In words, why a model is not ready.
pub(crate) fn reason(status: &PoolStatus) -> String {
    match (&status.last_failure, status.state) {
        (_, PoolState::Unloaded) => {
            "it had no work and is unloaded; it is loaded again when there is some".into()
        }
        (_, PoolState::Loading) => "it was unloaded, as it had no work, and is being loaded again".into(),
        (Some(down), _) => format!("an instance {down}"),
        (None, PoolState::Starting) => "no instance is ready yet".into(),
        (None, state) => format!("the model is {}", state.name()),
    }
}
