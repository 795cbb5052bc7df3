//! A gateway's models, each with an executor that sends its items to the model's queue.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use cresset_config::{CeleryCall, ModelConfig};
use cresset_engine::Reach;
use cresset_runner::{Executor, PoolEvent};
use cresset_task::ModelName;
use tokio::sync::{mpsc, watch};

use super::roster::Told;
use crate::depot::{Depot, Passage};
use crate::send::{CeleryPool, Courier, Holders, Workers};

/// The way to workers by the broker.
pub(super) struct ByBroker {
    courier: Arc<Courier>,
    roster: Arc<Told>,
    /// By which large inputs go to workers that say that they have it.
    depot: Option<Arc<Depot>>,
}

impl ByBroker {
    pub(super) fn new(courier: Arc<Courier>, roster: Arc<Told>, depot: Option<Arc<Depot>>) -> Self {
        Self {
            courier,
            roster,
            depot,
        }
    }
}

/// Everybody who runs a model.
struct Runners {
    roster: Arc<Told>,
    model: ModelName,
}

#[async_trait]
impl Holders for Runners {
    async fn hold(&self, ids: &[String]) -> Option<HashSet<String>> {
        self.roster.who_has(&self.model, ids).await
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
        let passage = self.depot.as_ref().map(|depot| {
            let (roster, name, store) = (Arc::clone(&self.roster), model.name.clone(), depot.store());
            Passage {
                depot: Arc::clone(depot),
                is_shared: Box::new(move || roster.all_have(&name, store)),
            }
        });
        let runners = Runners {
            roster: Arc::clone(&self.roster),
            model: model.name.clone(),
        };
        let workers = Workers {
            room,
            passage,
            holders: Arc::new(runners),
        };
        CeleryPool::to_fleet(model, call, Arc::clone(&self.courier), workers, events)
    }
}
