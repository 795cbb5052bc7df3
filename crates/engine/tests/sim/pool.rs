//! Instances that are not there: an [`Executor`] which keeps the promises of its port, and otherwise does to a batch what its
//! inputs say and the dice allow. Instances take their time, answer in any order, raise, die, hang, and come back.

mod process;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use cresset_queue::conformance::Dice;
use cresset_runner::{
    DownReason, Executor, InstanceState, InstanceStatus, Job, JobEnd, NotTaken, PoolEvent, PoolState,
    PoolStatus, Timing, Unwanted,
};
use cresset_task::{Again, BatchId, Code, Failure, InstanceId, Payload};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::history::{Serial, What};
use crate::plan::{Kind, ModelPlan};
use crate::world::World;

/// More events than any run has under way.
pub(crate) const EVENTS_MAX: usize = 4_096;

#[derive(Debug)]
struct Held {
    batch: BatchId,
    serials: Vec<Serial>,
    unwanted: Vec<bool>,
    /// It must be let go of.
    must_end: bool,
}

#[derive(Debug, Default)]
struct Place {
    up: bool,
    was_up: bool,
    restarts: u64,
    last: Option<DownReason>,
    jobs: VecDeque<Held>,
}

#[derive(Debug, Default)]
struct Inner {
    places: Vec<Place>,
    last_failure: Option<DownReason>,
    stopped: bool,
    /// There is no work, says the engine.
    unloaded: bool,
    /// There was none, and since there is again no process has been ready.
    loading: bool,
}

/// The instances of one model.
pub(crate) struct SimPool {
    world: Arc<World>,
    model: usize,
    inner: Mutex<Inner>,
    bells: Vec<Notify>,
    /// Rung for each instance when there is no work, and when there is again.
    loads: Vec<Notify>,
    left: Notify,
    events: mpsc::Sender<PoolEvent>,
    tracker: TaskTracker,
    gone: CancellationToken,
}

/// The serial that an input tells.
pub(crate) fn serial_of(payload: &Payload) -> Serial {
    let Payload::Json(text) = payload else {
        panic!("the inputs are JSON")
    };
    let text = std::str::from_utf8(text).unwrap().trim_matches('"');
    let digits = text.split(':').next().unwrap();
    digits.parse().unwrap()
}

fn failure(type_: &str, again: Again) -> Failure {
    Failure {
        code: Code::ModelError,
        type_: type_.into(),
        message: "as the test wants it".into(),
        traceback: None,
        stage: None,
        again,
    }
}

impl SimPool {
    pub(crate) fn start(
        world: &Arc<World>,
        model: usize,
        seed: u64,
        events: mpsc::Sender<PoolEvent>,
    ) -> Arc<Self> {
        let instances = world.plan.models[model].instances;
        let inner = Inner {
            places: (0..instances).map(|_| Place::default()).collect(),
            ..Inner::default()
        };
        let pool = Arc::new(Self {
            world: Arc::clone(world),
            model,
            inner: Mutex::new(inner),
            bells: (0..instances).map(|_| Notify::new()).collect(),
            loads: (0..instances).map(|_| Notify::new()).collect(),
            left: Notify::new(),
            events,
            tracker: TaskTracker::new(),
            gone: CancellationToken::new(),
        });
        for at in 0..instances {
            let (life, gone) = (Arc::clone(&pool), pool.gone.clone());
            let dice = Dice::new(seed ^ (u64::from(at) << 40));
            pool.tracker.spawn(async move {
                tokio::select! {
                    biased;
                    () = gone.cancelled() => {}
                    () = life.live(at as usize, dice) => {}
                }
            });
        }
        pool
    }

