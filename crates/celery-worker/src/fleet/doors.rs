//! A worker's models, each with a door of its own to its queue. It is open as long as the model does its work, and what it needs beside the
//! broker is there: what comes while that is not so is for others.

use std::sync::Arc;
use std::time::Duration;

use cresset_config::{Celery, ModelConfig, fleet_queue};
use cresset_engine::Engine;
use cresset_task::ModelName;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::who_has::Holding;
use super::{Fleet, node};
use crate::depot::Depot;
use crate::options::Options;
use crate::worker::{Worker, start_with};

/// Models are looked at so often.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// A model that is not ready for so long, or whose large payloads cannot be had, does not come back in a moment: its door closes. A process
/// that starts again takes as long.
const PATIENCE: Duration = Duration::from_secs(5);

/// The doors of all models.
pub struct Doors {
    tracker: TaskTracker,
    closing: CancellationToken,
}

impl Doors {
    /// Opens each as soon as its model is ready. `tasks` of Celery's that a model names for itself are answered there, too. Must be called
    /// inside a tokio runtime.
    #[must_use]
    pub fn open(
        engine: &Engine,
        fleet: &Fleet,
        models: Vec<Arc<ModelConfig>>,
        drain_timeout: Duration,
    ) -> Self {
        let doors = Self {
            tracker: TaskTracker::new(),
            closing: CancellationToken::new(),
        };
        for model in models {
            let door = Door {
                engine: engine.clone(),
                settings: fleet.settings().clone(),
                depot: fleet.depot(),
                holding: fleet.holding(),
                model,
                drain_timeout,
                closing: doors.closing.clone(),
            };
            doors.tracker.spawn(door.keep());
        }
        doors.tracker.close();
        doors
    }

    /// Closes all: takes nothing more, and waits for what runs as long as a drain may take.
    pub async fn close(self) {
        self.closing.cancel();
        self.tracker.wait().await;
    }
}

struct Door {
    engine: Engine,
    settings: Celery,
    depot: Option<Arc<Depot>>,
    /// Where whoever seeks a task finds what is held here.
    holding: Arc<Holding>,
    model: Arc<ModelConfig>,
    drain_timeout: Duration,
    closing: CancellationToken,
}

impl Door {
    async fn keep(self) {
        while self.wait(true, Duration::ZERO).await {
            let Some(worker) = self.start() else {
                return;
            };
            tracing::info!(model = %self.model.name, "takes work from the model's queue");
            let goes_on = self.wait(false, PATIENCE).await;
            worker.stop().await;
            if !goes_on {
                return;
            }
            tracing::warn!(
                model = %self.model.name,
                "the model is not ready, or the store for large payloads is away; its queue is left to others"
            );
        }
    }

    /// Whether what is too large for a message can be had and left, as far as that goes by a store.
    fn has_store(&self) -> bool {
        let depot = self.depot.as_ref();
        depot.is_none_or(|depot| depot.trouble().borrow().is_none())
    }

    fn start(&self) -> Option<Worker> {
        let queue = fleet_queue(&self.model.name);
        let mut routes: std::collections::BTreeMap<_, _> = [(queue.clone(), Arc::clone(&self.model))].into();
        for task in &self.model.celery.tasks {
            routes.insert(task.clone(), Arc::clone(&self.model));
        }
        let options = Options {
            settings: Celery {
                queues: vec![queue],
                ..self.settings.clone()
            },
            node: node(self.model.name.as_str()),
            routes,
            drain_timeout: self.drain_timeout,
            is_fleet: true,
        };
        match start_with(self.engine.clone(), options, self.depot.clone()) {
            Ok(worker) => {
                self.holding.add(worker.held());
                Some(worker)
            }
            Err(error) => {
                // The same address has been read before.
                tracing::error!(model = %self.model.name, %error, "the model's queue cannot be taken from");
                None
            }
        }
    }

    /// Waits until the model has been ready, or not ready, for so long. False: the door is to close for good.
    async fn wait(&self, ready: bool, long: Duration) -> bool {
        let mut since = None;
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = self.closing.cancelled() => return false,
                _ = looks.tick() => {}
            }
            if (is_ready(&self.engine, &self.model.name) && self.has_store()) != ready {
                since = None;
                continue;
            }
            if since.get_or_insert_with(Instant::now).elapsed() >= long {
                return true;
            }
        }
    }
}

fn is_ready(engine: &Engine, name: &ModelName) -> bool {
    let health = engine.health();
    health
        .models
        .iter()
        .any(|model| model.name == *name && model.ready)
}
