//! Every metric, its unit and its meaning, in one place. Names follow Prometheus' habits.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use cresset_task::State;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use self::buckets::{items, seconds};
use self::cache::CacheFamilies;
pub(crate) use self::cache::CacheMetrics;
pub use self::celery::CeleryMetrics;
use self::inbox::InboxMetrics;
pub(crate) use self::webhooks::WebhookMetrics;

mod buckets;
mod cache;
mod celery;
mod door;
mod inbox;
mod processes;
mod webhooks;

/// Labels of per-model figures.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ModelLabel {
    model: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TaskLabel {
    model: String,
    status: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RestartLabel {
    model: String,
    reason: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabel {
    method: String,
    route: String,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

/// All figures of a server.
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabel, Counter>,
    request_seconds: Histogram,
    connections: Gauge,
    connections_refused: Family<ReasonLabel, Counter>,
    connections_given_up: Family<ReasonLabel, Counter>,
    tasks: Family<TaskLabel, Counter>,
    predictions: Family<TaskLabel, Counter>,
    restarts: Family<RestartLabel, Counter>,
    recycled: Family<RestartLabel, Counter>,
    not_replaced: Family<RestartLabel, Counter>,
    unloaded: Family<ModelLabel, Counter>,
    redelivered: Family<ModelLabel, Counter>,
    stale: Family<ModelLabel, Counter>,
    dead_letters: Family<ModelLabel, Counter>,
    queue_depth: Family<ModelLabel, Gauge>,
    queue_bytes: Family<ModelLabel, Gauge>,
    running: Family<ModelLabel, Gauge>,
    ready: Family<ModelLabel, Gauge>,
    loaded: Family<ModelLabel, Gauge>,
    uptime: Gauge<f64, AtomicU64>,
    batch_size: Family<ModelLabel, Histogram, fn() -> Histogram>,
    queue_seconds: Family<ModelLabel, Histogram, fn() -> Histogram>,
    compute_seconds: Family<ModelLabel, Histogram, fn() -> Histogram>,
    total_seconds: Family<ModelLabel, Histogram, fn() -> Histogram>,
    caches: CacheFamilies,
    pub(crate) webhooks: WebhookMetrics,
    pub(crate) inbox: InboxMetrics,
    celery: CeleryMetrics,
}

/// The figures of one model, looked up once so that the hot path does not hash labels.
#[derive(Clone)]
pub struct ModelMetrics {
    model: String,
    accepted: Counter,
    retried: Counter,
    succeeded: Counter,
    failed: Counter,
    revoked: Counter,
    predictions_ok: Counter,
    predictions_failed: Counter,
    predictions_went_on: Counter,
    unloaded: Counter,
    redelivered: Counter,
    stale: Counter,
    dead_letters: Counter,
    restarts: Family<RestartLabel, Counter>,
    recycled: Family<RestartLabel, Counter>,
    not_replaced: Family<RestartLabel, Counter>,
    pub(crate) queue_depth: Gauge,
    pub(crate) queue_bytes: Gauge,
    pub(crate) running: Gauge,
    pub(crate) ready: Gauge,
    pub(crate) loaded: Gauge,
    batch_size: Histogram,
    queue_seconds: Histogram,
    compute_seconds: Histogram,
    total_seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A fresh set, all zero.
    #[must_use]
    pub fn new() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("cresset"),
            requests: Family::default(),
            request_seconds: seconds(),
            connections: Gauge::default(),
            connections_refused: Family::default(),
            connections_given_up: Family::default(),
            tasks: Family::default(),
            predictions: Family::default(),
            restarts: Family::default(),
            recycled: Family::default(),
            not_replaced: Family::default(),
            unloaded: Family::default(),
            redelivered: Family::default(),
            stale: Family::default(),
            dead_letters: Family::default(),
            queue_depth: Family::default(),
            queue_bytes: Family::default(),
            running: Family::default(),
            ready: Family::default(),
            loaded: Family::default(),
            uptime: Gauge::default(),
            batch_size: Family::new_with_constructor(items),
            queue_seconds: Family::new_with_constructor(seconds),
            compute_seconds: Family::new_with_constructor(seconds),
            total_seconds: Family::new_with_constructor(seconds),
            caches: CacheFamilies::default(),
            webhooks: WebhookMetrics::new(),
            inbox: InboxMetrics::new(),
            celery: CeleryMetrics::default(),
        };
        metrics.registered()
    }

    fn registered(mut self) -> Self {
        let r = &mut self.registry;
        r.register(
            "http_requests",
            "HTTP requests answered, by route and status",
            self.requests.clone(),
        );
        r.register(
            "http_request_seconds",
            "HTTP request time, long polls included",
            self.request_seconds.clone(),
        );
        r.register("connections", "Open connections", self.connections.clone());
        r.register(
            "connections_refused",
            "Connections that were one too many: in all (limit) or of their address (address)",
            self.connections_refused.clone(),
        );
        r.register(
            "connections_given_up",
            "Connections closed because nothing was asked (idle), a head did not end (head) or an answer was not taken (write)",
            self.connections_given_up.clone(),
        );
        r.register(
            "tasks",
            "Tasks by what became of them: accepted (PENDING), put off to be tried again (RETRY), or ended",
            self.tasks.clone(),
        );
        r.register(
            "predictions",
            "Synchronous predictions by outcome; TASK is one that goes on as a task",
            self.predictions.clone(),
        );
        r.register(
            "instance_restarts",
            "Instances that went down, by reason",
            self.restarts.clone(),
        );
        r.register(
            "instances_recycled",
            "Instances that were worn and gave their place to a fresh process, by reason",
            self.recycled.clone(),
        );
        r.register(
            "instances_not_replaced",
            "Fresh processes that were to take over and did not come up, by reason",
            self.not_replaced.clone(),
        );
        r.register(
            "instances_unloaded",
            "Instances that were stopped as their model had no work for instances.idle_unload",
            self.unloaded.clone(),
        );
        r.register(
            "redelivered_items",
            "Items run again after a batch raised or an instance died",
            self.redelivered.clone(),
        );
        r.register(
            "stale_completions",
            "Late results refused by the fence",
            self.stale.clone(),
        );
        r.register(
            "dead_letters",
            "Tasks whose input took its process down each time it was tried, and is kept",
            self.dead_letters.clone(),
        );
        r.register("queue_depth", "Tasks queued", self.queue_depth.clone());
        r.register("queue_bytes", "Bytes of queued inputs", self.queue_bytes.clone());
        r.register("running_items", "Items in instances", self.running.clone());
        r.register(
            "model_ready",
            "1 when the model is ready, also while it is unloaded and would be loaded for work",
            self.ready.clone(),
        );
        r.register(
            "model_loaded",
            "0 while the model is unloaded as it has no work, else 1",
            self.loaded.clone(),
        );
        r.register(
            "uptime_seconds",
            "Time since the server started",
            self.uptime.clone(),
        );
        r.register("batch_size", "Items a batch", self.batch_size.clone());
        r.register(
            "queue_seconds",
            "From acceptance to being sent to an instance",
            self.queue_seconds.clone(),
        );
        r.register(
            "compute_seconds",
            "One batch in its instance",
            self.compute_seconds.clone(),
        );
        r.register(
            "total_seconds",
            "From acceptance to the recorded outcome",
            self.total_seconds.clone(),
        );
        self.caches.register(r);
        self.webhooks.register(r);
        self.inbox.register(r);
        self.celery.register(r);
        self
    }

    /// The figures of one model.
    pub(crate) fn model(&self, name: &str) -> ModelMetrics {
        let label = ModelLabel {
            model: name.to_owned(),
        };
        let task = |state: State| {
            self.tasks
                .get_or_create(&TaskLabel {
                    model: name.to_owned(),
                    status: state.name().to_owned(),
                })
                .clone()
        };
        let prediction = |status: &str| {
            self.predictions
                .get_or_create(&TaskLabel {
                    model: name.to_owned(),
                    status: status.to_owned(),
                })
                .clone()
        };
        ModelMetrics {
            model: name.to_owned(),
            accepted: task(State::Pending),
            retried: task(State::Retry),
            succeeded: task(State::Success),
            failed: task(State::Failure),
            revoked: task(State::Revoked),
            predictions_ok: prediction("SUCCESS"),
            predictions_failed: prediction("FAILURE"),
            predictions_went_on: prediction("TASK"),
            unloaded: self.unloaded.get_or_create(&label).clone(),
            redelivered: self.redelivered.get_or_create(&label).clone(),
            stale: self.stale.get_or_create(&label).clone(),
            dead_letters: self.dead_letters.get_or_create(&label).clone(),
            restarts: self.restarts.clone(),
            recycled: self.recycled.clone(),
            not_replaced: self.not_replaced.clone(),
            queue_depth: self.queue_depth.get_or_create(&label).clone(),
            queue_bytes: self.queue_bytes.get_or_create(&label).clone(),
            running: self.running.get_or_create(&label).clone(),
            ready: self.ready.get_or_create(&label).clone(),
            loaded: self.loaded.get_or_create(&label).clone(),
            batch_size: self.batch_size.get_or_create(&label).clone(),
            queue_seconds: self.queue_seconds.get_or_create(&label).clone(),
            compute_seconds: self.compute_seconds.get_or_create(&label).clone(),
            total_seconds: self.total_seconds.get_or_create(&label).clone(),
        }
    }

    /// The figures of one model's result cache.
    pub(crate) fn cache(&self, model: &str) -> CacheMetrics {
        self.caches.model(model)
    }

    /// The text for `/metrics` (OpenMetrics 1.0).
    #[must_use]
    pub(crate) fn render(&self, uptime: Duration) -> String {
        self.uptime.set(uptime.as_secs_f64());
        let mut text = String::new();
        // Writing to a String cannot fail; an encoder error would be a bug in a label above.
        if let Err(error) = prometheus_client::encoding::text::encode(&mut text, &self.registry) {
            tracing::error!(%error, "metrics could not be written");
        }
        text
    }
}