    fn plan(&self) -> &ModelPlan {
        &self.world.plan.models[self.model]
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn emit(&self, event: PoolEvent) {
        match self.events.try_send(event) {
            // A driver that has drained listens no more.
            Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
            Err(mpsc::error::TrySendError::Full(_)) => panic!("the engine does not read its events"),
        }
    }

    fn ended(&self, at: usize, job: &Held, end: JobEnd, compute: Duration) {
        let (model, batch) = (self.model, job.batch);
        self.world.note(What::Left { model, batch });
        self.emit(PoolEvent::Ended {
            instance: InstanceId(at as u32),
            batch,
            end,
            timing: Timing { compute },
        });
        self.left.notify_waiters();
    }

    fn kinds<T>(&self, serials: &[Serial], look: impl Fn(&Kind) -> T) -> Vec<T> {
        let look = |serial: &Serial| self.world.with_input(*serial, |input| look(&input.kind));
        serials.iter().map(look).collect()
    }

    fn up(&self, at: usize) {
        let mut inner = self.lock();
        let place = &mut inner.places[at];
        place.up = true;
        place.restarts += u64::from(place.was_up);
        place.was_up = true;
        inner.loading = false;
        let (model, instance) = (self.model, InstanceId(at as u32));
        self.world.note(What::Up { model, instance });
        self.emit(PoolEvent::Up {
            instance: InstanceId(at as u32),
            slots: self.plan().slots,
        });
    }

    /// It takes nothing any more.
    fn shut(&self, at: usize) {
        let was_up = std::mem::take(&mut self.lock().places[at].up);
        if was_up {
            let (model, instance) = (self.model, InstanceId(at as u32));
            self.world.note(What::Down { model, instance });
        }
    }

    fn down(&self, at: usize, reason: DownReason) {
        let mut inner = self.lock();
        let place = &mut inner.places[at];
        place.up = false;
        place.last = Some(reason.clone());
        for (behind, job) in std::mem::take(&mut place.jobs).into_iter().enumerate() {
            let end = JobEnd::Lost {
                reason: reason.clone(),
                suspect: behind == 0 && !reason.is_ours(),
                scene: None,
            };
            self.ended(at, &job, end, Duration::ZERO);
        }
        if !reason.is_ours() {
            inner.last_failure = Some(reason.clone());
        }
        self.emit(PoolEvent::Down {
            instance: InstanceId(at as u32),
            reason,
        });
    }
}

#[async_trait]
impl Executor for SimPool {
    fn run(&self, instance: InstanceId, job: Job) -> Result<(), NotTaken> {
        let (at, slots) = (instance.0 as usize, self.plan().slots);
        let mut inner = self.lock();
        let stopped = inner.stopped;
        let Some(place) = inner.places.get_mut(at) else {
            return Err(NotTaken(job));
        };
        assert!(!job.items.is_empty(), "a batch of nothing");
        if !place.up || stopped || place.jobs.len() >= slots {
            return Err(NotTaken(job));
        }
        let serials: Vec<Serial> = job.items.iter().map(serial_of).collect();
        self.world.note(What::Took {
            model: self.model,
            instance,
            batch: job.batch,
            serials: serials.clone(),
        });
        place.jobs.push_back(Held {
            batch: job.batch,
            unwanted: vec![false; serials.len()],
            serials,
            must_end: false,
        });
        self.bells[at].notify_one();
        Ok(())
    }

    fn cancel(&self, instance: InstanceId, batch: BatchId, item: usize, why: Unwanted) {
        let mut inner = self.lock();
        let place = inner.places.get_mut(instance.0 as usize);
        let job = place.and_then(|place| place.jobs.iter_mut().find(|job| job.batch == batch));
        if let Some(job) = job
            && let Some(unwanted) = job.unwanted.get_mut(item)
        {
            *unwanted = true;
            self.world.note(What::Told {
                model: self.model,
                batch,
                serial: job.serials[item],
            });
            job.must_end |= why == Unwanted::Cancelled || job.unwanted.iter().all(|is| *is);
            self.bells[instance.0 as usize].notify_one();
        }
    }

    fn unload(&self) {
        let mut inner = self.lock();
        if inner.stopped || std::mem::replace(&mut inner.unloaded, true) {
            return;
        }
        inner.last_failure = None;
        inner.places.iter_mut().for_each(|place| place.was_up = false);
        self.loads.iter().for_each(Notify::notify_one);
    }

    fn load(&self) {
        let mut inner = self.lock();
        if inner.stopped || !std::mem::replace(&mut inner.unloaded, false) {
            return;
        }
        inner.loading = true;
        self.loads.iter().for_each(Notify::notify_one);
    }

    fn status(&self) -> PoolStatus {
        let inner = self.lock();
        let state_of = |place: &Place| match (&place.last, place.up) {
            _ if inner.stopped => InstanceState::Stopped,
            _ if inner.unloaded => InstanceState::Unloaded,
            (_, true) => InstanceState::Ready,
            (Some(reason), false) => InstanceState::Waiting {
                reason: reason.clone(),
                delay: Duration::ZERO,
            },
            (None, false) => InstanceState::Starting,
        };
        let status_of = |(at, place): (usize, &Place)| InstanceStatus {
            id: InstanceId(at as u32),
            device: "cpu".into(),
            pid: None,
            state: state_of(place),
            since: SystemTime::UNIX_EPOCH,
            restarts: place.restarts,
            recycled: 0,
            replacement: None,
            runtime: None,
        };
        let any_up = inner.places.iter().any(|place| place.up);
        let ever_up = inner.places.iter().any(|place| place.was_up);
        let state = match (any_up, ever_up) {
            _ if inner.stopped => PoolState::Stopped,
            _ if inner.unloaded => PoolState::Unloaded,
            (true, _) => PoolState::Ready,
            (false, true) => PoolState::Down,
            (false, false) if inner.last_failure.is_some() => PoolState::Failed,
            (false, false) if inner.loading => PoolState::Loading,
            (false, false) => PoolState::Starting,
        };
        PoolStatus {
            state,
            instances: inner.places.iter().enumerate().map(status_of).collect(),
            last_failure: inner.last_failure.clone(),
        }
    }

    async fn stop(&self, grace: Duration) {
        if std::mem::replace(&mut self.lock().stopped, true) {
            return;
        }
        let idle = async {
            loop {
                let mut left = std::pin::pin!(self.left.notified());
                left.as_mut().enable();
                if self.lock().places.iter().all(|place| place.jobs.is_empty()) {
                    return;
                }
                left.await;
            }
        };
        // Past the grace what is held is lost, as with processes.
        let _late = tokio::time::timeout(grace, idle).await;
        self.gone.cancel();
        let places = self.lock().places.len();
        for at in 0..places {
            let is_up = self.lock().places[at].up;
            let holds = !self.lock().places[at].jobs.is_empty();
            if is_up || holds {
                self.down(at, DownReason::Stopped);
            }
        }
        self.tracker.close();
    }
}
