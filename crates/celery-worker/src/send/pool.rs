//! A model at Celery workers, as the engine sees it: an executor with a place for each item that may be away at once.
//!
//! A place comes up when the broker and the result backend can be used and whoever runs the model has room for it, and goes down when that is
//! no more so and nothing of ours is away by it. What is away then stays away: it comes back with the connection, and ends once.

use std::ops::RangeFrom;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use cresset_config::{CeleryCall, ModelConfig};
use cresset_runner::{
    DownReason, Executor, InstanceState, InstanceStatus, Job, NotTaken, PoolEvent, PoolState, PoolStatus,
    Unwanted,
};
use cresset_task::{BatchId, InstanceId};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::away::Away;
use super::courier::{Courier, Way};
use super::errand::ToFleet;
use super::search::{Holders, Search};
use crate::depot::Passage;

/// A longer grace is cut to this: it is for ever, and fits the clock.
const GRACE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

/// A place for a job.
pub(super) enum Seat {
    Down,
    Free,
    Taken {
        batch: BatchId,
        /// For each item: nobody waits for it any more.
        unwanted: Vec<CancellationToken>,
    },
}

/// How it stands, for people.
struct Stand {
    state: InstanceState,
    since: SystemTime,
    was_up: bool,
    /// Times that it came back.
    returns: u64,
    last_failure: Option<DownReason>,
}

/// What a gateway knows of the workers of its model.
pub(crate) struct Workers {
    /// How many places they have room for.
    pub(crate) room: watch::Receiver<usize>,
    /// By which large inputs may go.
    pub(crate) passage: Option<Passage>,
    /// Who says what they have.
    pub(crate) holders: Arc<dyn Holders>,
}

pub(super) struct Shared {
    model: Arc<ModelConfig>,
    pub(super) call: Arc<CeleryCall>,
    pub(super) courier: Arc<Courier>,
    pub(super) fleet: Option<Arc<ToFleet>>,
    events: mpsc::Sender<PoolEvent>,
    /// How many places there is room for at the workers.
    pub(super) room: watch::Receiver<usize>,
    pub(super) seats: Mutex<Vec<Seat>>,
    stand: Mutex<Stand>,
    /// Whoever changes what a place is tells it before the next may: the engine hears things in the order in which they were.
    pub(super) telling: tokio::sync::Mutex<()>,
    /// When a stop was ordered: until when what is away is waited for.
    stop: watch::Sender<Option<Instant>>,
    /// What is away is given up.
    pub(super) abandon: CancellationToken,
    jobs: TaskTracker,
}

/// A model at Celery workers.
pub struct CeleryPool {
    shared: Arc<Shared>,
    keeper: TaskTracker,
}

