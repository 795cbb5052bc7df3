//! The canary of a model: one input that it must be able to answer at any time, predicted again and again. Processes that are
//! up and answer nothing right are found by it: a device that computes nonsense, a model whose files have gone.
//!
//! It goes the way of any prediction, in the same batches, but past the result cache. It says nothing of load: a model that is
//! too busy to take it is neither well nor ill. Nor is it work: a model that has nothing else is unloaded in its time, and is not
//! loaded for it.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use cresset_config::ModelConfig;
use cresset_runner::PoolState;
use cresset_task::Payload;

use crate::api::EngineError;
use crate::engine::Engine;
use crate::item::check_fit;
use crate::served::Served;

/// A model that is not up is looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What the canary has found.
#[derive(Debug, Default)]
pub(crate) struct Canary(ArcSwapOption<String>);

impl Canary {
    /// In words, what is wrong, if anything is.
    pub(crate) fn trouble(&self) -> Option<String> {
        self.0.load_full().map(|words| String::clone(&words))
    }
}

impl Engine {
    /// Begins to predict this input every `health.interval`, until the engine drains; while that fails the model is not ready.
    /// Refused when the model is not served, or takes no such input.
    pub fn watch(&self, config: &ModelConfig, canary: Payload) -> Result<(), EngineError> {
        let served = self.open(config.name.as_str())?;
        check_fit(&canary, &served.config).map_err(|why| EngineError::InvalidInput(why.to_owned()))?;
        let watching = run(self.clone(), served, canary);
        self.inner.tracker.spawn(watching);
        Ok(())
    }
}

async fn run(engine: Engine, served: Arc<Served>, input: Payload) {
    let draining = engine.inner.shared.draining.clone();
    let mut pause = LOOK_EVERY;
    loop {
        tokio::select! {
            biased;
            () = draining.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        // Without a process there is nothing to find out.
        if !matches!(
            served.executor.status().state,
            PoolState::Ready | PoolState::Degraded
        ) {
            pause = LOOK_EVERY;
            continue;
        }
        pause = served.config.health.interval;
        // The answer comes within the model's own limit for predictions, or is given up then.
        let answer = try_once(&engine, &served, input.clone()).await;
        if let Some(found) = judge(answer.err()) {
            tell(&served, found);
        }
    }
}

async fn try_once(engine: &Engine, served: &Served, input: Payload) -> Result<(), EngineError> {
    served.check_available()?;
    let place = engine.seat(served, input.weight(), None)?;
    engine.answer_canary(served, input, place).await.map(drop)
}

/// What an end of the prediction says of the model: that it is well (`Some(None)`), what is wrong, or nothing.
fn judge(error: Option<EngineError>) -> Option<Option<String>> {
    match error {
        None => Some(None),
        Some(EngineError::Failed(failure)) => Some(Some(format!(
            "the canary failed: {}: {}",
            failure.type_, failure.message
        ))),
        Some(EngineError::PredictTimeout { limit, .. }) => {
            Some(Some(format!("the canary was not answered within {limit:?}")))
        }
        // Full, stopping, down: others say so.
        Some(_) => None,
    }
}

impl Served {
    /// The process that the canary spoke of is gone.
    pub(crate) fn forget_canary(&self) {
        self.canary.0.store(None);
    }
}

fn tell(served: &Served, found: Option<String>) {
    let model = &served.config.name;
    match (&found, served.canary.trouble()) {
        (Some(words), before) if before.as_ref() != Some(words) => {
            tracing::error!(%model, why = words, "the model does not answer its canary");
        }
        (None, Some(_)) => tracing::info!(%model, "the model answers its canary again"),
        _ => {}
    }
    served.canary.0.store(found.map(Arc::new));
}
