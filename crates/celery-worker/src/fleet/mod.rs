//! A fleet over a broker: gateways have doors and a store, workers have models, and what is between them is Celery's own traffic.
//!
//! ```text
//!   gateway: store -> driver -> reach (an executor, `send`) -> queue of the model -> doors: worker's engine
//!                                     ^------------ results of one gateway -------------'
//!   everybody: roster: what each says of itself, every few seconds and when it changes
//! ```
//!
//! The broker is transport and no store: who has accepted a task keeps it until its end is recorded. What is at the broker is a copy, which
//! may be sent again; so a task runs at least once at the workers and ends once at its gateway. Payloads that are large go by a store beside it,
//! where gateways and workers have the same one ([`Depot`]).

mod doors;
mod heard;
mod reach;
mod roster;
mod who_has;
mod word;

use std::sync::Arc;
use std::time::Duration;

use cresset_config::Celery;
use cresset_engine::{Parcels, Reach, Role, Roster};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::doors::Doors;
use self::reach::ByBroker;
use self::roster::Told;
use self::who_has::Holding;
use crate::connect::connect;
use crate::depot::Depot;
use crate::node::host_name;
use crate::options::{Options, StartError};
use crate::send::Courier;

/// This server's part in a fleet.
pub struct Fleet {
    roster: Arc<Told>,
    courier: Option<Arc<Courier>>,
    depot: Option<Arc<Depot>>,
    holding: Arc<Holding>,
    settings: Celery,
    /// Own what is said and heard, and after that the connections.
    talk: (TaskTracker, CancellationToken),
    house: (TaskTracker, CancellationToken),
}

impl Fleet {
    /// Joins it, by settings that [`Celery::fleet`] has made; connects in the background. `replies`: by which name a gateway is told results, always the
    /// same for one server and another one for another. `parcels`: where large payloads are left for each other. Must be called inside a tokio runtime.
    pub fn join(
        settings: Celery,
        role: Role,
        replies: &str,
        parcels: Option<Arc<dyn Parcels>>,
    ) -> Result<Self, StartError> {
        let (house, leave) = (TaskTracker::new(), CancellationToken::new());
        let node = node("server");
        let (courier, transport) = match role {
            Role::Gateway => {
                let courier = Courier::of_fleet(&settings, node, replies)?;
                let transport = courier.transport();
                (Some(courier), transport)
            }
            Role::Serve | Role::Worker => {
                let options = Options {
                    settings: settings.clone(),
                    node,
                    routes: Default::default(),
                    drain_timeout: Duration::ZERO,
                    is_fleet: true,
                };
                let (closing, ending) = (leave.clone(), leave.clone());
                // Nothing is taken by it.
                let transport = connect(&options, None, 1, &house, closing, ending)?;
                (None, transport)
            }
        };
        let depot = parcels.map(|parcels| Depot::new(parcels, settings.reference_above));
        match (&depot, role) {
            (None, _) => {}
            (Some(depot), Role::Gateway) => drop(house.spawn(Arc::clone(depot).care(leave.clone()))),
            (Some(depot), Role::Serve | Role::Worker) => {
                drop(house.spawn(Arc::clone(depot).look(leave.clone())))
            }
        }
        let holding = Arc::new(Holding::default());
        let has_work = role != Role::Gateway;
        let roster = Told::new(transport, has_work.then(|| Arc::clone(&holding)));
        let (talk, hush) = (TaskTracker::new(), CancellationToken::new());
        talk.spawn(Arc::clone(&roster).run(hush.clone()));
        talk.close();
        house.close();
        let store = depot.as_ref().map(|depot| tracing::field::display(depot.store()));
        tracing::info!(broker = ?settings.broker, results = ?settings.result_backend, store, role = role.name(), "joins a fleet");
        Ok(Self {
            roster,
            courier,
            depot,
            holding,
            settings,
            talk: (talk, hush),
            house: (house, leave),
        })
    }

    /// Who else there is.
    #[must_use]
    pub fn roster(&self) -> Arc<dyn Roster> {
        Arc::clone(&self.roster) as Arc<dyn Roster>
    }

    /// What leads work to the workers, for a gateway.
    #[must_use]
    pub fn reach(&self) -> Option<Arc<dyn Reach>> {
        let courier = self.courier.as_ref()?;
        let roster = Arc::clone(&self.roster);
        Some(Arc::new(ByBroker::new(
            Arc::clone(courier),
            roster,
            self.depot.clone(),
        )))
    }

    /// Why a worker gets no work, while that is so: the broker cannot be used, or the store for large payloads.
    #[must_use]
    pub fn troubles(&self) -> Vec<watch::Receiver<Option<String>>> {
        let store = self.depot.as_ref().map(|depot| depot.trouble());
        [Some(self.roster.trouble()), store]
            .into_iter()
            .flatten()
            .collect()
    }

    /// As what the queues of a worker's models are taken from.
    pub(crate) fn settings(&self) -> &Celery {
        &self.settings
    }

    /// By which large payloads go.
    pub(crate) fn depot(&self) -> Option<Arc<Depot>> {
        self.depot.clone()
    }

    /// What its doors hold.
    pub(crate) fn holding(&self) -> Arc<Holding> {
        Arc::clone(&self.holding)
    }

    /// Says goodbye and ends the connections. Models that use them must have stopped.
    pub async fn stop(self) {
        for (tracker, leave) in [&self.talk, &self.house] {
            leave.cancel();
            tracker.wait().await;
        }
        if let Some(courier) = &self.courier {
            courier.stop().await;
        }
        if let Some(depot) = &self.depot {
            depot.close().await;
        }
    }
}

/// A name that no other node has.
fn node(what: &str) -> String {
    let unique = uuid::Uuid::now_v7().simple().to_string();
    // The end of it is what differs.
    let short = unique.get(unique.len().saturating_sub(12)..).unwrap_or_default();
    format!("cresset.{what}.{short}@{}", host_name())
}
