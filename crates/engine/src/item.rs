//! One input on its way through an instance, and who waits for its end.

use std::time::Duration;

use cresset_batch::{Class, Moment};
use cresset_config::{ModelConfig, ModelKind};
use cresset_task::{Attempt, Payload, TaskId, Timestamp};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::api::{EngineError, Prediction};

/// The answer to a caller on an open connection.
pub(crate) type Reply = oneshot::Sender<Result<Prediction, EngineError>>;

/// Who waits.
#[derive(Debug)]
pub(crate) enum Origin {
    /// A synchronous prediction. The permit counts against `limits.max_waiting` until the item is gone.
    Caller {
        reply: Reply,
        #[expect(dead_code, reason = "held for its drop")]
        permit: OwnedSemaphorePermit,
        /// When the call arrived.
        since: Moment,
        /// How long it may take, and when that is over.
        limit: Duration,
        deadline: Moment,
    },
    /// A leased task.
    Queue {
        id: TaskId,
        attempt: Attempt,
        created_at: Timestamp,
        leased_at: Timestamp,
        priority: i8,
        /// Its place in the queue, in nanoseconds of the engine's clock.
        line: i64,
    },
}

/// An input in memory.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) payload: Payload,
    pub(crate) origin: Origin,
    /// How often it was handed to an instance.
    pub(crate) deliveries: u32,
    /// How often it was in a batch whose instance died of itself: exited, crashed, hung, ran out of memory.
    pub(crate) blame: u32,
    /// How often it was in a batch whose instance was killed from outside.
    pub(crate) killed: u32,
    /// When it was last handed to an instance.
    pub(crate) sent: Option<Moment>,
}

impl Item {
    pub(crate) fn new(payload: Payload, origin: Origin) -> Self {
        Self {
            payload,
            origin,
            deliveries: 0,
            blame: 0,
            killed: 0,
            sent: None,
        }
    }

    /// False once the caller has hung up; a leased task is always wanted.
    pub(crate) fn is_wanted(&self) -> bool {
        match &self.origin {
            Origin::Caller { reply, .. } => !reply.is_closed(),
            Origin::Queue { .. } => true,
        }
    }

    pub(crate) fn class(&self) -> Class {
        match self.origin {
            Origin::Caller { .. } => Class::Interactive,
            Origin::Queue { .. } => Class::Bulk,
        }
    }
}

/// Checks an input against the model's declaration: the doors parse by it, but a queued task may be older than it.
pub(crate) fn check_fit(payload: &Payload, config: &ModelConfig) -> Result<(), String> {
    match (payload, config.kind()) {
        (Payload::Json(_), ModelKind::Object) => Ok(()),
        (Payload::Json(_), ModelKind::Tensor) => Err("the model takes tensors, the input is JSON".into()),
        (Payload::Tensors(_), ModelKind::Object) => Err("the model takes JSON, the input is tensors".into()),
        (Payload::Tensors(set), ModelKind::Tensor) => {
            if set.0.len() != config.inputs.len() {
                return Err(format!(
                    "the model takes {} inputs, got {}",
                    config.inputs.len(),
                    set.0.len()
                ));
            }
            for (spec, (name, tensor)) in config.inputs.iter().zip(&set.0) {
                if spec.name != *name || spec.dtype != tensor.dtype || !spec.admits(&tensor.shape) {
                    return Err(format!(
                        "input `{}` is {} {:?} by declaration, got `{name}` {} {:?}",
                        spec.name, spec.dtype, spec.shape, tensor.dtype, tensor.shape
                    ));
                }
            }
            Ok(())
        }
    }
}
