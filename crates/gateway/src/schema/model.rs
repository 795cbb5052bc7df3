//! A model: what it takes and gives, its processes, its queue.

use std::time::{Duration, UNIX_EPOCH};

use cresset_engine::{InstanceState, InstanceStatus, ModelView};
use cresset_task::{TensorSpec, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::ModelWorker;

/// Every model that is served.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Models {
    /// By name.
    pub(crate) models: Vec<Model>,
}

/// A model.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Model {
    /// Its name.
    #[schema(example = "digits")]
    pub(crate) name: String,
    /// Its version.
    pub(crate) version: String,
    /// What it does, in a line.
    #[schema(required)]
    pub(crate) description: Option<String>,
    /// `tensor` (declares its inputs) or `object` (takes any JSON).
    #[schema(example = "tensor")]
    pub(crate) kind: &'static str,
    /// `starting`, `ready`, `degraded`, `unloaded`, `loading`, `down`, `failed` or `stopped`.
    #[schema(example = "ready")]
    pub(crate) state: &'static str,
    /// Why an instance last went down, if one has.
    #[schema(required)]
    pub(crate) last_failure: Option<String>,
    /// What one input is made of; empty for an object model.
    pub(crate) inputs: Vec<Tensor>,
    /// What one result is made of; may be empty.
    pub(crate) outputs: Vec<Tensor>,
    /// How batches form.
    pub(crate) batching: Batching,
    /// Its bounds.
    pub(crate) limits: Limits,
    /// Its processes here.
    pub(crate) instances: Vec<Instance>,
    /// At a gateway: the servers that run it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) workers: Option<Vec<ModelWorker>>,
    /// Its durable queue, without tasks being run.
    pub(crate) queue: Queue,
    /// Items in instances or about to be.
    pub(crate) running: usize,
    /// Synchronous predictions waiting or running.
    pub(crate) waiting: usize,
    /// Items finished a second, over the last seconds.
    #[schema(required)]
    pub(crate) items_per_second: Option<f64>,
}

/// A tensor that a model declares, of one item.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Tensor {
    /// Its name.
    pub(crate) name: String,
    /// Its element type.
    #[schema(example = "float32")]
    pub(crate) dtype: &'static str,
    /// Its size along each dimension; -1 is free.
    pub(crate) shape: Vec<i64>,
}

/// How batches form.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Batching {
    /// Items in a batch at most.
    pub(crate) max_batch_size: usize,
    /// Milliseconds that a batch may be held back to fill up.
    pub(crate) max_delay_ms: f64,
    /// Bytes of inputs in a batch at most.
    pub(crate) max_batch_bytes: usize,
}

/// The bounds of a model. Times in milliseconds.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Limits {
    /// One batch may run this long.
    pub(crate) timeout_ms: f64,
    /// A prediction is answered within this.
    pub(crate) predict_timeout_ms: f64,
    /// Queued tasks at most.
    pub(crate) max_queue: u64,
    /// Bytes of queued inputs at most.
    pub(crate) max_queue_bytes: u64,
    /// Predictions waiting at most.
    pub(crate) max_waiting: usize,
    /// Bytes of their inputs at most, if that is bounded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_waiting_bytes: Option<usize>,
    /// How often a task that kills its process is tried.
    pub(crate) max_attempts: u32,
}

/// A process of a model.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Instance {
    /// Its place.
    pub(crate) id: u32,
    /// Its device.
    #[schema(example = "cpu")]
    pub(crate) device: String,
    /// Its process id, while there is a process.
    #[schema(required)]
    pub(crate) pid: Option<u32>,
    /// `starting`, `ready`, `waiting` (to be started again), `unloaded` (until there is work) or `stopped`.
    #[schema(example = "ready")]
    pub(crate) state: &'static str,
    /// Why it waits to be started again.
    #[schema(required)]
    pub(crate) reason: Option<String>,
    /// Since when it is in this state.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) since: Timestamp,
    /// Starts after a death.
    pub(crate) restarts: u64,
    /// Times it was replaced by a fresh process.
    pub(crate) recycled: u64,
    /// The fresh process that is to take over, while one is.
    #[schema(required)]
    pub(crate) replacement: Option<Replacement>,
    /// What it runs on.
    #[schema(required, example = "python 3.11.7, torch 2.15.0")]
    pub(crate) runtime: Option<String>,
}

