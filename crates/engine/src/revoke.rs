//! Cancelling a task: durable first, then told to whoever has it or waits for it.

use cresset_queue::Cancelled;
use cresset_task::{ModelName, State, TaskId, Timestamp};

use crate::api::{Cancellation, EngineError, Stopped};
use crate::engine::Engine;
use crate::waiters::News;

/// What a cancelled task says of itself.
const REASON: &str = "it was cancelled";

impl Engine {
    /// Revokes a task that has not ended; final and durable when this returns. A task that a model process has at that
    /// moment may still be computed; its result is thrown away.
    pub async fn cancel(&self, id: TaskId) -> Result<Cancellation, EngineError> {
        let shared = &self.inner.shared;
        let cancelled = shared
            .backend
            .cancel(id, REASON, Timestamp::now())
            .await
            .inspect_err(|error| shared.store.failed(error))?;
        let (state, stopped) = match cancelled {
            Cancelled::Queued(model) => (self.revoked(id, &model, false), Stopped::Before),
            Cancelled::Leased(model) => (self.revoked(id, &model, true), Stopped::During),
            Cancelled::Ended(state) => (state, Stopped::TooLate),
            Cancelled::Expired => return Err(EngineError::ExpiredTask(id)),
            Cancelled::Unknown => return Err(EngineError::UnknownTask(id)),
        };
        Ok(Cancellation { id, state, stopped })
    }

    fn revoked(&self, id: TaskId, model: &ModelName, is_leased: bool) -> State {
        self.inner.shared.waiters.wake(id, &News::Look);
        // A model that is no longer served may still have tasks.
        if let Some(served) = self.inner.models.load().get(model) {
            served.metrics.revoked();
            if is_leased {
                served.revocations.add(id);
                served.wake.notify_one();
            }
        }
        State::Revoked
    }
}
