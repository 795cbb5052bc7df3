//! The door for Celery applications, when the settings name its queues.

use std::collections::BTreeMap;
use std::sync::Arc;

use cresset_celery_worker::{Options, StartError, Worker, default_node};
use cresset_config::{ModelConfig, ServerConfig, render_all};
use cresset_engine::Engine;

use crate::exit::{Exit, Trouble};

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
    };
    cresset_celery_worker::start(engine.clone(), options)
        .map(Some)
        .map_err(|error: StartError| Trouble::new(Exit::DATA, error.to_string()))
}

/// Returns when remote control has asked for a shutdown.
pub(super) async fn asked_to_stop(worker: Option<&Worker>) {
    match worker {
        Some(worker) => worker.asked_to_stop().await,
        None => std::future::pending().await,
    }
}