/// The replacing of an instance that still serves.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Replacement {
    /// Why it is replaced.
    #[schema(example = "has served 100000 items")]
    pub(crate) reason: String,
    /// The fresh process, while there is one.
    #[schema(required)]
    pub(crate) pid: Option<u32>,
    /// Fresh processes that did not come up.
    pub(crate) failures: u32,
    /// Why the newest of these did not.
    #[schema(required)]
    pub(crate) last_failure: Option<String>,
}

/// A durable queue.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Queue {
    /// Tasks.
    pub(crate) tasks: u64,
    /// Bytes of their inputs.
    pub(crate) bytes: u64,
}

impl Model {
    /// As callers may see it: nothing of the server's folders or environment.
    pub(crate) fn of(view: &ModelView) -> Self {
        let config = &view.config;
        Self {
            name: config.name.to_string(),
            version: config.version.clone(),
            description: config.description.clone(),
            kind: config.kind().name(),
            state: view.pool.state.name(),
            last_failure: view.pool.last_failure.as_ref().map(ToString::to_string),
            inputs: config.inputs.iter().map(Tensor::of).collect(),
            outputs: config.outputs.iter().map(Tensor::of).collect(),
            batching: Batching {
                max_batch_size: config.batching.max_batch_size,
                max_delay_ms: ms(config.batching.max_delay),
                max_batch_bytes: config.batching.max_batch_bytes,
            },
            limits: Limits {
                timeout_ms: ms(config.limits.timeout),
                predict_timeout_ms: ms(config.limits.predict_timeout),
                max_queue: config.limits.max_queue,
                max_queue_bytes: config.limits.max_queue_bytes,
                max_waiting: config.limits.max_waiting,
                max_waiting_bytes: config.limits.max_waiting_bytes,
                max_attempts: config.limits.max_attempts,
            },
            instances: view.pool.instances.iter().map(Instance::of).collect(),
            workers: view
                .runners
                .as_ref()
                .map(|all| all.iter().map(ModelWorker::of).collect()),
            queue: Queue {
                tasks: view.depth.tasks,
                bytes: view.depth.bytes,
            },
            running: view.running,
            waiting: view.waiting,
            items_per_second: view.rate,
        }
    }
}

impl Tensor {
    fn of(spec: &TensorSpec) -> Self {
        Self {
            name: spec.name.to_string(),
            dtype: spec.dtype.name(),
            shape: spec.shape.clone(),
        }
    }
}

impl Instance {
    fn of(status: &InstanceStatus) -> Self {
        let (state, reason) = match &status.state {
            InstanceState::Starting => ("starting", None),
            InstanceState::Ready => ("ready", None),
            InstanceState::Waiting { reason, .. } => ("waiting", Some(reason.to_string())),
            InstanceState::Unloaded => ("unloaded", None),
            InstanceState::Stopped => ("stopped", None),
        };
        let since = status.since.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            id: status.id.0,
            device: status.device.clone(),
            pid: status.pid,
            state,
            reason,
            since: Timestamp::from_micros(0).plus(since),
            restarts: status.restarts,
            recycled: status.recycled,
            replacement: status.replacement.as_ref().map(Replacement::of),
            runtime: status.runtime.clone(),
        }
    }
}

impl Replacement {
    fn of(replacement: &cresset_engine::Replacement) -> Self {
        Self {
            reason: replacement.reason.to_string(),
            pid: replacement.pid,
            failures: replacement.failures,
            last_failure: replacement.last_failure.as_ref().map(ToString::to_string),
        }
    }
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
