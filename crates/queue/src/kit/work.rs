//! What a writer is asked to do, in stored form, and where the answers wait for the commit.
//!
//! A writer carries out many operations in one transaction. An operation keeps its input until its group is committed,
//! because a group may have to be applied twice; its answer waits in a slot and is sent after the commit, never before.

use bytes::Bytes;
use cresset_task::{Attempt, CacheUse, Callback, Outcome, Payload, Redelivery, TaskId, Tenant, Timestamp};
use tokio::sync::oneshot;

use super::codec::{evidence_text, state_after};
use super::{Content, Fault, Owner, Stored, retry_text, state_number};
use crate::{Completion, Idempotency, NewTask, QueueError, QueueErrorKind, Turn};

/// A task with its input in stored form `I`: encoding is the caller's work, not the writer's.
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields are those of `NewTask`")]
pub struct Submission<I> {
    pub id: TaskId,
    pub owner: Owner,
    pub priority: i8,
    pub turn: Turn,
    pub weight: i64,
    pub created_at: Timestamp,
    pub due_at: Option<Timestamp>,
    pub expires_at: Option<Timestamp>,
    pub deadline_at: Option<Timestamp>,
    pub started_at: Option<Timestamp>,
    pub metadata: Option<Bytes>,
    pub input: I,
    pub idempotency: Option<Idempotency>,
    pub cache: CacheUse,
    /// In stored form.
    pub retry: Option<String>,
    /// In stored form.
    pub trace: Option<String>,
    pub tenant: Option<Tenant>,
    pub callback: Option<Callback>,
}

impl<I> Submission<I> {
    /// A task whose payload, of this weight, has gone where its row will have it.
    pub fn new(task: NewTask, weight: usize, input: I) -> Result<Self, Fault> {
        let retry = retry_text(task.retry.as_deref())?;
        Ok(Self {
            id: task.id,
            owner: Owner {
                model: task.model,
                client: task.client,
            },
            priority: task.priority,
            turn: task.turn,
            weight: i64::try_from(weight).unwrap_or(i64::MAX),
            created_at: task.created_at,
            due_at: task.due_at.filter(|_| task.started_at.is_none()),
            expires_at: task.expires_at,
            deadline_at: task.deadline_at,
            started_at: task.started_at,
            metadata: task.metadata,
            input,
            idempotency: task.idempotency,
            cache: task.cache,
            retry,
            trace: task.trace.map(|trace| trace.to_text()),
            tenant: task.tenant,
            callback: task.callback,
        })
    }
}

impl Submission<Stored> {
    /// A task whose payload goes into a row whatever it weighs.
    pub fn in_row(mut task: NewTask) -> Result<Box<Self>, Fault> {
        let payload = std::mem::replace(&mut task.payload, Payload::Json(Bytes::new()));
        let weight = payload.weight();
        let input = Content::Payload(payload).encode()?;
        Ok(Box::new(Self::new(task, weight, input)?))
    }
}

/// The end of a task, its outcome in stored form `O`.
#[derive(Debug)]
#[expect(missing_docs, reason = "the fields are those of `Completion`")]
pub struct Ending<O> {
    pub id: TaskId,
    pub attempt: Attempt,
    pub redeliveries: u32,
    pub history: Vec<Redelivery>,
    pub state: i64,
    pub version: Option<String>,
    pub finished_at: Timestamp,
    pub outcome: O,
    /// In stored form.
    pub evidence: Option<String>,
    pub cached: bool,
}

impl<O> Ending<O> {
    /// What a completion tells of: its outcome, and its end once that is where the row will have it.
    pub fn of(completion: Completion) -> Result<(Outcome, impl FnOnce(O) -> Self), Fault> {
        let Completion {
            id,
            attempt,
            redeliveries,
            history,
            outcome,
            version,
            finished_at,
            evidence,
            cached,
        } = completion;
        let evidence = evidence.map(|evidence| evidence_text(*evidence)).transpose()?;
        let state = state_number(state_after(&outcome));
        let end = move |outcome| Self {
            id,
            attempt,
            redeliveries,
            history,
            state,
            version,
            finished_at,
            outcome,
            evidence,
            cached,
        };
        Ok((outcome, end))
    }
}

impl Ending<Stored> {
    /// What a completion tells of, its outcome in a row whatever it weighs.
    pub fn in_row(completion: Completion) -> Result<Self, Fault> {
        let (outcome, end) = Self::of(completion)?;
        Ok(end(Content::Outcome(outcome).encode()?))
    }
}

/// What a store fails with inside.
pub trait IntoQueueError {
    /// The port's error: this layer's words as context, what lies below as source.
    fn into_queue(self, operation: &'static str) -> QueueError;
}

/// Where an answer waits for the commit. `R` is what the caller gets of a `T`.
#[derive(Debug)]
pub struct Slot<T, E, R = T> {
    answer: Option<Result<T, E>>,
    // None once the caller has been told that it failed.
    reply: Option<oneshot::Sender<Result<R, QueueError>>>,
}

/// Where a caller waits for its answer.
pub type Reply<R> = oneshot::Receiver<Result<R, QueueError>>;

impl<T, E: IntoQueueError, R> Slot<T, E, R> {
    /// An empty one, and where its answer will come out.
    #[must_use]
    pub fn new() -> (Self, Reply<R>) {
        let (reply, receiver) = oneshot::channel();
        let slot = Self {
            answer: None,
            reply: Some(reply),
        };
        (slot, receiver)
    }

    /// The same, with what it has; this one is empty then, and nobody waits for it.
    pub(super) fn take(&mut self) -> Self {
        Self {
            answer: self.answer.take(),
            reply: self.reply.take(),
        }
    }

    /// The answer, if the commit succeeds; replaces that of an earlier try.
    pub fn set(&mut self, answer: Result<T, E>) {
        self.answer = Some(answer);
    }

    /// True when there is an answer, and it is like this.
    pub fn answered(&self, is: impl FnOnce(&T) -> bool) -> bool {
        matches!(&self.answer, Some(Ok(answer)) if is(answer))
    }

    /// The commit is done: the answer goes out.
    pub fn settle(self, operation: &'static str, given: impl FnOnce(T) -> R) {
        let answer = match self.answer {
            Some(Ok(answer)) => Ok(given(answer)),
            Some(Err(error)) => Err(error.into_queue(operation)),
            None => Err(QueueError::new(
                QueueErrorKind::Internal,
                operation,
                "it was committed without an answer",
            )),
        };
        // The caller may have gone, or been told that it failed; what must not be lost then gives itself back.
        if let Some(reply) = self.reply {
            let _gone = reply.send(answer);
        }
    }

    /// The caller is told that it failed. The answer stays: it may turn out that it was committed after all.
    pub fn refuse(&mut self, operation: &'static str, error: E) {
        if let Some(reply) = self.reply.take() {
            let _gone = reply.send(Err(error.into_queue(operation)));
        }
    }

    /// It failed.
    pub fn fail(mut self, operation: &'static str, error: E) {
        self.refuse(operation, error);
    }
}