impl ModelMetrics {
    pub(crate) fn accepted(&self) {
        self.accepted.inc();
    }

    /// A task failed and is to be tried again later.
    pub(crate) fn retried(&self) {
        self.retried.inc();
    }

    pub(crate) fn ended(&self, state: State, total: Duration) {
        match state {
            State::Success => self.succeeded.inc(),
            State::Failure => self.failed.inc(),
            State::Revoked => self.revoked.inc(),
            State::Pending | State::Started | State::Retry => return,
        };
        self.total_seconds.observe(total.as_secs_f64());
    }

    /// A task failed without having been run: its input could not be. How long that took says nothing of the service.
    pub(crate) fn failed_unrun(&self) {
        self.failed.inc();
    }

    /// A task was cancelled, or expired before it could start. How long it waited says nothing of the service.
    pub(crate) fn revoked(&self) {
        self.revoked.inc();
    }

    pub(crate) fn predicted(&self, ok: bool, total: Duration) {
        if ok {
            self.predictions_ok.inc()
        } else {
            self.predictions_failed.inc()
        };
        self.total_seconds.observe(total.as_secs_f64());
    }

    /// A prediction goes on as a task.
    pub(crate) fn went_on(&self) {
        self.predictions_went_on.inc();
    }

    pub(crate) fn batch(&self, size: usize, compute: Duration) {
        self.batch_size.observe(size as f64);
        self.compute_seconds.observe(compute.as_secs_f64());
    }

    pub(crate) fn queued(&self, wait: Duration) {
        self.queue_seconds.observe(wait.as_secs_f64());
    }
}
