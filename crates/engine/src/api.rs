//! What the doors may ask of the engine, and what they get back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cresset_config::ModelConfig;
use cresset_queue::{Depth, IdempotencyKey, Offer};
use cresset_runner::{PoolState, PoolStatus};
use cresset_task::{
    CacheUse, Callback, ModelName, Payload, RetryTerms, State, TaskId, TaskRecord, Tenant, Timestamp, Trace,
};

use crate::admission::Client;
use crate::live::Progress;

mod error;

pub use error::EngineError;
pub(crate) use error::RETRY_SOON;

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
    /// The trace that its submitter follows.
    pub trace: Option<Box<Trace>>,
    /// Whose it will be, where callers are told apart by keys.
    pub tenant: Option<Tenant>,
    /// Whom to tell of it; `None` is whom the model says.
    pub callback: Option<Callback>,
    /// The caller's name for this submit: sent again under it, the same submit gives the same task.
    pub idempotency_key: Option<IdempotencyKey>,
    /// Whose request it is, if clients are told apart.
    pub client: Option<Client>,
}

/// What is said of a prediction beside its input.
#[derive(Clone, Debug, Default)]
pub struct PredictTerms {
    /// How long it may take; never longer than the model's `predict_timeout`.
    pub limit: Option<Duration>,
    /// Whose request it is, if clients are told apart.
    pub client: Option<Client>,
    /// What the model's result cache may do, if it has one.
    pub cache: CacheUse,
    /// The trace that its caller follows.
    pub trace: Option<Box<Trace>>,
    /// Whose it is, where callers are told apart by keys.
    pub tenant: Option<Tenant>,
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

/// What comes of a prediction whose caller takes a task.
#[derive(Clone, Debug, PartialEq)]
pub enum Predicted {
    /// Its result, in time.
    Ended(Prediction),
    /// The task that it goes on as.
    Task(Accepted),
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

impl TaskView {
    /// Of one that has ended.
    pub(crate) fn of_end(record: TaskRecord) -> Self {
        Self {
            record,
            queue_position: None,
            progress: None,
        }
    }
}

/// A model, as a caller may see it.
#[derive(Clone, Debug)]
pub struct ModelView {
    /// Its declaration.
    pub config: Arc<ModelConfig>,
    /// Its processes; none where other servers run it.
    pub pool: PoolStatus,
    /// The servers that run it, where this one does not.
    pub runners: Option<Vec<Runner>>,
    /// Its durable queue, leased tasks not counted.
    pub depth: Depth,
    /// Items in instances or about to be.
    pub running: usize,
    /// Synchronous predictions waiting or running.
    pub waiting: usize,
    /// Items finished a second, measured over the last seconds; `None` before the first.
    pub rate: Option<f64>,
}

/// A server that runs a model, as one knows it that does not.
#[derive(Clone, Debug, PartialEq)]
pub struct Runner {
    /// Its number on the store.
    pub server: i64,
    /// Its machine.
    pub host: String,
    /// Its process there.
    pub pid: u32,
    /// What it says of the model.
    pub offer: Offer,
}

/// The health of the whole server.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// Every model ready, unless they are at other servers; the store writable, and not stopping.
    pub ready: bool,
    /// The whole in a word.
    pub state: ServerState,
    /// Told to stop.
    pub stopping: bool,
    /// Why the store cannot be written, if so.
    pub store: Option<String>,
    /// What is wrong with the store's inbox, if anything is. That tasks wait there for long is no reason not to be ready: nothing
    /// else has to.
    pub inbox: Option<String>,
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
