//! What one model folder says of itself: the validated form of `model.toml`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use cresset_task::{Callback, ModelName, TensorSpec};

use crate::celery::CeleryTasks;
use crate::files::Files;
use crate::retry::Retry;

/// One model, as its folder describes it, defaults filled in.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// The name callers use. Default: the folder's name.
    pub name: ModelName,
    /// The version shown in results. Default: "1".
    pub version: String,
    /// One line for `GET /v1/models`.
    pub description: Option<String>,
    /// The folder, absolute.
    pub dir: PathBuf,
    /// Where the model's code is.
    pub entry: Entry,
    /// Declared inputs of one item. Empty for an object model.
    pub inputs: Vec<TensorSpec>,
    /// Declared outputs of one item. May be empty.
    pub outputs: Vec<TensorSpec>,
    /// How batches form.
    pub batching: Batching,
    /// How many processes, and where.
    pub instances: Instances,
    /// Bounds.
    pub limits: ModelLimits,
    /// When a task that failed is tried again.
    pub retry: Retry,
    /// How its health is looked at.
    pub health: HealthCheck,
    /// Whether its results are kept for equal inputs.
    pub cache: ResultCache,
    /// Which Celery tasks it answers.
    pub celery: CeleryTasks,
    /// Whether it gives its results piece by piece.
    pub stream: Stream,
    /// Who may read what it writes about its tasks.
    pub logs: Logs,
    /// Whom to tell of its tasks, unless their submitters say.
    pub webhook: Option<Callback>,
    /// The interpreter.
    pub environment: Environment,
    /// A pickled module may be loaded: whoever wrote the weights may run code here.
    pub allow_pickle: bool,
    /// Give the model copies of its inputs instead of views into shared memory.
    pub copy_inputs: bool,
    /// Whether its inputs may be files (bodies of any type, and forms with files). For object models.
    pub files: Files,
    /// What other servers are told of it: see [`read_settings`](crate::read_settings).
    pub settings: String,
}

impl ModelConfig {
    /// Tensor models declare inputs; object models do not.
    #[must_use]
    pub fn kind(&self) -> ModelKind {
        if self.inputs.is_empty() {
            ModelKind::Object
        } else {
            ModelKind::Tensor
        }
    }
}

/// What a model is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ModelKind {
    /// Stacked tensors, as declared.
    Tensor,
    /// A list with one decoded JSON payload per task.
    Object,
}

impl ModelKind {
    /// The name in the API and the runner protocol.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tensor => "tensor",
            Self::Object => "object",
        }
    }
}

/// `model.py:Model`: a file in the folder and a class or function in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The file, relative to the folder. Default `model.py`.
    pub file: String,
    /// The class or function. `None`: the runner looks for the one `cresset.Model` subclass, else `predict`.
    pub attribute: Option<String>,
}

impl Default for Entry {
    fn default() -> Self {
        Self {
            file: "model.py".into(),
            attribute: None,
        }
    }
}

/// How batches form.
#[derive(Clone, Debug, PartialEq)]
pub struct Batching {
    /// Items in one batch at most. Default 32, 1 to 65,536.
    pub max_batch_size: usize,
    /// The longest a batch may be held back to fill up, when that pays. Default 2 ms; 0 never waits.
    pub max_delay: Duration,
    /// Payload bytes in one batch at most. Default 64 MiB.
    pub max_batch_bytes: usize,
    /// Cost of one batch at most; an item's cost is the number of its input elements, or its bytes as JSON. Default: not
    /// bounded.
    pub max_batch_cost: Option<u64>,
    /// How the cost of a batch is made of those of its items. Default: their sum.
    pub cost: Cost,
    /// The share of a batch that may be padding, where items of unequal size go together. Default 0.25, 0 to 0.9.
    pub max_padding: f64,
    /// JSON payloads of about the same size go together. Default: false.
    pub group_by_size: bool,
    /// What a priority is worth. Default: age.
    pub priorities: Priorities,
    /// How much age a point of priority is worth. Default 100 ms.
    pub priority_step: Duration,
}

/// How the cost of a batch is made of the costs of its items.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// Their sum.
    Sum,
    /// The largest, times their number.
    Padded,
}

/// What a priority is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priorities {
    /// A point counts as so much age: what waits long enough goes first, whatever its priority.
    Aged,
    /// A higher one always goes first.
    Strict,
}

impl Default for Batching {
    fn default() -> Self {
        Self {
            max_batch_size: 32,
            max_delay: Duration::from_millis(2),
            max_batch_bytes: 64 << 20,
            max_batch_cost: None,
            cost: Cost::Sum,
            max_padding: 0.25,
            group_by_size: false,
            priorities: Priorities::Aged,
            priority_step: Duration::from_millis(100),
        }
    }
}

