//! What the engine refuses, and why.

use std::time::Duration;

use cresset_queue::QueueError;
use cresset_task::{BulkId, Code, EventId, Failure, ModelName, TaskId};

use crate::admission::Bound;

/// What the engine refuses, and why. [`EngineError::code`] is what a caller sees.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// No such model.
    #[error("no model is called `{name}`{}", nearest.as_ref().map(|n| format!("; did you mean `{n}`?")).unwrap_or_default())]
    UnknownModel {
        /// What was asked for.
        name: String,
        /// The served name most like it.
        nearest: Option<String>,
    },
    /// No such task.
    #[error("no task has the id {0}")]
    UnknownTask(TaskId),
    /// No such dead letter.
    #[error("no dead letter has the id {0}")]
    UnknownLetter(TaskId),
    /// The task was there; it has been purged.
    #[error("the task {0} and its result have expired")]
    ExpiredTask(TaskId),
    /// The durable queue has reached a bound.
    #[error("the queue of `{model}` is full: {bound}")]
    QueueFull {
        /// The model.
        model: ModelName,
        /// The bound.
        bound: Bound,
        /// When trying again makes sense, from the measured service rate.
        retry_after: Duration,
    },
    /// Too many synchronous predictions wait for the model.
    #[error("too much waits for `{model}`: {bound}")]
    Overloaded {
        /// The model.
        model: ModelName,
        /// The bound.
        bound: Bound,
        /// When trying again makes sense, from the measured service rate.
        retry_after: Duration,
    },
    /// The client has as much as one client may have.
    #[error("one client may have no more: {bound}")]
    ClientLimit {
        /// The bound.
        bound: Bound,
        /// When trying again makes sense, from the measured service rate.
        retry_after: Duration,
    },
    /// A bound over all models has been reached.
    #[error("the server is full: {bound}")]
    ServerFull {
        /// The bound.
        bound: Bound,
        /// When trying again makes sense, from the measured service rate.
        retry_after: Duration,
    },
    /// The input alone passes a bound: it will never fit.
    #[error("the input weighs {bytes} bytes; `{setting}` allows {limit}")]
    TooLarge {
        /// The bound.
        setting: &'static str,
        /// Its value.
        limit: u64,
        /// The input's weight.
        bytes: u64,
    },
    /// No instance can serve.
    #[error("`{model}` cannot serve now: {reason}")]
    ModelUnavailable {
        /// The model.
        model: ModelName,
        /// The newest failure, in words.
        reason: String,
        /// When trying again makes sense.
        retry_after: Duration,
    },
    /// The prediction was not done in time; it will not be answered any more.
    #[error("the prediction was not done within {limit:?}{}", refusal.as_ref().map(|why| format!(", and could not become a task: {why}")).unwrap_or_default())]
    PredictTimeout {
        /// The limit.
        limit: Duration,
        /// Why it is no task now, where it would have become one.
        refusal: Option<String>,
    },
    /// The input is not what the model declares.
    #[error("{0}")]
    InvalidInput(String),
    /// Nobody can be told at this address.
    #[error("`callback_url` {0}")]
    BadCallback(String),
    /// Too much is to be told already.
    #[error("{limit} webhooks {what} already")]
    OutboxFull {
        /// Where, in words.
        what: String,
        /// The bound.
        limit: u64,
        /// When trying again makes sense.
        retry_after: Duration,
    },
    /// No such webhook.
    #[error("no webhook has the id {0}")]
    UnknownWebhook(EventId),
    /// The prediction failed.
    #[error("{}: {}", .0.type_, .0.message)]
    Failed(Failure),
    /// The server is stopping.
    #[error("the server is stopping")]
    ShuttingDown,
    /// The idempotency key belongs to another submit to this model.
    #[error("this `Idempotency-Key` was used before, for another input, priority or metadata to `{0}`")]
    KeyReused(ModelName),
    /// No such bulk.
    #[error("no batch has the id {0}, or it has expired with its tasks")]
    UnknownBulk(BulkId),
    /// It was cancelled and takes no more.
    #[error("the batch {0} was cancelled and takes no more lines")]
    BulkCancelled(BulkId),
    /// It is whole, and has another number of lines.
    #[error(
        "the batch {id} of this `Idempotency-Key` has {total} lines, and what was sent now has another number of them"
    )]
    BulkDiffers {
        /// The bulk.
        id: BulkId,
        /// Its lines.
        total: u64,
    },
    /// Lines are missing before those that were added.
    #[error("the batch {id} has {accepted} lines; what was added comes behind a gap")]
    BulkGap {
        /// The bulk.
        id: BulkId,
        /// Its lines.
        accepted: u64,
    },
    /// The store keeps none.
    #[error("the task store of this server (`{0}`) keeps no batches; submit the tasks one by one")]
    NoBulks(&'static str),
    /// The store refused.
    #[error("the task store cannot be used")]
    Store(#[from] QueueError),
}

impl EngineError {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> Code {
        match self {
            Self::UnknownModel { .. } => Code::UnknownModel,
            Self::UnknownTask(_) => Code::UnknownTask,
            Self::UnknownLetter(_) => Code::UnknownLetter,
            Self::ExpiredTask(_) => Code::ExpiredTask,
            Self::QueueFull { .. } => Code::QueueFull,
            Self::Overloaded { .. } => Code::Overloaded,
            Self::ClientLimit { .. } => Code::ClientLimit,
            Self::ServerFull { .. } => Code::ServerFull,
            Self::TooLarge { .. } => Code::BodyTooLarge,
            Self::ModelUnavailable { .. } => Code::ModelUnavailable,
            Self::PredictTimeout { .. } => Code::PredictTimeout,
            Self::InvalidInput(_) | Self::BadCallback(_) => Code::InvalidInput,
            Self::OutboxFull { .. } => Code::OutboxFull,
            Self::UnknownWebhook(_) => Code::UnknownWebhook,
            Self::Failed(failure) => failure.code,
            Self::ShuttingDown => Code::ShuttingDown,
            Self::UnknownBulk(_) => Code::UnknownBatch,
            Self::BulkCancelled(_) => Code::BatchCancelled,
            Self::BulkDiffers { .. } => Code::IdempotencyKeyReused,
            Self::BulkGap { .. } => Code::Internal,
            Self::NoBulks(_) => Code::NotSupported,
            Self::KeyReused(_) => Code::IdempotencyKeyReused,
            Self::Store(error) if error.kind == cresset_queue::QueueErrorKind::Internal => Code::Internal,
            Self::Store(_) => Code::StoreUnavailable,
        }
    }

    /// The bound that was reached, if that is what is wrong.
    #[must_use]
    pub fn bound(&self) -> Option<Bound> {
        match self {
            Self::QueueFull { bound, .. }
            | Self::Overloaded { bound, .. }
            | Self::ClientLimit { bound, .. }
            | Self::ServerFull { bound, .. } => Some(*bound),
            _ => None,
        }
    }

    /// When trying again makes sense, for errors that pass.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::QueueFull { retry_after, .. }
            | Self::Overloaded { retry_after, .. }
            | Self::ClientLimit { retry_after, .. }
            | Self::ServerFull { retry_after, .. }
            | Self::OutboxFull { retry_after, .. }
            | Self::ModelUnavailable { retry_after, .. } => Some(*retry_after),
            Self::ShuttingDown | Self::Store(_) => Some(RETRY_SOON),
            _ => None,
        }
    }
}

/// What callers are told when nothing measured says better.
pub(crate) const RETRY_SOON: Duration = Duration::from_secs(2);
