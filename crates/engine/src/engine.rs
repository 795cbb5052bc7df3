//! The handle the doors hold.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use cresset_config::{Admission, ModelConfig};
use cresset_queue::{About, Backend, Lookup, TaskPage, TaskQuery};
use cresset_runner::{Executor, PoolEvent, PoolState};
use cresset_task::{ModelName, Ownership, Spans, State, TaskId, TaskRecord, Timestamp};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::admission::Admissions;
use crate::api::{EngineError, ModelView, TaskView};
use crate::cache::Cache;
use crate::driver::Driver;
use crate::elsewhere::{Reach, Roster};
use crate::errand::Errand;
use crate::expiry;
use crate::idempotency::OFFLOAD_BYTES;
use crate::introduce::Said;
use crate::metrics::Metrics;
use crate::neighbours;
use crate::progress;
use crate::retention;
use crate::served::{Models, Served};
use crate::shared::Shared;
use crate::store_watch;
use crate::waiters::News;

/// Names less like the one asked for than this are not suggested (1 is equal).
const NEAREST_MIN: f64 = 0.7;
/// Who cannot read what newer servers say has to be upgraded: that is not done in a moment.
const RETRY_UPGRADED: Duration = Duration::from_secs(60);
/// Instances are given this long to end once their work is done.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Settings of an engine.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// How often expired tasks are looked for. Default 30 s.
    pub purge_every: Duration,
    /// Bounds over all models. Default: none.
    pub admission: Admission,
    /// Bytes of results that come piece by piece, and of log lines, that are kept for readers, in all. Default 64 MiB.
    pub stream_bytes: usize,
    /// Who records spans. Default: nobody.
    pub spans: Option<Arc<dyn Spans>>,
    /// What this server is; what it serves is added. Default: everything, and nobody in particular.
    pub me: About,
    /// Who else there is, where that is not told by the store. Default: nobody tells.
    pub roster: Option<Arc<dyn Roster>>,
    /// What leads a gateway's work to the servers that run it. Default: the store.
    pub reach: Option<Arc<dyn Reach>>,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            purge_every: Duration::from_secs(30),
            admission: Admission::default(),
            stream_bytes: 64 << 20,
            spans: None,
            me: About::default(),
            roster: None,
            reach: None,
        }
    }
}

pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) metrics: Metrics,
    pub(crate) models: Arc<ArcSwap<Models>>,
    /// Models of other servers whose description cannot be read here, and why.
    pub(crate) unreadable: ArcSwap<BTreeMap<ModelName, String>>,
    /// What this server is, but for its models.
    pub(crate) me: About,
    pub(crate) said: Said,
    pub(crate) roster: Option<Arc<dyn Roster>>,
    pub(crate) reach: Option<Arc<dyn Reach>>,
    pub(crate) tracker: TaskTracker,
}

/// The engine; cheap to clone. Stop it with [`Engine::stop`].
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

