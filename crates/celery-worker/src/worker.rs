//! The worker as a whole: what its parts share, how it starts and how it stops.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cresset_celery::{Event, Status};
use cresset_engine::{CeleryMetrics, Engine};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::catalog::Catalog;
use crate::connect::connect;
use crate::depot::Depot;
use crate::events::{self, Events};
use crate::finished::Finished;
use crate::held::Held;
use crate::options::{Options, StartError};
use crate::parked::Parked;
use crate::redis::{RedisResults, Server};
use crate::results::{Nowhere, Results};
use crate::revoked::Revoked;
use crate::rpc::Rpc;
use crate::transport::Transport;
use crate::{care, control, node, sql, take};

/// Requests of remote control that wait to be answered.
const REQUESTS_MAX: usize = 256;
/// The last words are not waited for for ever.
const FAREWELL: Duration = Duration::from_secs(2);

/// Of the broker, before it was first asked.
const NOT_YET: &str = "broker: not connected yet";
/// In the figures, every task that no model answers.
const OTHER: &str = "other";

/// What all parts share.
pub(crate) struct Shared {
    pub(crate) engine: Engine,
    pub(crate) options: Options,
    pub(crate) catalog: Catalog,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) results: Arc<dyn Results>,
    /// By which large payloads come and go, if there is one.
    pub(crate) depot: Option<Arc<Depot>>,
    pub(crate) held: Arc<Held>,
    pub(crate) parked: Parked,
    pub(crate) revoked: Revoked,
    pub(crate) finished: Finished,
    /// Why the broker cannot be used, if so.
    pub(crate) broker: watch::Sender<Option<String>>,
    pub(crate) events: Arc<Events>,
    /// Tasks that have ended, by name.
    pub(crate) totals: Mutex<BTreeMap<String, u64>>,
    pub(crate) processed: AtomicU64,
    pub(crate) began: Instant,
    /// Nothing new is taken.
    pub(crate) closing: CancellationToken,
    /// What is not done goes back.
    pub(crate) abandon: CancellationToken,
    /// Remote control is heard, or was.
    pub(crate) heard: CancellationToken,
    /// A remote shutdown was asked for.
    pub(crate) asked_to_stop: CancellationToken,
    /// Owns the tasks that are under way.
    pub(crate) jobs: TaskTracker,
}

impl Shared {
    /// The queue of a task that names none: ours when it is answered here.
    pub(crate) fn queue_of(&self, task: &str) -> String {
        let settings = &self.options.settings;
        let own = settings
            .queues
            .first()
            .filter(|_| self.catalog.find(task).is_some());
        own.unwrap_or(&settings.default_queue).clone()
    }

    /// A task's name, if it is one of ours: the figures have room for those only.
    fn counted<'a>(&self, task: &'a str) -> &'a str {
        match self.catalog.find(task) {
            Some(_) => task,
            None => OTHER,
        }
    }

    fn figures(&self) -> &CeleryMetrics {
        self.engine.metrics().celery()
    }

    /// A task was delivered before.
    pub(crate) fn was_redelivered(&self, task: &str) {
        self.figures().redelivered(self.counted(task));
    }

    /// A task is sent once more.
    pub(crate) fn tries_again(&self, task: &str, status: &Status) {
        self.figures().ended(self.counted(task), status.name());
    }

    /// What is held, for whoever looks at the figures.
    pub(crate) fn show_held(&self) {
        let counts = self.held.counts();
        let figures = self.figures();
        figures.held("reserved", counts.current.saturating_sub(counts.active));
        figures.held("scheduled", counts.scheduled);
        figures.held("active", counts.active);
    }

    /// Why the broker cannot be used, or that it can.
    pub(crate) fn broker_is(&self, why: Option<String>) {
        let is_amqp = self
            .options
            .settings
            .broker
            .as_ref()
            .is_some_and(|url| !url.is_redis());
        let name = if is_amqp { "rabbitmq" } else { "redis" };
        self.figures().connected(name, why.is_none());
        self.broker.send_if_modified(|told| {
            let changes = *told != why;
            *told = why;
            changes
        });
    }

    pub(crate) fn counts_by_task(&self) -> BTreeMap<String, u64> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A task has ended.
    pub(crate) fn count(&self, task: &str, status: &Status) {
        self.figures().ended(self.counted(task), status.name());
        self.processed.fetch_add(1, Ordering::Relaxed);
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        match totals.get_mut(task) {
            Some(count) => *count += 1,
            None => drop(totals.insert(task.to_owned(), 1)),
        }
    }
}

/// A running worker.
pub struct Worker {
    shared: Arc<Shared>,
    /// Owns everything but the tasks under way.
    house: TaskTracker,
    leave: CancellationToken,
}

