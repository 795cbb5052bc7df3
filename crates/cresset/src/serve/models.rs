//! The processes of every model, started and given to the engine.

use std::sync::Arc;

use cresset_celery_worker::{CeleryPool, Courier};
use cresset_config::{FileForm, ModelConfig, ServerConfig};
use cresset_engine::Engine;
use cresset_runner::env::EnvManager;
use cresset_runner::spool::{self, SpoolDir};
use cresset_runner::{Executor, Pool, PoolOptions, sdk};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::canary;
use crate::exit::{Exit, Trouble};

/// News of one model's processes on their way to the engine. The engine takes them in at once; this only has to hold
/// what comes while it does.
const EVENTS_MAX: usize = 256;

/// Starts the instances of all models; returns at once, the engine hears when they are warm. Gives the way to Celery workers, if one of
/// the models is theirs: to be stopped after the engine.
pub(crate) fn start(
    config: &ServerConfig,
    models: Vec<ModelConfig>,
    engine: &Engine,
) -> Result<Option<Arc<Courier>>, Trouble> {
    // Before anything is started: a wrong one ends the start.
    let canaries: Vec<_> = models.iter().map(canary::read).collect::<Result<_, _>>()?;
    let courier = super::celery::courier(config, &models)?;
    let cache = &config.cache_dir;
    let sdk_dir = sdk::unpack(cache).map_err(|error| {
        Trouble::new(
            Exit::CANNOT_CREATE,
            format!(
                "cannot unpack the Python package into {}: {error}",
                cache.display()
            ),
        )
        .hint("choose another folder with --cache-dir DIR")
    })?;
    let options = PoolOptions {
        files: files(config, &models)?,
        env: Arc::new(EnvManager::new(cache)),
        sdk_dir,
        threads_default: threads_each(&models),
        on_progress: None,
    };
    for (model, canary) in models.into_iter().zip(canaries) {
        let model = Arc::new(model);
        let (events, news) = mpsc::channel(EVENTS_MAX);
        let pool: Arc<dyn Executor> = match (&model.celery.call, &courier) {
            (Some(call), Some(courier)) => {
                CeleryPool::start(Arc::clone(&model), call.clone(), Arc::clone(courier), events)
            }
            _ => Pool::start(
                Arc::clone(&model),
                options.clone(),
                events,
                CancellationToken::new(),
            ),
        };
        engine.serve(Arc::clone(&model), pool, news);
        if let Some(canary) = canary {
            let watched = engine.watch(&model, canary);
            watched.map_err(|error| {
                Trouble::new(Exit::DATA, format!("the canary of `{}`: {error}", model.name))
            })?;
        }
    }
    Ok(courier)
}

/// Where models get files as paths, if one does; in any case nothing is left there of a server that was killed.
fn files(config: &ServerConfig, models: &[ModelConfig]) -> Result<Option<Arc<SpoolDir>>, Trouble> {
    let dir = config.data_dir.join("model-files");
    let made = match models.iter().any(|model| model.files.form == FileForm::Path) {
        true => SpoolDir::make(&dir).map(|made| Some(Arc::new(made))),
        false => spool::sweep(&dir).map(|()| None),
    };
    made.map_err(|error| Trouble::file("use", &dir, &error))
}

/// Cores divided by the instances that compute on them: more threads than cores cost far more than they bring.
fn threads_each(models: &[ModelConfig]) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let on_cpu = |model: &ModelConfig| {
        let is_here = model.celery.call.is_none();
        usize::from(is_here)
            * model.instances.count
            * model
                .instances
                .devices
                .iter()
                .filter(|device| *device == "cpu")
                .count()
    };
    let instances: usize = models.iter().map(on_cpu).sum();
    (cores / instances.max(1)).max(1)
}
