//! The server as a whole.

use serde::Serialize;
use utoipa::ToSchema;

/// The process lives.
#[derive(Debug, ToSchema)]
#[expect(dead_code, reason = "written as a constant")]
pub(crate) struct Live {
    /// `live`.
    #[schema(example = "live")]
    status: String,
}

/// Whether everything can be served.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// Every model is ready, tasks can be stored, the broker can be used, and the server is not stopping. At a gateway, whose models are
    /// at its workers, they do not count: it takes and answers what concerns the others.
    pub(crate) ready: bool,
    /// In a word: `starting`, `ready`, `degraded` (something is served, but not everything, or not as it should be), `down`
    /// (nothing is), or `stopping`.
    #[schema(example = "ready")]
    pub(crate) state: &'static str,
    /// It has been told to stop.
    pub(crate) stopping: bool,
    /// Why tasks cannot be stored, if so.
    #[schema(required)]
    pub(crate) store: Option<String>,
    /// Why the broker that tasks come from, or the store by which their large payloads come, cannot be used, if so.
    #[schema(required)]
    pub(crate) broker: Option<String>,
    /// What is wrong with the store's inbox, if anything is: that it cannot be read, which makes the server not ready; or that tasks
    /// have waited there for long, which does not.
    #[schema(required)]
    pub(crate) inbox: Option<String>,
    /// Each model.
    pub(crate) models: Vec<ModelHealth>,
}

/// Whether one model can be served.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelHealth {
    /// Its name.
    pub(crate) name: String,
    /// `starting`; `ready`; `degraded`: it serves, but its processes keep dying, some of them are down, or it makes no progress;
    /// `unloaded`: it had no work for `instances.idle_unload`, and its processes start when there is some, which it takes; `loading`: they
    /// do; `down`: it served before; `failed`: it never came up; or `stopped`.
    #[schema(example = "ready")]
    pub(crate) state: String,
    /// It counts as ready: also when it is degraded only because a process of several is being started again.
    pub(crate) ready: bool,
    /// What is wrong with it, if anything is; or why it has no process.
    #[schema(required)]
    pub(crate) reason: Option<String>,
}

impl Health {
    /// As callers may see it.
    pub(crate) fn of(health: &cresset_engine::Health, broker: Option<String>) -> Self {
        let model = |m: &cresset_engine::ModelHealth| ModelHealth {
            name: m.name.to_string(),
            state: m.state.name().into(),
            ready: m.ready,
            reason: m.reason.clone(),
        };
        Self {
            ready: health.ready && broker.is_none(),
            state: match (&broker, health.state) {
                (Some(_), cresset_engine::ServerState::Ready) => cresset_engine::ServerState::Degraded,
                (_, state) => state,
            }
            .name(),
            stopping: health.stopping,
            store: health.store.clone(),
            broker,
            inbox: health.inbox.clone(),
            models: health.models.iter().map(model).collect(),
        }
    }
}

/// What this is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Root {
    /// `cresset`.
    pub(crate) name: &'static str,
    /// Its version.
    pub(crate) version: &'static str,
    /// Where to go on.
    pub(crate) links: Links,
}

/// Paths on this server.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Links {
    /// The models.
    pub(crate) models: &'static str,
    /// Whether they can be served.
    pub(crate) health: &'static str,
    /// Figures for Prometheus.
    pub(crate) metrics: &'static str,
    /// The API's description.
    pub(crate) openapi: &'static str,
    /// The same, for people.
    pub(crate) docs: &'static str,
    /// The error codes.
    pub(crate) errors: &'static str,
}
