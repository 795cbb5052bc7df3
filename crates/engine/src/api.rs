//! What the doors may ask of the engine, and what they get back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cresset_config::ModelConfig;
use cresset_queue::{Depth, IdempotencyKey, QueueError};
use cresset_runner::{PoolState, PoolStatus};
use cresset_task::{
    BulkId, CacheUse, Callback, Code, EventId, Failure, ModelName, Payload, RetryTerms, State, TaskId,
    TaskRecord, Tenant, Timestamp,
};

use crate::admission::{Bound, Client};
use crate::live::Progress;

/// A task to be accepted.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The model's name.
    pub model: ModelName,
    /// The input, already checked against the model's declaration.
    pub input: Payload,
    /// -100 (last) to 100 (first); 0 unless told.
    pub priority: i8,
    /// The caller's JSON object, given back untouched.
    pub metadata: Option<Bytes>,
    /// It does not start before this.
    pub due_at: Option<Timestamp>,
    /// It does not start after this, but is revoked.
    pub expires_at: Option<Timestamp>,
    /// It is revoked if it has not ended by this.
    pub deadline_at: Option<Timestamp>,
    /// What a result cache may do with it.
    pub cache: CacheUse,
    /// How it is tried again, as far as that is not left to its model.
    pub retry: Option<Box<RetryTerms>>,
    /// Whose it will be, where callers are told apart by keys.
    pub tenant: Option<Tenant>,
    /// Whom to tell of it; `None` is whom the model says.
    pub callback: Option<Callback>,
    /// The caller's name for this submit: sent again under it, the same submit gives the same task.
    pub idempotency_key: Option<IdempotencyKey>,
    /// Whose request it is, if clients are told apart.
    pub client: Option<Client>,
}

/// A task that is accepted: durable, unless `durable` says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its id.
    pub id: TaskId,
    /// Its model.
    pub model: ModelName,
    /// Where it is in its life: `PENDING` unless this is a replay.
    pub state: State,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// False only in the named weaker durability mode: the task survives our crash, but not power loss.
    pub durable: bool,
    /// This submit was accepted before, under the same idempotency key, and made this task then.
    pub replayed: bool,
}

/// A dead letter that is replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    /// The letter.
    pub letter: TaskId,
    /// The task that was made of it.
    pub id: TaskId,
    /// Its model.
    pub model: ModelName,
    /// Where that task is in its life; `None` once it has been purged.
    pub state: Option<State>,
    /// When it was accepted; likewise.
    pub created_at: Option<Timestamp>,
    /// As in [`Accepted`].
    pub durable: bool,
    /// The letter had been replayed before, and this is the task of then.
    pub replayed: bool,
}

/// What a cancellation came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancellation {
    /// The task.
    pub id: TaskId,
    /// Where it is in its life now: `REVOKED`, or how it had ended before.
    pub state: State,
    /// When it was reached.
    pub stopped: Stopped,
    /// How long its process has to let go of it before it is killed. `None` when it was not running, or is left to end.
    pub grace: Option<Duration>,
}

/// When a cancellation reached its task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// While it was queued: nothing of it runs.
    Before,
    /// While it was leased, so that a model process may have it: that is told, and a result is thrown away.
    During,
    /// After its end: nothing changed.
    TooLate,
}

impl Stopped {
    /// The name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Before => "before",
            Self::During => "during",
            Self::TooLate => "too_late",
        }
    }
}

/// The answer to a synchronous prediction.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The result.
    pub output: Payload,
    /// The version that made it.
    pub version: String,
    /// From arrival to being sent to an instance.
    pub queued: Duration,
    /// In the instance.
    pub compute: Duration,
    /// What the model's result cache had to do with it; `None` when it has none, or was not asked.
    pub cache: Option<CacheStatus>,
}

/// What a result cache had to do with a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheStatus {
    /// It was kept from before.
    Hit,
    /// It was computed, as none was kept.
    Miss,
    /// It was computed for another request, at the same time.
    Coalesced,
    /// It was computed, as was asked for.
    Bypass,
}

impl CacheStatus {
    /// The name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Coalesced => "coalesced",
            Self::Bypass => "bypass",
        }
    }
}

/// A task, as a caller may see it.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskView {
    /// What the store knows.
    pub record: TaskRecord,
    /// While queued: how many tasks go before it (0 = next), counted up to `cresset_queue::POSITION_MAX`.
    pub queue_position: Option<u64>,
    /// While it runs: how far it has come, if its model says so.
    pub progress: Option<Progress>,
}

/// A model, as a caller may see it.
#[derive(Clone, Debug)]
pub struct ModelView {
    /// Its declaration.
    pub config: Arc<ModelConfig>,
    /// Its processes.
    pub pool: PoolStatus,
    /// Its durable queue, leased tasks not counted.
    pub depth: Depth,
    /// Items in instances or about to be.
    pub running: usize,
    /// Synchronous predictions waiting or running.
    pub waiting: usize,
    /// Items finished a second, measured over the last seconds; `None` before the first.
    pub rate: Option<f64>,
}

/// The health of the whole server.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// Every model ready, the store writable, and not stopping.
    pub ready: bool,
    /// The whole in a word.
    pub state: ServerState,
    /// Told to stop.
    pub stopping: bool,
    /// Why the store cannot be written, if so.
    pub store: Option<String>,
    /// Each model.
    pub models: Vec<ModelHealth>,
}

/// The health of one model.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelHealth {
    /// Its name.
    pub name: ModelName,
    /// Its state; `Degraded` also when it makes no progress, or some of its processes are down.
    pub state: PoolState,
    /// It serves, and as it should but for processes that are being started again.
    pub ready: bool,
    /// What is wrong, in words.
    pub reason: Option<String>,
}

/// The whole server in a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerState {
    /// No model has been up yet, and none has failed.
    Starting,
    /// All is well.
    Ready,
    /// Something is served, but not everything, or not as it should be.
    Degraded,
    /// Nothing is served.
    Down,
    /// Told to stop.
    Stopping,
}

impl ServerState {
    /// The name in the API.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Down => "down",
            Self::Stopping => "stopping",
        }
    }
}

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
    #[error("the prediction was not done within {limit:?}")]
    PredictTimeout {
        /// The limit.
        limit: Duration,
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
