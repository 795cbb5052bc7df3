//! All processes of one model, as the engine sees them: the [`Executor`] that has processes.
//!
//! The pool itself does nothing but hand jobs to places and read their states; each place has a supervisor task that
//! keeps an instance alive in it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use cresset_config::ModelConfig;
use cresset_task::{BatchId, InstanceId, ModelName};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::backoff::Breaker;
use crate::env::EnvManager;
use crate::oom::OomWatch;
use crate::place::Place;
use crate::port::{
    DownReason, Executor, InstanceState, Job, NotTaken, PoolEvent, PoolState, PoolStatus, Unwanted,
};
use crate::recycle::EXTRA_INSTANCES_MAX;
use crate::spool::SpoolDir;
use crate::supervise::supervise;

/// A longer grace is cut to this: it is for ever, and fits the clock.
const GRACE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// Told each line of progress while an environment is built.
pub type OnProgress = Arc<dyn Fn(&ModelName, &str) + Send + Sync>;

/// What the pools of a server have in common.
#[derive(Clone)]
pub struct PoolOptions {
    /// Builds and finds interpreters.
    pub env: Arc<EnvManager>,
    /// Folder that holds the `cresset` Python package: [`crate::sdk::unpack`] makes one.
    pub sdk_dir: PathBuf,
    /// Folder for files that are given to models as paths; needed where there is a model that gets them so.
    pub files: Option<Arc<SpoolDir>>,
    /// Compute threads of an instance whose model.toml does not say: cores divided by all instances served, at least 1.
    /// More threads than cores cost far more than they bring.
    pub threads_default: usize,
    /// Told each line of progress while an environment is built, besides the log.
    pub on_progress: Option<OnProgress>,
}

/// What the pool and its supervisors share.
pub(crate) struct Shared {
    pub(crate) config: Arc<ModelConfig>,
    pub(crate) options: PoolOptions,
    pub(crate) events: mpsc::Sender<PoolEvent>,
    /// When a stop was ordered: until when jobs may be finished.
    pub(crate) stop: watch::Sender<Option<Instant>>,
    /// False while there is no work for any process.
    pub(crate) loaded: watch::Sender<bool>,
    /// Kill everything, now.
    pub(crate) kill: CancellationToken,
    pub(crate) oom: &'static OomWatch,
    /// One permit for each process beyond the configured ones.
    pub(crate) extra: Semaphore,
    /// Since the start, or since there was work again after an unload: an instance was ready; one went down by itself; and which of
    /// the two it is since.
    ever_ready: AtomicBool,
    failed: AtomicBool,
    reloaded: AtomicBool,
    breaker: Mutex<Breaker>,
    last_failure: Mutex<Option<DownReason>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) async fn emit(&self, event: PoolEvent) {
        if self.events.send(event).await.is_err() {
            tracing::debug!(model = %self.config.name, "nobody listens to the events of a pool any more");
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.kill.is_cancelled() || self.stop.borrow().is_some()
    }

    pub(crate) fn note_ready(&self) {
        self.ever_ready.store(true, Ordering::Relaxed);
        self.oom.forget();
    }

    /// A death counts for the crash-loop breaker, unless it was us.
    pub(crate) fn note_death(&self, reason: &DownReason) {
        if reason.is_ours() {
            return;
        }
        let now = Instant::now();
        let (was_open, is_open) = {
            let mut breaker = lock(&self.breaker);
            let was_open = breaker.is_open(now);
            breaker.death(now);
            (was_open, breaker.is_open(now))
        };
        *lock(&self.last_failure) = Some(reason.clone());
        self.failed.store(true, Ordering::Relaxed);
        if is_open && !was_open {
            tracing::error!(model = %self.config.name, "the model's instances keep dying, it counts as degraded");
        }
    }
}

/// All processes of one model.
pub struct Pool {
    shared: Arc<Shared>,
    places: Vec<Arc<Place>>,
    supervisors: TaskTracker,
}

impl Pool {
    /// Starts all instances of the model: for each device, `instances.count` of them. Returns at once; [`PoolEvent::Up`]
    /// tells when one is warm.
    ///
    /// Somebody must keep receiving `events` until [`Executor::stop`] has returned: instances wait while the channel is
    /// full. Cancelling `kill` kills all instances without grace. Dropping the pool stops nothing: call
    /// [`Executor::stop`], or cancel `kill`.
    ///
    /// Must be called inside a tokio runtime with I/O and time enabled.
    pub fn start(
        config: Arc<ModelConfig>,
        options: PoolOptions,
        events: mpsc::Sender<PoolEvent>,
        kill: CancellationToken,
    ) -> Arc<Self> {
        static OOM: LazyLock<OomWatch> = LazyLock::new(OomWatch::new);
        let devices = config
            .instances
            .devices
            .iter()
            .flat_map(|d| std::iter::repeat_n(d, config.instances.count));
        let places: Vec<_> = (0..)
            .map(InstanceId)
            .zip(devices)
            .map(|(id, device)| Arc::new(Place::new(id, device.clone())))
            .collect();
        let shared = Arc::new(Shared {
            config,
            options,
            events,
            stop: watch::Sender::new(None),
            kill,
            oom: &OOM,
            extra: Semaphore::new(EXTRA_INSTANCES_MAX),
            loaded: watch::Sender::new(true),
            ever_ready: AtomicBool::new(false),
            failed: AtomicBool::new(false),
            reloaded: AtomicBool::new(false),
            breaker: Mutex::default(),
            last_failure: Mutex::default(),
        });
        let supervisors = TaskTracker::new();
        for place in &places {
            supervisors.spawn(supervise(shared.clone(), place.clone()));
        }
        supervisors.close();
        Arc::new(Self {
            shared,
            places,
            supervisors,
        })
    }