/// Why a place is closed that the workers have no room for.
pub(super) const NO_ROOM: &str = "no worker takes more of it now";

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl CeleryPool {
    /// Waits for the services, and takes jobs from then on; [`PoolEvent::Up`] tells. Somebody must keep receiving `events` until
    /// [`Executor::stop`] has returned. Must be called inside a tokio runtime.
    pub fn start(
        model: Arc<ModelConfig>,
        call: CeleryCall,
        courier: Arc<Courier>,
        events: mpsc::Sender<PoolEvent>,
    ) -> Arc<Self> {
        let room = watch::Sender::new(call.concurrency).subscribe();
        Self::with_room(model, call, courier, room, None, events)
    }

    /// The same where the workers are ours, and say how much room they have: at most all places. What is lost on the way is sent again.
    pub(crate) fn to_fleet(
        model: Arc<ModelConfig>,
        call: CeleryCall,
        courier: Arc<Courier>,
        workers: Workers,
        events: mpsc::Sender<PoolEvent>,
    ) -> Arc<Self> {
        let away = Arc::<Away>::default();
        let search = Search {
            model: model.name.to_string(),
            queue: courier.settings.queue_of(&call).to_owned(),
            away: Arc::clone(&away),
            transport: courier.transport(),
            holders: workers.holders,
        };
        let fleet = ToFleet {
            passage: workers.passage,
            away,
        };
        Self::with_room(model, call, courier, workers.room, Some((fleet, search)), events)
    }

    fn with_room(
        model: Arc<ModelConfig>,
        call: CeleryCall,
        courier: Arc<Courier>,
        room: watch::Receiver<usize>,
        fleet: Option<(ToFleet, Search)>,
        events: mpsc::Sender<PoolEvent>,
    ) -> Arc<Self> {
        let (fleet, search) = fleet.unzip();
        let seats = (0..call.concurrency).map(|_| Seat::Down).collect();
        let shared = Arc::new(Shared {
            model,
            call: Arc::new(call),
            courier,
            fleet: fleet.map(Arc::new),
            events,
            room,
            seats: Mutex::new(seats),
            stand: Mutex::new(Stand {
                state: InstanceState::Starting,
                since: SystemTime::now(),
                was_up: false,
                returns: 0,
                last_failure: None,
            }),
            telling: tokio::sync::Mutex::default(),
            stop: watch::Sender::new(None),
            abandon: CancellationToken::new(),
            jobs: TaskTracker::new(),
        });
        let (keeper, over) = (TaskTracker::new(), CancellationToken::new());
        keeper.spawn(Arc::clone(&shared).keep(over.clone().drop_guard()));
        if let Some(search) = search {
            keeper.spawn(search.run(over));
        }
        keeper.close();
        Arc::new(Self { shared, keeper })
    }
}

/// Returns when there is other room than there was.
async fn news_of(room: &mut watch::Receiver<usize>) {
    if room.changed().await.is_err() {
        // Nobody says anything any more: it stays as it is.
        std::future::pending::<()>().await;
    }
}

#[async_trait]
impl Executor for CeleryPool {
    fn run(&self, instance: InstanceId, job: Job) -> Result<(), NotTaken> {
        let shared = &self.shared;
        let unwanted: Vec<_> = job.items.iter().map(|_| shared.abandon.child_token()).collect();
        match lock(&shared.seats).get_mut(instance.0 as usize) {
            Some(seat @ Seat::Free) => {
                *seat = Seat::Taken {
                    batch: job.batch,
                    unwanted: unwanted.clone(),
                }
            }
            _ => return Err(NotTaken(job)),
        }
        shared
            .jobs
            .spawn(Arc::clone(shared).work(instance, job, unwanted));
        Ok(())
    }

    fn cancel(&self, instance: InstanceId, batch: BatchId, item: usize, _: Unwanted) {
        if let Some(Seat::Taken { batch: now, unwanted }) = lock(&self.shared.seats).get(instance.0 as usize)
            && *now == batch
            && let Some(token) = unwanted.get(item)
        {
            token.cancel();
        }
    }

    /// There is nothing here that would cost anything while it is idle.
    fn unload(&self) {}

    fn load(&self) {}

    fn status(&self) -> PoolStatus {
        let stand = lock(&self.shared.stand);
        let state = match &stand.state {
            InstanceState::Stopped => PoolState::Stopped,
            InstanceState::Ready => PoolState::Ready,
            // Never failed: what comes is taken, as the broker will be back.
            InstanceState::Waiting { .. } => PoolState::Down,
            InstanceState::Starting | InstanceState::Unloaded => PoolState::Starting,
        };
        let instance = InstanceStatus {
            id: InstanceId(0),
            device: "celery".into(),
            pid: None,
            state: stand.state.clone(),
            since: stand.since,
            restarts: stand.returns,
            recycled: 0,
            replacement: None,
            runtime: Some(format!(
                "task {} by queue {}",
                self.shared.call.task,
                self.shared.courier.settings.queue_of(&self.shared.call)
            )),
        };
        PoolStatus {
            state,
            instances: vec![instance],
            last_failure: stand.last_failure.clone(),
        }
    }

