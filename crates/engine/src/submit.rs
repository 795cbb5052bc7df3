//! Accepting a task: what the engine checks before the store has it, and what it says to one it knows.
//!
//! Whether a submit is new is the store's decision, made in the transaction that would insert it. Nothing here remembers a
//! key: an answer from memory could outlive a purge, or miss what the process before this one accepted.

use cresset_queue::{Idempotency, NewTask, QueueError, QueueErrorKind, Submitted, Turn};
use cresset_task::{Attempt, ModelName, State, TaskId, Timestamp};

use crate::admission::Client;
use crate::api::{Accepted, EngineError, Submission};
use crate::engine::{Engine, invalid};
use crate::idempotency;
use crate::item::check_fit;
use crate::measure;
use crate::served::Served;

impl Engine {
    /// Accepts a task: durable when this returns. One that was accepted before, under the same idempotency key, is answered as
    /// it is now; it takes no room in the queue. Dropping the future does not take it back: what has begun is accepted, and run.
    pub async fn submit(&self, submission: Submission) -> Result<Accepted, EngineError> {
        let served = self.open(submission.model.as_str())?;
        check_fit(&submission.input, &served.config).map_err(|why| invalid(&why))?;
        let (submission, idempotency) = self.named(submission).await?;
        let engine = self.clone();
        let since = Timestamp::now();
        let accept = async move { engine.accept(&served, submission, idempotency, since).await };
        self.see_through(accept).await
    }

    /// Accepts what came at this instant.
    pub(crate) async fn accept(
        &self,
        served: &Served,
        mut submission: Submission,
        idempotency: Option<Idempotency>,
        since: Timestamp,
    ) -> Result<Accepted, EngineError> {
        let shared = &self.inner.shared;
        let model = submission.model.clone();
        let (bytes, client) = (submission.input.weight() as u64, submission.client.take());
        submission.callback = submission.callback.or_else(|| served.config.webhook.clone());
        let room = self
            .admit_callback(submission.callback.as_ref())
            .and_then(|()| self.admit(served, bytes, client.as_ref()));
        let room = match room {
            Ok(room) => room,
            Err(refusal) => return self.recalled(model, idempotency, refusal).await,
        };
        let task = task_of(served, submission, client.as_ref(), idempotency, since);
        let (id, created_at) = (task.id, task.created_at);
        let expires_at = task.expires_at;
        let submitted = shared
            .backend
            .submit(task)
            .await
            .inspect_err(|error| shared.store.failed(error))?;
        drop(room); // the store has counted it
        shared.store.works();
        if submitted != Submitted::New {
            return self.known(model, submitted);
        }
        if let Some(at) = expires_at {
            shared.expiries.earlier(at);
        }
        served.metrics.accepted();
        shared.tell(id, &model, State::Pending, Attempt(0));
        served.wake.notify_one();
        Ok(Accepted {
            id,
            model,
            state: State::Pending,
            created_at,
            durable: shared.backend.capabilities().durable,
            replayed: false,
        })
    }

    /// The submission, and what it is recognised by if its caller named it.
    async fn named(
        &self,
        mut submission: Submission,
    ) -> Result<(Submission, Option<Idempotency>), EngineError> {
        let bytes = submission.input.weight();
        let Some(key) = submission.idempotency_key.take() else {
            return Ok((submission, None));
        };
        // Each tenant has keys of its own.
        let key = submission
            .tenant
            .as_ref()
            .map_or(key.clone(), |tenant| key.within(tenant));
        let digest = move || {
            let named = idempotency::named(key, &submission);
            (submission, Some(named))
        };
        self.digest(bytes, digest).await
    }

    /// There is no room for a new task; one that was accepted before takes none.
    async fn recalled(
        &self,
        model: ModelName,
        idempotency: Option<Idempotency>,
        refusal: EngineError,
    ) -> Result<Accepted, EngineError> {
        let Some(named) = idempotency else {
            return Err(refusal);
        };
        match self.inner.shared.backend.recall(&model, &named).await? {
            Some(known) => self.known(model, known),
            None => Err(refusal),
        }
    }

    /// The answer to a submit whose key was known.
    pub(crate) fn known(&self, model: ModelName, submitted: Submitted) -> Result<Accepted, EngineError> {
        match submitted {
            Submitted::Replayed {
                id,
                state,
                created_at,
            } => Ok(Accepted {
                id,
                model,
                state,
                created_at,
                durable: self.inner.shared.backend.capabilities().durable,
                replayed: true,
            }),
            Submitted::KeyReused => Err(EngineError::KeyReused(model)),
            Submitted::New => Err(EngineError::Store(QueueError::new(
                QueueErrorKind::Internal,
                "recall",
                "a known key was told as new",
            ))),
        }
    }
}

/// The task that a submission of this client's becomes.
pub(crate) fn task_of(
    served: &Served,
    submission: Submission,
    client: Option<&Client>,
    idempotency: Option<Idempotency>,
    created_at: Timestamp,
) -> NewTask {
    NewTask {
        id: TaskId::fresh(),
        turn: Turn::of(
            created_at,
            submission.priority,
            measure::step(&served.config.batching),
        ),
        model: submission.model,
        payload: submission.input,
        priority: submission.priority,
        metadata: submission.metadata,
        created_at,
        due_at: submission.due_at,
        expires_at: earlier(submission.expires_at, submission.deadline_at),
        deadline_at: submission.deadline_at,
        started_at: None,
        idempotency,
        client: client.map(|client| client.key().clone()),
        cache: submission.cache,
        retry: submission.retry,
        trace: submission.trace,
        tenant: submission.tenant,
        callback: submission.callback,
    }
}

/// A task is not begun after its deadline either.
fn earlier(expires_at: Option<Timestamp>, deadline_at: Option<Timestamp>) -> Option<Timestamp> {
    match (expires_at, deadline_at) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