impl Engine {
    /// An engine on an open backend, without models yet. Call it within a tokio runtime.
    #[must_use]
    pub fn start(backend: Arc<dyn Backend>, options: &EngineOptions) -> Self {
        let admission = Admissions::new(options.admission.clone());
        let mut shared = Shared::new(backend, admission, options.stream_bytes);
        shared.spans = options.spans.clone();
        let shared = Arc::new(shared);
        let tracker = TaskTracker::new();
        tracker.spawn(retention::run(Arc::clone(&shared), options.purge_every));
        let models = Arc::new(ArcSwap::<Models>::default());
        tracker.spawn(store_watch::run(Arc::clone(&shared)));
        tracker.spawn(expiry::run(Arc::clone(&shared), Arc::clone(&models)));
        tracker.spawn(neighbours::run(Arc::clone(&shared), Arc::clone(&models)));
        tracker.spawn(progress::run(Arc::clone(&shared), Arc::clone(&models)));
        let inner = Inner {
            shared,
            metrics: Metrics::new(),
            models,
            unreadable: ArcSwap::default(),
            me: options.me.clone(),
            said: Said::default(),
            roster: options.roster.clone(),
            reach: options.reach.clone(),
            tracker,
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Who records spans, if anybody does.
    #[must_use]
    pub fn spans(&self) -> Option<&Arc<dyn Spans>> {
        self.inner.shared.spans.as_ref()
    }

    /// Serves a model: `executor` runs its processes and tells of them through `events`.
    pub fn serve(
        &self,
        config: Arc<ModelConfig>,
        executor: Arc<dyn Executor>,
        events: mpsc::Receiver<PoolEvent>,
    ) {
        let metrics = self.inner.metrics.model(config.name.as_str());
        let name = config.name.clone();
        let cache = (config.cache.enabled)
            .then(|| Cache::new(config.cache.clone(), self.inner.metrics.cache(name.as_str())));
        let (served, inbox) = Served::new(config, executor, metrics, cache);
        let served = Arc::new(served);
        served.refresh();
        let shared = &self.inner.shared;
        let driver = Driver::new(Arc::clone(shared), Arc::clone(&served), shared.draining.clone());
        self.inner.tracker.spawn(driver.run(inbox, events));
        self.inner.models.rcu(|models| {
            let mut models = Models::clone(models);
            models.insert(name.clone(), Arc::clone(&served));
            models
        });
    }

    /// A task as it is now.
    pub async fn task(&self, id: TaskId) -> Result<TaskView, EngineError> {
        let record = self.found(id).await?;
        let backend = &self.inner.shared.backend;
        let queued = matches!(record.state, State::Pending | State::Retry);
        let queue_position = if queued { backend.position(id).await? } else { None };
        let progress = match record.state {
            State::Started => self.inner.shared.feeds.of(id).and_then(|feed| feed.progress()),
            _ => None,
        };
        Ok(TaskView {
            record,
            queue_position,
            progress,
        })
    }

    /// The same without its place in the queue, which is another question to the store.
    async fn found(&self, id: TaskId) -> Result<TaskRecord, EngineError> {
        match self.inner.shared.backend.fetch(id).await? {
            Lookup::Found(record) => Ok(*record),
            Lookup::Expired => Err(EngineError::ExpiredTask(id)),
            Lookup::Unknown => Err(EngineError::UnknownTask(id)),
        }
    }

    /// Whose a task is.
    pub async fn owner(&self, id: TaskId) -> Result<Ownership, EngineError> {
        Ok(self.inner.shared.backend.owner(id).await?)
    }

    /// A page of the tasks, those accepted last first.
    pub async fn tasks(&self, query: TaskQuery) -> Result<TaskPage, EngineError> {
        Ok(self.inner.shared.backend.tasks(query).await?)
    }

    /// A task once it has ended, or as it is after `timeout` (or when the server is told to stop). A waiter is an entry
    /// in a map: no thread, no polling.
    pub async fn wait(&self, id: TaskId, timeout: Duration) -> Result<TaskView, EngineError> {
        let until = Instant::now() + timeout;
        let shared = &self.inner.shared;
        loop {
            let mut waiting = shared.waiters.register(id);
            let mut record = self.found(id).await?;
            if record.state.is_terminal() {
                return Ok(TaskView::of_end(record));
            }
            // Cancel-safe: the receiver is polled in place, and dropping `waiting` gives up the entry.
            tokio::select! {
                biased;
                Ok(news) = &mut waiting.news => if let News::Ended(ended) = news
                    && ended.follows(&record)
                {
                    ended.apply(&mut record);
                    return Ok(TaskView::of_end(record));
                },
                () = shared.draining.cancelled() => return self.task(id).await,
                () = tokio::time::sleep_until(until) => return self.task(id).await,
            }
        }
    }

    /// The model of this name.
    pub fn model(&self, name: &str) -> Result<ModelView, EngineError> {
        let served = self.served(name)?;
        Ok(self.view(&served))
    }

    /// Only the declaration of the model of this name: cheap, for the request path.
    pub fn declaration(&self, name: &str) -> Result<Arc<ModelConfig>, EngineError> {
        Ok(Arc::clone(&self.served(name)?.config))
    }

    /// All models, by name.
    #[must_use]
    pub fn models(&self) -> Vec<ModelView> {
        self.inner
            .models
            .load()
            .values()
            .map(|served| self.view(served))
            .collect()
    }

    /// Where the doors count their requests.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.inner.metrics
    }

    /// The text for `/metrics`.
    #[must_use]
    pub fn render_metrics(&self) -> String {
        let load = *self.inner.shared.backend.outbox().borrow();
        self.inner.metrics.webhooks.load(load, Timestamp::now());
        if let Some(inbox) = self.inner.shared.inbox.get() {
            self.inner
                .metrics
                .inbox
                .load(inbox.state.load(), Timestamp::now());
        }
        for (name, served) in self.inner.models.load().iter() {
            let depth = self.inner.shared.backend.depth(name);
            served
                .metrics
                .queue_depth
                .set(i64::try_from(depth.tasks).unwrap_or(i64::MAX));
            served
                .metrics
                .queue_bytes
                .set(i64::try_from(depth.bytes).unwrap_or(i64::MAX));
            let health = served.health();
            served.metrics.ready.set(i64::from(health.ready));
            served
                .metrics
                .loaded
                .set(i64::from(health.state != PoolState::Unloaded));
            served
                .metrics
                .running
                .set(i64::try_from(served.running()).unwrap_or(i64::MAX));
        }
        self.inner.metrics.render(self.inner.shared.now())
    }

    /// Takes no new work from now on; health says "stopping", long polls are answered.
    pub fn drain(&self) {
        self.inner.shared.draining.cancel();
    }

    /// Drains, waits up to `deadline` for what is under way, gives the rest back to the queue, stops all processes and
    /// closes the store. Idempotent.
    pub async fn stop(&self, deadline: Duration) {
        self.drain();
        self.inner.tracker.close();
        let executors: Vec<_> = self
            .inner
            .models
            .load()
            .values()
            .map(|s| Arc::clone(&s.executor))
            .collect();
        if tokio::time::timeout(deadline, self.inner.tracker.wait())
            .await
            .is_err()
        {
            tracing::warn!(
                ?deadline,
                "work was still under way at the deadline and goes back to the queue"
            );
            self.inner.shared.abandon.cancel();
            stop_all(&executors, Duration::ZERO).await;
            self.inner.tracker.wait().await;
        } else {
            stop_all(&executors, STOP_GRACE).await;
        }
        if let Err(error) = self.inner.shared.backend.close().await {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "task store did not close cleanly"
            );
        }
    }