    async fn stop(&self, grace: Duration) {
        let now = Instant::now();
        let until = now.checked_add(grace).unwrap_or_else(|| now + GRACE_MAX);
        self.shared.stop.send_if_modified(|stop| {
            // A second stop may only be more impatient.
            let sooner = stop.is_none_or(|earlier| until < earlier);
            if sooner {
                *stop = Some(until);
            }
            sooner
        });
        self.keeper.wait().await;
    }
}

impl Shared {
    pub(super) async fn emit(&self, event: PoolEvent) {
        if self.events.send(event).await.is_err() {
            tracing::debug!(model = %self.model.name, "nobody listens to the events of a pool any more");
        }
    }

    /// Opens and closes the places as the services come and go, until a stop is ordered, and then waits for what is away.
    async fn keep(self: Arc<Self>, _over: DropGuard) {
        let mut way = self.courier.way();
        let mut stop = self.stop.subscribe();
        let mut room = self.room.clone();
        while stop.borrow_and_update().is_none() {
            let found = way.borrow_and_update().clone();
            let places = *room.borrow_and_update();
            match found {
                Way::Unknown => {}
                Way::Open if places > 0 => {
                    self.close(places.., &DownReason::Away(NO_ROOM.into())).await;
                    self.open(places).await;
                }
                Way::Open => self.all_close(DownReason::Away(NO_ROOM.into())).await,
                Way::Closed(why) => self.all_close(DownReason::Away(why)).await,
            }
            tokio::select! {
                changed = way.changed() => if changed.is_err() { break },
                () = news_of(&mut room) => {}
                _ = stop.changed() => {}
            }
        }
        self.jobs.close();
        loop {
            let until = (*stop.borrow_and_update()).unwrap_or_else(Instant::now);
            tokio::select! {
                () = self.jobs.wait() => break,
                () = tokio::time::sleep_until(until) => {
                    self.abandon.cancel();
                    self.jobs.wait().await;
                    break;
                }
                _ = stop.changed() => {}
            }
        }
        self.close(0.., &DownReason::Stopped).await;
        self.stand(InstanceState::Stopped);
    }

    fn stand(&self, state: InstanceState) {
        let mut stand = lock(&self.stand);
        if state == InstanceState::Ready {
            stand.returns += u64::from(stand.was_up);
            stand.was_up = true;
        }
        stand.state = state;
        stand.since = SystemTime::now();
    }

    /// Of the first places every one that is closed is opened.
    async fn open(&self, places: usize) {
        let _telling = self.telling.lock().await;
        if lock(&self.stand).state != InstanceState::Ready {
            self.stand(InstanceState::Ready);
        }
        let all = places.min(self.call.concurrency);
        for (at, instance) in (0..).map(InstanceId).enumerate().take(all) {
            let is_turn = match lock(&self.seats).get_mut(at) {
                Some(seat @ Seat::Down) => {
                    *seat = Seat::Free;
                    true
                }
                _ => false,
            };
            if is_turn {
                self.emit(PoolEvent::Up { instance, slots: 1 }).await;
            }
        }
    }

    /// Nothing more can be sent.
    async fn all_close(&self, reason: DownReason) {
        let waiting = InstanceState::Waiting {
            reason: reason.clone(),
            delay: Duration::ZERO,
        };
        self.stand(waiting);
        lock(&self.stand).last_failure = Some(reason.clone());
        self.close(0.., &reason).await;
    }

    /// Each of these places that nothing is away by is closed; the others are when it has come back.
    async fn close(&self, places: RangeFrom<usize>, reason: &DownReason) {
        let _telling = self.telling.lock().await;
        let all = (0..).map(InstanceId).enumerate().take(self.call.concurrency);
        for (at, instance) in all.skip(places.start) {
            let is_turn = match lock(&self.seats).get_mut(at) {
                Some(seat @ Seat::Free) => {
                    *seat = Seat::Down;
                    true
                }
                _ => false,
            };
            if is_turn {
                let reason = reason.clone();
                self.emit(PoolEvent::Down { instance, reason }).await;
            }
        }
    }
}