    /// The model whose processes these are.
    #[must_use]
    pub fn config(&self) -> &Arc<ModelConfig> {
        &self.shared.config
    }
}

#[async_trait]
impl Executor for Pool {
    fn run(&self, instance: InstanceId, job: Job) -> Result<(), NotTaken> {
        match self.places.get(instance.0 as usize) {
            Some(place) => place.take(job),
            None => Err(NotTaken(job)),
        }
    }

    fn cancel(&self, instance: InstanceId, batch: BatchId, item: usize, why: Unwanted) {
        if let Some(place) = self.places.get(instance.0 as usize) {
            place.cancel(batch, item, why);
        }
    }

    fn unload(&self) {
        self.shared
            .loaded
            .send_if_modified(|loaded| std::mem::replace(loaded, false));
    }

    fn load(&self) {
        let shared = &self.shared;
        shared.loaded.send_if_modified(|loaded| {
            let was_loaded = std::mem::replace(loaded, true);
            if !was_loaded {
                // Before anybody can be ready for it.
                shared.ever_ready.store(false, Ordering::Relaxed);
                shared.failed.store(false, Ordering::Relaxed);
                shared.reloaded.store(true, Ordering::Relaxed);
            }
            !was_loaded
        });
    }

    fn status(&self) -> PoolStatus {
        let instances: Vec<_> = self.places.iter().map(|p| p.status()).collect();
        let last_failure = lock(&self.shared.last_failure).clone();
        let all_stopped = instances.iter().all(|i| i.state == InstanceState::Stopped);
        let state = state_of(&Facts {
            stopped: all_stopped,
            any_up: instances.iter().any(|i| i.state == InstanceState::Ready),
            ever_up: self.shared.ever_ready.load(Ordering::Relaxed),
            looping: lock(&self.shared.breaker).is_open(Instant::now()),
            unloaded: !*self.shared.loaded.borrow(),
            failed: self.shared.failed.load(Ordering::Relaxed),
            reloaded: self.shared.reloaded.load(Ordering::Relaxed),
        });
        PoolStatus {
            state,
            instances,
            last_failure,
        }
    }

    async fn stop(&self, grace: Duration) {
        let now = Instant::now();
        let until = now.checked_add(grace).unwrap_or_else(|| now + GRACE_MAX);
        self.shared.stop.send_if_modified(|stop| {
            // A second stop may only be more impatient.
            let sooner = stop.is_none_or(|earlier| until < earlier);
            if sooner {
                *stop = Some(until);
            }
            sooner
        });
        self.supervisors.wait().await;
    }
}

struct Facts {
    stopped: bool,
    any_up: bool,
    ever_up: bool,
    looping: bool,
    failed: bool,
    unloaded: bool,
    reloaded: bool,
}

fn state_of(facts: &Facts) -> PoolState {
    match facts {
        Facts { stopped: true, .. } => PoolState::Stopped,
        Facts {
            any_up: true,
            looping: false,
            ..
        } => PoolState::Ready,
        Facts { any_up: true, .. } => PoolState::Degraded,
        Facts { unloaded: true, .. } => PoolState::Unloaded,
        Facts { ever_up: true, .. } => PoolState::Down,
        Facts { failed: true, .. } => PoolState::Failed,
        Facts { reloaded: true, .. } => PoolState::Loading,
        _ => PoolState::Starting,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_a_model_follows_from_seven_facts() {
        let all = |facts: [u8; 7]| {
            let [stopped, any_up, ever_up, looping, failed, unloaded, reloaded] = facts.map(|f| f == 1);
            state_of(&Facts {
                stopped,
                any_up,
                ever_up,
                looping,
                failed,
                unloaded,
                reloaded,
            })
            .name()
        };
        let state = |[a, b, c, d, e]: [u8; 5]| all([a, b, c, d, e, 0, 0]);
        assert_eq!(state([0, 0, 0, 0, 0]), "starting");
        assert_eq!(state([0, 0, 0, 0, 1]), "failed", "starting failed once");
        assert_eq!(state([0, 0, 0, 1, 1]), "failed", "and again and again");
        assert_eq!(state([0, 1, 1, 0, 0]), "ready");
        assert_eq!(state([0, 1, 1, 0, 1]), "ready", "though something died earlier");
        assert_eq!(state([0, 1, 1, 1, 1]), "degraded", "the breaker is open");
        assert_eq!(state([0, 0, 1, 0, 1]), "down", "nothing is up");
        assert_eq!(state([0, 0, 1, 1, 1]), "down", "nor will be soon");
        assert_eq!(state([1, 0, 1, 1, 1]), "stopped");
        assert_eq!(all([0, 1, 1, 0, 0, 1, 0]), "ready", "not all have left yet");
        assert_eq!(all([0, 0, 1, 0, 0, 1, 0]), "unloaded");
        assert_eq!(
            all([0, 0, 1, 0, 1, 1, 1]),
            "unloaded",
            "though something died earlier"
        );
        assert_eq!(all([0, 0, 0, 0, 0, 0, 1]), "loading", "there is work again");
        assert_eq!(all([0, 0, 0, 0, 1, 0, 1]), "failed", "and it does not come up");
        assert_eq!(all([0, 0, 1, 0, 1, 0, 1]), "down", "it did, and died");
        assert_eq!(all([1, 0, 1, 0, 0, 1, 1]), "stopped");
    }
}
