//! What all models that Celery workers run share: the way to the broker, and the one that results come by.

use std::sync::Arc;
use std::time::Duration;

use cresset_celery::revoke;
use cresset_config::{Celery, QueueType};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::answers::Answers;
use super::redis::RedisAnswers;
use super::rpc::{PREFETCH, RpcAnswers};
use crate::connect::connect;
use crate::insist::Waits;
use crate::options::{Options, StartError};
use crate::transport::{Transport, Trouble};

/// Between two looks at services that can be used.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The queue for results stays so long when nobody uses it: until then a server may be started again.
const REPLIES_KEPT: Duration = Duration::from_secs(86_400);
/// A revocation that the broker does not take by then is not told: the task has ended here all the same.
const REVOKE_PATIENCE: Duration = Duration::from_secs(2);

/// Whether the services can be used.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Way {
    /// Nobody has looked yet.
    Unknown,
    Open,
    /// Why not.
    Closed(String),
}

/// How often broker and results may have lost something without having been away.
pub(super) struct Moves([Option<watch::Receiver<u64>>; 2]);

impl Moves {
    /// Returns when something may have been lost since it was last asked.
    pub(super) async fn next(&mut self) {
        async fn one(moves: &mut Option<watch::Receiver<u64>>) {
            let is_told = match moves {
                Some(moves) => moves.changed().await.is_ok(),
                None => false,
            };
            if !is_told {
                std::future::pending().await
            }
        }
        let [broker, results] = &mut self.0;
        tokio::select! {
            () = one(broker) => {}
            () = one(results) => {}
        }
    }

    /// All that is known by now is dealt with.
    pub(super) fn noted(&mut self) {
        for moves in self.0.iter_mut().flatten() {
            moves.mark_unchanged();
        }
    }
}

/// The way to Celery workers.
pub struct Courier {
    pub(super) transport: Arc<dyn Transport>,
    pub(super) answers: Arc<dyn Answers>,
    pub(super) settings: Celery,
    /// Our name.
    pub(super) node: String,
    /// Servers of ours have the work, and not Celery workers: the name by which they tell us results.
    pub(super) fleet: Option<String>,
    way: watch::Sender<Way>,
    house: TaskTracker,
    leave: CancellationToken,
}

impl Courier {
    /// Connects in the background. `replies` is the queue that results come to where they do: always the same one for a server, and
    /// another one for another. Must be called inside a tokio runtime.
    pub fn start(settings: &Celery, node: String, replies: &str) -> Result<Arc<Self>, StartError> {
        Self::begin(settings, node, replies, false)
    }

    /// The same to servers of ours.
    pub(crate) fn of_fleet(settings: &Celery, node: String, replies: &str) -> Result<Arc<Self>, StartError> {
        Self::begin(settings, node, replies, true)
    }

    fn begin(
        settings: &Celery,
        node: String,
        replies: &str,
        is_fleet: bool,
    ) -> Result<Arc<Self>, StartError> {
        let (house, leave) = (TaskTracker::new(), CancellationToken::new());
        let backend = settings.result_backend.as_ref().ok_or(StartError::NoBackend)?;
        let is_rpc = backend.scheme() == "rpc";
        let options = Options {
            settings: Celery {
                // Nothing is taken from any queue of tasks.
                queues: is_rpc.then(|| replies.to_owned()).into_iter().collect(),
                // The queue for results is one of ours, whatever those of tasks are.
                queue_type: QueueType::Classic,
                max_priority: None,
                ..settings.clone()
            },
            node: node.clone(),
            routes: Default::default(),
            drain_timeout: Duration::ZERO,
            is_fleet,
        };
        let (closing, ending) = (leave.clone(), leave.clone());
        let transport = connect(&options, Some(REPLIES_KEPT), PREFETCH, &house, closing, ending)?;
        let fleet = is_fleet.then(|| replies.to_owned());
        let answers: Arc<dyn Answers> = match is_rpc {
            true => {
                let transport = Arc::clone(&transport);
                RpcAnswers::new(transport, replies.to_owned(), &house, leave.clone())
            }
            false => {
                let inbox = fleet.as_deref();
                Arc::new(RedisAnswers::new(
                    backend,
                    settings,
                    inbox,
                    &house,
                    leave.clone(),
                )?)
            }
        };
        let courier = Arc::new(Self {
            transport,
            answers,
            settings: settings.clone(),
            node,
            fleet,
            way: watch::Sender::new(Way::Unknown),
            house,
            leave,
        });
        courier.house.spawn(Arc::clone(&courier).look());
        courier.house.close();
        Ok(courier)
    }

    /// What leads to the broker.
    pub(crate) fn transport(&self) -> Arc<dyn Transport> {
        Arc::clone(&self.transport)
    }

    /// Ends the connections. Models that use it must have stopped.
    pub async fn stop(&self) {
        self.leave.cancel();
        self.house.wait().await;
    }

    /// Whether the services can be used, again and again.
    pub(super) fn way(&self) -> watch::Receiver<Way> {
        self.way.subscribe()
    }

    /// Nobody waits for this task any more. That is told to the workers; whoever does not hear it runs it for nothing.
    pub(super) async fn revoke(&self, id: &str, terminate: bool) {
        let message = revoke(&[id], terminate);
        match tokio::time::timeout(REVOKE_PATIENCE, self.transport.broadcast(&message)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(error = %error, "workers cannot be told of a revocation"),
            Err(_) => tracing::debug!("workers cannot be told of a revocation in time"),
        }
    }

    /// What may have been lost from now on although nothing was away.
    pub(super) fn moves(&self) -> Moves {
        // One Redis for both is asked once: what it has lost is to be sent again once.
        let is_one = self.settings.broker == self.settings.result_backend;
        let broker = (!is_one).then(|| self.transport.moves()).flatten();
        Moves([broker, self.answers.moves()])
    }

    /// Looks again and again whether the services can be used.
    async fn look(self: Arc<Self>) {
        let mut waits = Waits::new();
        loop {
            let found = tokio::select! {
                found = self.check() => found,
                () = self.leave.cancelled() => return,
            };
            let wait = match found {
                Ok(()) => {
                    waits = Waits::new();
                    self.say(Way::Open);
                    LOOK_EVERY
                }
                Err(error) => {
                    self.say(Way::Closed(error.to_string()));
                    waits.next()
                }
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.leave.cancelled() => return,
            }
        }
    }

    async fn check(&self) -> Result<(), Trouble> {
        self.transport.check().await?;
        self.answers.check().await
    }

    fn say(&self, way: Way) {
        self.way.send_if_modified(|now| {
            match (&*now, &way) {
                (Way::Unknown | Way::Open, Way::Closed(why)) => {
                    tracing::warn!(
                        why,
                        "broker or results cannot be reached; tasks for the workers behind them wait"
                    );
                }
                (Way::Unknown | Way::Closed(_), Way::Open) => {
                    tracing::info!("broker and results can be reached; tasks go to the workers behind them");
                }
                _ => {}
            }
            let is_news = *now != way;
            *now = way;
            is_news
        });
    }
}