/// Starts the worker: it connects, and takes tasks as soon as models can answer them. Must be called inside a tokio runtime.
pub fn start(engine: Engine, options: Options) -> Result<Worker, StartError> {
    start_with(engine, options, None)
}

/// The same with a store for large payloads.
pub(crate) fn start_with(
    engine: Engine,
    options: Options,
    depot: Option<Arc<Depot>>,
) -> Result<Worker, StartError> {
    let settings = &options.settings;
    let (house, leave, closing) = (
        TaskTracker::new(),
        CancellationToken::new(),
        CancellationToken::new(),
    );
    let catalog = Catalog::new(&options.routes);
    let prefetch = catalog.prefetch();
    let transport = connect(&options, None, prefetch, &house, closing.clone(), leave.clone())?;
    let results: Arc<dyn Results> = match &settings.result_backend {
        None => Arc::new(Nowhere),
        Some(url) if url.scheme() == "rpc" => Arc::new(Rpc {
            transport: Arc::clone(&transport),
        }),
        Some(url) if sql::is_sql(url) => sql::open(url, &house, &leave)?,
        Some(url) => {
            let server = Server::open("result_backend", url, settings, &house, &leave)?;
            Arc::new(RedisResults::new(&server, settings)?)
        }
    };
    let (events, waiting) = Events::new(node::identity(&options.node), settings.events);
    let events = Arc::new(events);
    let shared = Arc::new(Shared {
        catalog,
        engine,
        options,
        transport,
        results,
        depot,
        held: Arc::new(Held::default()),
        parked: Parked::new(),
        revoked: Revoked::default(),
        finished: Finished::default(),
        broker: watch::Sender::new(Some(NOT_YET.into())),
        events,
        totals: Mutex::default(),
        processed: AtomicU64::new(0),
        began: Instant::now(),
        closing,
        abandon: CancellationToken::new(),
        heard: CancellationToken::new(),
        asked_to_stop: CancellationToken::new(),
        jobs: TaskTracker::new(),
    });
    shared.broker_is(Some(NOT_YET.into()));
    let (requests, asked) = mpsc::channel(REQUESTS_MAX);
    let transport = Arc::clone(&shared.transport);
    house.spawn(events::run(
        Arc::clone(&shared.events),
        transport,
        waiting,
        leave.clone(),
    ));
    house.spawn(control::listen(Arc::clone(&shared), requests, leave.clone()));
    house.spawn(control::answer(Arc::clone(&shared), asked, leave.clone()));
    if !shared.options.is_fleet {
        // A fleet has words of its own, and its models figures of their own.
        house.spawn(care::beat(Arc::clone(&shared), leave.clone()));
    }
    house.spawn(care::look_after(Arc::clone(&shared), leave.clone()));
    // Among the jobs: whoever waits for them waits for what makes them.
    shared.jobs.spawn(take::run(Arc::clone(&shared)));
    let (settings, catalog) = (&shared.options.settings, &shared.catalog);
    tracing::info!(
        node = shared.options.node,
        broker = ?settings.broker,
        results = ?settings.result_backend,
        queues = settings.queues.join(","),
        tasks = catalog.names().collect::<Vec<_>>().join(","),
        prefetch = catalog.prefetch(),
        "worker of Celery tasks started"
    );
    Ok(Worker { shared, house, leave })
}

impl Worker {
    /// Why the broker cannot be used, while that is so.
    #[must_use]
    pub fn broker(&self) -> watch::Receiver<Option<String>> {
        self.shared.broker.subscribe()
    }

    /// What it holds.
    pub(crate) fn held(&self) -> &Arc<Held> {
        &self.shared.held
    }

    /// Returns when remote control has asked for a shutdown.
    pub async fn asked_to_stop(&self) {
        self.shared.asked_to_stop.cancelled().await;
    }

    /// Takes nothing new, gives back what has not begun, waits for what runs as long as a drain may take, and gives back the rest.
    pub async fn stop(self) {
        let Self { shared, house, leave } = self;
        shared.closing.cancel();
        shared.jobs.close();
        let drained = tokio::time::timeout(shared.options.drain_timeout, shared.jobs.wait()).await;
        if drained.is_err() {
            tracing::warn!("tasks were still under way at the deadline and go back to their queues");
            shared.abandon.cancel();
            shared.jobs.wait().await;
        }
        if !shared.options.is_fleet {
            let offline = Event::Worker {
                what: "offline",
                active: 0,
                processed: shared.processed.load(Ordering::Relaxed),
                load: node::load(),
            };
            let farewell = shared.events.worker(&*shared.transport, offline);
            // Nobody may be there to hear it.
            let _ = tokio::time::timeout(FAREWELL, farewell).await;
        }
        leave.cancel();
        house.close();
        house.wait().await;
        tracing::info!("worker of Celery tasks stopped");
    }
}