    /// Does this to its end, also when the caller goes away.
    pub(crate) fn see_through<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Errand<T> {
        Errand::new(&self.inner.tracker, work)
    }

    /// The model, if new work may come in.
    pub(crate) fn open(&self, name: &str) -> Result<Arc<Served>, EngineError> {
        if self.inner.shared.draining.is_cancelled() {
            return Err(EngineError::ShuttingDown);
        }
        self.served(name)
    }

    /// Digests so many bytes: here when they are few, on a blocking thread when they are many.
    pub(crate) async fn digest<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, EngineError> {
        if bytes < OFFLOAD_BYTES {
            return Ok(work());
        }
        match self.inner.tracker.spawn_blocking(work).await {
            Ok(done) => Ok(done),
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The only other way: the runtime shuts down before the work began.
            Err(_) => Err(EngineError::ShuttingDown),
        }
    }

    fn served(&self, name: &str) -> Result<Arc<Served>, EngineError> {
        let models = self.inner.models.load();
        if let Some((model, reason)) = self.inner.unreadable.load().get_key_value(name) {
            return Err(EngineError::ModelUnavailable {
                model: model.clone(),
                reason: reason.clone(),
                retry_after: RETRY_UPGRADED,
            });
        }
        models
            .get(name)
            .map(Arc::clone)
            .ok_or_else(|| unknown(name, &models))
    }

    fn view(&self, served: &Served) -> ModelView {
        let shared = &self.inner.shared;
        let elsewhere = served.elsewhere.as_ref();
        let runners = elsewhere.map(|elsewhere| elsewhere.runners());
        ModelView {
            config: Arc::clone(&served.config),
            pool: elsewhere.map_or_else(|| served.executor.status(), |elsewhere| elsewhere.status()),
            depth: shared.backend.depth(&served.config.name),
            running: match &runners {
                None => served.running(),
                Some(runners) => runners.iter().map(|runner| runner.offer.load.running).sum(),
            },
            waiting: served.waiting(),
            rate: elsewhere.map_or_else(|| served.rate(shared.now()), |elsewhere| elsewhere.rate()),
            runners,
        }
    }
}

/// All at once: each has the same grace.
async fn stop_all(executors: &[Arc<dyn Executor>], grace: Duration) {
    let mut stops = tokio::task::JoinSet::new();
    for executor in executors {
        let executor = Arc::clone(executor);
        stops.spawn(async move { executor.stop(grace).await });
    }
    stops.join_all().await;
}

/// No model is called so; the nearest of those that are served, if one is near.
pub(crate) fn unknown(name: &str, models: &Models) -> EngineError {
    let likeness = |known: &ModelName| strsim::jaro_winkler(name, known.as_str());
    let nearest = models
        .keys()
        .map(|known| (likeness(known), known))
        .filter(|(likeness, _)| *likeness >= NEAREST_MIN)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, known)| known.to_string());
    EngineError::UnknownModel {
        name: name.to_owned(),
        nearest,
    }
}

/// The doors check inputs by the declaration; this is for callers that do not.
pub(crate) fn invalid(why: &str) -> EngineError {
    EngineError::InvalidInput(why.to_owned())
}
