//! A gateway's models, each with an executor that sends its items to the model's queue.

use std::fmt;
use std::sync::Arc;

use cresset_config::{CeleryCall, ModelConfig};
use cresset_engine::Reach;
use cresset_runner::{Executor, PoolEvent};
use tokio::sync::{mpsc, watch};

use super::roster::Told;
use crate::depot::{Depot, Passage};
use crate::send::{CeleryPool, Courier};

/// The way to workers by the broker.
pub(super) struct ByBroker {
    courier: Arc<Courier>,
    /// By which large inputs go to workers that say that they have it.
    by_store: Option<(Arc<Depot>, Arc<Told>)>,
}

impl ByBroker {
    pub(super) fn new(courier: Arc<Courier>, by_store: Option<(Arc<Depot>, Arc<Told>)>) -> Self {
        Self { courier, by_store }
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
        let passage = self.by_store.as_ref().map(|(depot, roster)| {
            let (roster, name, store) = (Arc::clone(roster), model.name.clone(), depot.store());
            Passage {
                depot: Arc::clone(depot),
                is_shared: Box::new(move || roster.all_have(&name, store)),
            }
        });
        CeleryPool::with_room(model, call, Arc::clone(&self.courier), passage, room, events)
    }
}
