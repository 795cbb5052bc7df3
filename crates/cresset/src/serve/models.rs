//! The processes of every model, started and given to the engine.

use std::sync::Arc;

use cresset_config::{ModelConfig, ServerConfig};
use cresset_engine::Engine;
use cresset_runner::env::EnvManager;
use cresset_runner::{Pool, PoolOptions, sdk, spool};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::canary;
use crate::exit::{Exit, Trouble};

/// News of one model's processes on their way to the engine. The engine takes them in at once; this only has to hold
/// what comes while it does.
const EVENTS_MAX: usize = 256;

/// Starts the instances of all models; returns at once, the engine hears when they are warm.
pub(crate) fn start(config: &ServerConfig, models: Vec<ModelConfig>, engine: &Engine) -> Result<(), Trouble> {
    // Before anything is started: a wrong one ends the start.
    let canaries: Vec<_> = models.iter().map(canary::read).collect::<Result<_, _>>()?;
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
    // The store's lock on the data folder is ours by now, so nobody else's files are there.
    let files_dir = config.data_dir.join("model-files");
    spool::clear(&files_dir).map_err(|error| Trouble::file("clear", &files_dir, &error))?;
    let options = PoolOptions {
        files_dir,
        env: Arc::new(EnvManager::new(cache)),
        sdk_dir,
        threads_default: threads_each(&models),
        on_progress: None,
    };
    for (model, canary) in models.into_iter().zip(canaries) {
        let model = Arc::new(model);
        let (events, news) = mpsc::channel(EVENTS_MAX);
        let pool = Pool::start(
            Arc::clone(&model),
            options.clone(),
            events,
            CancellationToken::new(),
        );
        engine.serve(Arc::clone(&model), pool, news);
        if let Some(canary) = canary {
            let watched = engine.watch(&model, canary);
            watched.map_err(|error| {
                Trouble::new(Exit::DATA, format!("the canary of `{}`: {error}", model.name))
            })?;
        }
    }
    Ok(())
}

/// Cores divided by the instances that compute on them: more threads than cores cost far more than they bring.
fn threads_each(models: &[ModelConfig]) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let on_cpu = |model: &ModelConfig| {
        model.instances.count
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