/// How many processes, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instances {
    /// Processes for each device. Default 1, 1 to 256.
    pub count: usize,
    /// `cpu`, `cuda:0`, ... Default `["cpu"]`.
    pub devices: Vec<String>,
    /// Compute threads of each process. Default: cores divided by all CPU instances served, at least 1.
    pub threads: Option<usize>,
    /// Items that a process serves before it is replaced. Default not bounded.
    pub max_tasks: Option<u64>,
    /// Resident bytes at which a process is replaced. Default not bounded.
    pub max_memory: Option<u64>,
    /// All processes are stopped when there was no work for so long, and started when there is some. Default never.
    pub idle_unload: Option<Duration>,
}

impl Default for Instances {
    fn default() -> Self {
        Self {
            count: 1,
            devices: vec!["cpu".into()],
            threads: None,
            max_tasks: None,
            max_memory: None,
            idle_unload: None,
        }
    }
}

/// Bounds of one model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelLimits {
    /// One batch may run this long before its process is killed. Default 60 s.
    pub timeout: Duration,
    /// The model's code is told when a batch has run this long, and may end in order. Shorter than `timeout`. Default off.
    pub soft_timeout: Option<Duration>,
    /// Import, load and warm-up may take this long. Default 5 min.
    pub start_timeout: Duration,
    /// A synchronous prediction answers within this. Default 30 s.
    pub predict_timeout: Duration,
    /// What becomes of a prediction that has not ended within that. Default: a task, at that moment.
    pub late_predictions: LatePredictions,
    /// A batch may run on this long after a task of it was cancelled before its process is killed. `None`: as long as it
    /// likes. Default 30 s.
    pub cancel_grace: Option<Duration>,
    /// Queued tasks at most. Default 100,000.
    pub max_queue: u64,
    /// Bytes of queued inputs at most. Default 1 GiB.
    pub max_queue_bytes: u64,
    /// Synchronous predictions waiting at most. Default 1,024.
    pub max_waiting: usize,
    /// Bytes of their inputs at most. Default not bounded.
    pub max_waiting_bytes: Option<usize>,
    /// How often a task that kills or hangs its process is tried. Default 3.
    pub max_attempts: u32,
}

/// What becomes of a prediction that has not ended at its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LatePredictions {
    /// It is stored then, and goes on as a task.
    Task,
    /// It is a task, which was stored before anything of it was run.
    Stored,
    /// It is given up.
    Refused,
}

impl Default for ModelLimits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(60),
            soft_timeout: None,
            start_timeout: Duration::from_secs(300),
            predict_timeout: Duration::from_secs(30),
            late_predictions: LatePredictions::Task,
            cancel_grace: Some(Duration::from_secs(30)),
            max_queue: 100_000,
            max_queue_bytes: 1 << 30,
            max_waiting: 1024,
            max_waiting_bytes: None,
            max_attempts: 3,
        }
    }
}

/// How a model's health is looked at, beside its processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The file with an input that it must be able to answer at any time, as JSON. Default none.
    pub canary: Option<PathBuf>,
    /// How often it is tried. Default 30 s.
    pub interval: Duration,
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self {
            canary: None,
            interval: Duration::from_secs(30),
        }
    }
}

/// Whether a model's results are kept, in memory, for equal inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResultCache {
    /// They are. Default: no.
    pub enabled: bool,
    /// For how long. Default 1 h.
    pub ttl: Duration,
    /// Bytes of kept results at most, with what it takes to keep them. Default 64 MiB.
    pub max_bytes: u64,
    /// Kept results at most. Default 100,000.
    pub max_entries: usize,
}

impl Default for ResultCache {
    fn default() -> Self {
        Self {
            enabled: false,
            ttl: Duration::from_secs(3600),
            max_bytes: 64 << 20,
            max_entries: 100_000,
        }
    }
}

/// How a model gives its results piece by piece.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// It does. Default: no.
    pub enabled: bool,
    /// Bytes of the pieces of one item that are kept for those who read them, at most. Default 1 MiB.
    pub replay_bytes: usize,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            enabled: false,
            replay_bytes: 1 << 20,
        }
    }
}

/// Who may read what a model writes about its tasks, besides operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Logs {
    /// Whoever may read the task. Default: no.
    pub callers: bool,
}

/// The interpreter of a model.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Environment {
    /// Text and path of `requirements.txt`, when the folder has one (or names another file).
    pub requirements: Option<PathBuf>,
    /// A ready interpreter, used as it is.
    pub python: Option<PathBuf>,
    /// The Python version to build with, such as `3.11`. Default: the first suitable `python3` on the PATH.
    pub python_version: Option<String>,
    /// Environment variables for the process.
    pub variables: BTreeMap<String, String>,
}
