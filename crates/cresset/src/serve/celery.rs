//! The door for Celery applications, when the settings name its queues.

use std::collections::BTreeMap;
use std::sync::Arc;

use cresset_celery_worker::{Courier, Doors, Fleet, Options, StartError, Worker, default_node};
use cresset_config::{Celery, ModelConfig, ServerConfig, ServiceUrl, render_all};
use cresset_engine::{Engine, Parcels, Role};
use cresset_task::TaskId;

use crate::exit::{Exit, Trouble};

/// What the queues of servers for results are called, and the file in the data folder that says whose one is.
const REPLIES: &str = "cresset.results";
const IDENTITY: &str = "celery-identity";

/// The model that answers each task.
pub(super) type Routes = BTreeMap<String, Arc<ModelConfig>>;

/// Which model answers which task. It has been checked with the settings, so that nothing is wrong by now.
pub(super) fn routes(config: &ServerConfig, models: &[ModelConfig]) -> Result<Routes, Trouble> {
    let routes = config
        .celery
        .routes(models)
        .map_err(|mistakes| Trouble::new(Exit::DATA, render_all(&mistakes)))?;
    let model = |name| models.iter().find(|model| model.name == name);
    Ok(routes
        .into_iter()
        .filter_map(|(task, name)| Some((task, Arc::new(model(name)?.clone()))))
        .collect())
}

/// Opens the door, if there is to be one.
pub(super) fn start(
    config: &ServerConfig,
    routes: Routes,
    engine: &Engine,
) -> Result<Option<Worker>, Trouble> {
    if !config.celery.is_on() {
        return Ok(None);
    }
    let options = Options {
        node: config.celery.node.clone().unwrap_or_else(default_node),
        settings: config.celery.clone(),
        routes,
        drain_timeout: config.drain_timeout,
        is_fleet: false,
    };
    cresset_celery_worker::start(engine.clone(), options)
        .map(Some)
        .map_err(|error: StartError| Trouble::new(Exit::DATA, error.to_string()))
}

/// The way to Celery workers, if they run one of the models.
pub(super) fn courier(
    config: &ServerConfig,
    models: &[ModelConfig],
) -> Result<Option<Arc<Courier>>, Trouble> {
    if models.iter().all(|model| model.celery.call.is_none()) {
        return Ok(None);
    }
    let mistakes = config.celery.check_calls(models);
    if !mistakes.is_empty() {
        return Err(Trouble::new(Exit::DATA, render_all(&mistakes)));
    }
    let node = config.celery.node.clone().unwrap_or_else(default_node);
    let replies = format!("{REPLIES}.{}", identity(config)?);
    Courier::start(&config.celery, node, &replies)
        .map(Some)
        .map_err(|error: StartError| Trouble::new(Exit::DATA, error.to_string()))
}

/// What is between gateways and workers that do not meet at a store of tasks.
pub(crate) struct Between {
    /// The broker, as [`Celery::fleet`] has it.
    pub(crate) broker: Celery,
    /// A database where large payloads are left for each other.
    pub(crate) store: Option<ServiceUrl>,
}

/// Where large payloads are left, if anywhere.
pub(super) async fn parcels(between: &Between) -> Result<Option<Arc<dyn Parcels>>, Trouble> {
    match &between.store {
        Some(store) if between.broker.reference_above > 0 => super::store::parcels(store).await,
        _ => Ok(None),
    }
}

/// This server's part in a fleet that a broker holds together, if that is how it works.
pub(super) fn fleet(
    config: &ServerConfig,
    between: Option<Between>,
    role: Role,
    parcels: Option<Arc<dyn Parcels>>,
) -> Result<Option<Fleet>, Trouble> {
    let Some(Between { broker: settings, .. }) = between else {
        return Ok(None);
    };
    let replies = match role {
        Role::Gateway => format!("{REPLIES}.{}", identity(config)?),
        Role::Serve | Role::Worker => String::new(),
    };
    Fleet::join(settings, role, &replies, parcels)
        .map(Some)
        .map_err(|error: StartError| Trouble::new(Exit::DATA, error.to_string()))
}

/// The doors of a worker of such a fleet.
pub(super) fn doors(
    config: &ServerConfig,
    fleet: Option<&Fleet>,
    models: Vec<Arc<ModelConfig>>,
    engine: &Engine,
) -> Option<Doors> {
    Some(Doors::open(engine, fleet?, models, config.drain_timeout))
}

/// Who this server is, for as long as it has its data folder: the results of what it sends find it after a restart.
fn identity(config: &ServerConfig) -> Result<String, Trouble> {
    let path = config.data_dir.join(IDENTITY);
    let known = match std::fs::read_to_string(&path) {
        Ok(text) => text.trim().parse::<TaskId>().ok(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        Err(error) => return Err(Trouble::file("read", &path, &error)),
    };
    let id = match known {
        Some(id) => return Ok(id.to_string()),
        None => TaskId::fresh().to_string(),
    };
    std::fs::write(&path, &id).map_err(|error| Trouble::file("write", &path, &error))?;
    Ok(id)
}

/// Returns when remote control has asked for a shutdown.
pub(super) async fn asked_to_stop(worker: Option<&Worker>) {
    match worker {
        Some(worker) => worker.asked_to_stop().await,
        None => std::future::pending().await,
    }
}
