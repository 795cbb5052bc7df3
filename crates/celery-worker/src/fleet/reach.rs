//! A gateway's models, each with an executor that sends its items to the model's queue.

use std::fmt;
use std::sync::Arc;

use cresset_config::{CeleryCall, ModelConfig};
use cresset_engine::Reach;
use cresset_runner::{Executor, PoolEvent};
use tokio::sync::{mpsc, watch};

use crate::send::{CeleryPool, Courier};

/// The way to workers by the broker.
pub(super) struct ByBroker {
    courier: Arc<Courier>,
}

impl ByBroker {
    pub(super) fn new(courier: Arc<Courier>) -> Self {
        Self { courier }
    }
}

impl fmt::Debug for ByBroker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ByBroker")
    }
}

impl Reach for ByBroker {
    fn open(
        &self,
        model: Arc<ModelConfig>,
        room: watch::Receiver<usize>,
        events: mpsc::Sender<PoolEvent>,
    ) -> Arc<dyn Executor> {
        let call = CeleryCall::to_fleet(&model.name);
        CeleryPool::with_room(model, call, Arc::clone(&self.courier), room, events)
    }
}
