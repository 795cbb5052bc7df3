//! The servers on a store.

use cresset_engine::{Member, Offer, Runner};
use cresset_task::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

/// Every server on the store.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Workers {
    /// Those that came first go first.
    pub(crate) workers: Vec<Worker>,
}

/// A server.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Worker {
    /// Its number on the store, never given twice. One that was taken for dead and comes back has another.
    #[schema(example = 7)]
    pub(crate) id: i64,
    /// `serve` (doors and models), `gateway` (doors only) or `worker` (models only).
    #[schema(example = "worker")]
    pub(crate) role: &'static str,
    /// Its machine.
    #[schema(example = "gpu-1")]
    pub(crate) host: String,
    /// Its process there.
    pub(crate) pid: u32,
    /// The version of its program.
    pub(crate) version: String,
    /// It has been told to stop, and takes no more work.
    pub(crate) stopping: bool,
    /// Since when it is on the store.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) since: Timestamp,
    /// When it last wrote; every server does every few seconds.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) seen_at: Timestamp,
    /// The store by which payloads that are large for a message between gateways and workers come and go at it; null where there is none, or no
    /// broker. All servers of a fleet should say the same.
    #[schema(example = "0199f3c1-6c3e-7d14-9c2a-0d5a2a5c1f00")]
    pub(crate) payload_store: Option<String>,
    /// The models that it runs, by name.
    pub(crate) models: Vec<WorkerModel>,
}

/// A model, as one server runs it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct WorkerModel {
    /// Its name.
    #[schema(example = "digits")]
    pub(crate) name: String,
    /// How it stands there.
    #[serde(flatten)]
    pub(crate) offer: ModelAt,
}

/// How a model stands at a server.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelAt {
    /// Its version.
    pub(crate) version: String,
    /// Its state, as in `/health/ready`.
    #[schema(example = "ready")]
    pub(crate) state: String,
    /// It counts as ready.
    pub(crate) ready: bool,
    /// What is wrong with it, if anything is.
    #[schema(required)]
    pub(crate) reason: Option<String>,
    /// Its processes.
    pub(crate) instances: usize,
    /// Those of them that take batches.
    pub(crate) instances_ready: usize,
    /// Items in instances or about to be, some seconds ago at most.
    pub(crate) running: usize,
    /// Items finished a second, likewise.
    #[schema(required)]
    pub(crate) items_per_second: Option<f64>,
}

/// A server that runs the model.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelWorker {
    /// Its number: see `/v1/workers`.
    #[schema(example = 7)]
    pub(crate) id: i64,
    /// Its machine.
    #[schema(example = "gpu-1")]
    pub(crate) host: String,
    /// Its process there.
    pub(crate) pid: u32,
    /// How the model stands there.
    #[serde(flatten)]
    pub(crate) offer: ModelAt,
}

impl Workers {
    pub(crate) fn of(members: &[Member]) -> Self {
        Self {
            workers: members.iter().map(Worker::of).collect(),
        }
    }
}

impl Worker {
    fn of(member: &Member) -> Self {
        let about = &member.about;
        let model = |(name, offer): (&cresset_task::ModelName, &Offer)| WorkerModel {
            name: name.to_string(),
            offer: ModelAt::of(offer),
        };
        Self {
            id: member.id,
            role: about.role.name(),
            host: about.host.clone(),
            pid: about.pid,
            version: about.program.clone(),
            stopping: about.stopping,
            since: member.since,
            seen_at: member.seen_at,
            payload_store: about.store.map(|store| store.to_string()),
            models: about.models.iter().map(model).collect(),
        }
    }
}

impl ModelAt {
    fn of(offer: &Offer) -> Self {
        Self {
            version: offer.version.clone(),
            state: offer.state.clone(),
            ready: offer.ready,
            reason: offer.reason.clone(),
            instances: offer.instances,
            instances_ready: offer.up,
            running: offer.load.running,
            items_per_second: offer.load.rate,
        }
    }
}

impl ModelWorker {
    pub(crate) fn of(runner: &Runner) -> Self {
        Self {
            id: runner.server,
            host: runner.host.clone(),
            pid: runner.pid,
            offer: ModelAt::of(&runner.offer),
        }
    }
}
