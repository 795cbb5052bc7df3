//! Cancelling a task: durable first, then told to whoever has it or waits for it.

use std::time::Duration;

use cresset_queue::Cancelled;
use cresset_task::{ModelName, State, TaskId, Timestamp};

use crate::api::{Cancellation, EngineError, Stopped};
use crate::engine::Engine;
use crate::waiters::News;

/// What a cancelled task says of itself.
const REASON: &str = "it was cancelled";

impl Engine {
    /// Revokes a task that has not ended; final and durable when this returns. If a model process has the task at that moment
    /// its code can see it, and the process is killed when it does not let go within the model's grace. Dropping the future
    /// does not take it back.
    pub async fn cancel(&self, id: TaskId) -> Result<Cancellation, EngineError> {
        let engine = self.clone();
        self.see_through(async move { engine.revoke(id).await }).await
    }

    pub(crate) async fn revoke(&self, id: TaskId) -> Result<Cancellation, EngineError> {
        let mut cancelled = self.cancel_stored(id).await?;
        if cancelled == Cancelled::Unknown && self.inner.shared.inbox.get().is_some() {
            // It may lie in the inbox still.
            if self.revoke_row(id, REASON).await? {
                return Ok(Cancellation {
                    id,
                    state: State::Revoked,
                    stopped: Stopped::Before,
                    grace: None,
                });
            }
            // It may have been taken in between.
            cancelled = self.cancel_stored(id).await?;
        }
        let (state, stopped, grace) = match cancelled {
            Cancelled::Queued(model) => {
                self.revoked(id, &model, false);
                (State::Revoked, Stopped::Before, None)
            }
            Cancelled::Leased(model) => {
                let grace = self.revoked(id, &model, true);
                (State::Revoked, Stopped::During, grace)
            }
            Cancelled::Ended(state) => (state, Stopped::TooLate, None),
            Cancelled::Expired => return Err(EngineError::ExpiredTask(id)),
            Cancelled::Unknown => return Err(EngineError::UnknownTask(id)),
        };
        Ok(Cancellation {
            id,
            state,
            stopped,
            grace,
        })
    }

    async fn cancel_stored(&self, id: TaskId) -> Result<Cancelled, EngineError> {
        let shared = &self.inner.shared;
        let cancelled = shared.backend.cancel(id, REASON, Timestamp::now()).await;
        Ok(cancelled.inspect_err(|error| shared.store.failed(error))?)
    }

    /// Tells whom it concerns; gives the grace of the model.
    pub(crate) fn revoked(&self, id: TaskId, model: &ModelName, is_leased: bool) -> Option<Duration> {
        self.inner.shared.ended(id, &News::Look);
        self.inner.shared.tell(id, model, State::Revoked, None);
        // A model that is no longer served may still have tasks.
        let models = self.inner.models.load();
        let served = models.get(model)?;
        served.metrics.revoked();
        if is_leased {
            served.stop(id);
        }
        served.config.limits.cancel_grace
    }
}
