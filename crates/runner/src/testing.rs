//! A pool without processes, for tests of whatever drives an [`Executor`].
//!
//! It keeps the promises of `port.rs` (credits, one `Ended` for each job, all of an instance's jobs ended before its
//! `Down`), so a test of the engine against it says something about the engine against processes. It must not grow
//! behaviour of its own: no batching, no retries, no timing.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use cresset_task::{BatchId, InstanceId, Payload, Trace};
use tokio::sync::{Notify, mpsc};
use tokio_util::task::TaskTracker;

use crate::port::{
    DownReason, Executor, InstanceState, InstanceStatus, Job, JobEnd, NotTaken, PoolEvent, PoolState,
    PoolStatus, RecycleReason, Timing, Unwanted,
};

/// What an automatic pool does with the items of a job.
pub type Behaviour = Box<dyn Fn(Vec<Payload>) -> JobEnd + Send + Sync>;

/// A job that a by-hand pool holds until the test ends it.
#[derive(Clone, Debug, PartialEq)]
pub struct Held {
    /// Who has it.
    pub instance: InstanceId,
    /// Its batch.
    pub batch: BatchId,
    /// Its items.
    pub items: Vec<Payload>,
    /// Where they run in the traces of their callers.
    pub traces: Vec<Option<Trace>>,
}

struct Place {
    up: bool,
    was_up: bool,
    restarts: u64,
    since: SystemTime,
    last: Option<DownReason>,
    held: VecDeque<Held>,
}

struct Inner {
    places: BTreeMap<InstanceId, Place>,
    /// Held jobs that `next_job` has not shown yet, in the order they came.
    unseen: VecDeque<Held>,
    last_failure: Option<DownReason>,
    degraded: bool,
    /// What `unload` and `load` were last told, and how often they were.
    loaded: bool,
    unloads: usize,
    loads: usize,
    stopped: bool,
    taken: usize,
    cancelled: Vec<(BatchId, usize, Unwanted)>,
}

/// An [`Executor`] without processes. Instances are 0, 1, ...; they start down: call [`FakePool::up`] or
/// [`FakePool::all_up`].
pub struct FakePool {
    slots: usize,
    behaviour: Option<Behaviour>,
    inner: Mutex<Inner>,
    changed: Notify,
    /// Unbounded, and still bounded: each job and each move of an instance puts in one event, and jobs are bounded by
    /// credits.
    outbox: mpsc::UnboundedSender<PoolEvent>,
    tracker: TaskTracker,
}

impl FakePool {
    /// A pool that ends each job at once with what `behaviour` makes of its items.
    pub fn automatic(
        instances: u32,
        slots: usize,
        events: mpsc::Sender<PoolEvent>,
        behaviour: impl Fn(Vec<Payload>) -> JobEnd + Send + Sync + 'static,
    ) -> Arc<Self> {
        Self::new(instances, slots, events, Some(Box::new(behaviour)))
    }

    /// A pool that holds each job until the test ends it with [`FakePool::finish`] or [`FakePool::kill`].
    pub fn by_hand(instances: u32, slots: usize, events: mpsc::Sender<PoolEvent>) -> Arc<Self> {
        Self::new(instances, slots, events, None)
    }

    fn new(
        instances: u32,
        slots: usize,
        events: mpsc::Sender<PoolEvent>,
        behaviour: Option<Behaviour>,
    ) -> Arc<Self> {
        let place = |_| Place {
            up: false,
            was_up: false,
            restarts: 0,
            since: SystemTime::now(),
            last: None,
            held: VecDeque::new(),
        };
        let (outbox, mut inbox) = mpsc::unbounded_channel();
        let tracker = TaskTracker::new();
        tracker.spawn(async move {
            while let Some(event) = inbox.recv().await {
                if events.send(event).await.is_err() {
                    return; // nobody listens any more
                }
            }
        });
        Arc::new(Self {
            slots,
            behaviour,
            inner: Mutex::new(Inner {
                places: (0..instances).map(|i| (InstanceId(i), place(i))).collect(),
                unseen: VecDeque::new(),
                last_failure: None,
                degraded: false,
                loaded: true,
                unloads: 0,
                loads: 0,
                stopped: false,
                taken: 0,
                cancelled: Vec::new(),
            }),
            changed: Notify::new(),
            outbox,
            tracker,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn emit(&self, event: PoolEvent) {
        // Fails only when the receiver has been dropped: then the test has stopped looking.
        let _ = self.outbox.send(event);
    }

    /// The instance is warm from now on: emits `Up`. A second call before a `kill` does nothing.
    pub fn up(&self, instance: InstanceId) {
        let mut inner = self.lock();
        let stopped = inner.stopped;
        let Some(place) = inner.places.get_mut(&instance) else {
            return;
        };
        if place.up || stopped {
            return;
        }
        place.up = true;
        place.restarts += u64::from(place.was_up);
        place.was_up = true;
        place.since = SystemTime::now();
        self.emit(PoolEvent::Up {
            instance,
            slots: self.slots,
        });
    }

    /// All instances are warm from now on.
    pub fn all_up(&self) {
        let all: Vec<_> = self.lock().places.keys().copied().collect();
        all.into_iter().for_each(|i| self.up(i));
    }

    /// The instance dies: its jobs are `Lost` (the first one under suspicion), then it is `Down`.
    pub fn kill(&self, instance: InstanceId, reason: DownReason) {
        self.take_down(instance, reason, true);
        self.changed.notify_waiters();
    }

    fn take_down(&self, instance: InstanceId, reason: DownReason, blame_first: bool) {
        let mut inner = self.lock();
        let Some(place) = inner.places.get_mut(&instance) else {
            return;
        };
        place.up = false;
        place.since = SystemTime::now();
        place.last = Some(reason.clone());
        for (behind, job) in std::mem::take(&mut place.held).into_iter().enumerate() {
            let end = JobEnd::Lost {
                reason: reason.clone(),
                suspect: blame_first && behind == 0 && !reason.is_ours(),
                scene: None,
            };
            self.emit(PoolEvent::Ended {
                instance,
                batch: job.batch,
                end,
                timing: Timing::default(),
            });
        }
        inner.unseen.retain(|held| held.instance != instance);
        if !reason.is_ours() {
            inner.last_failure = Some(reason.clone());
        }
        self.emit(PoolEvent::Down { instance, reason });
    }

    /// The processes end of a pool that was told to unload; it holds no job. Before that they are up, and take none.
    pub fn unloaded(&self) {
        let all: Vec<_> = self.lock().places.keys().copied().collect();
        for instance in all {
            let up = self.lock().places.get(&instance).is_some_and(|p| p.up);
            if up {
                self.take_down(instance, DownReason::Unloaded, false);
            }
        }
        let mut inner = self.lock();
        inner.last_failure = None;
        inner.places.values_mut().for_each(|place| {
            place.was_up = false;
            place.last = None;
        });
    }

    /// How often it was told to unload and to load, and did not know already.
    #[must_use]
    pub fn unloads_and_loads(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.unloads, inner.loads)
    }

    /// A fresh process has taken over the place of this instance, and the old one has ended. Its jobs are as they were.
    pub fn recycle(&self, instance: InstanceId, reason: RecycleReason, end: DownReason) {
        self.emit(PoolEvent::TakenOver { instance });
        self.emit(PoolEvent::Recycled {
            instance,
            reason,
            end,
        });
    }

    /// A fresh process that was to take over has not come up.
    pub fn fail_to_replace(&self, instance: InstanceId, reason: DownReason) {
        self.emit(PoolEvent::NotReplaced { instance, reason });
    }

    /// Opens (or closes) the crash-loop breaker: `status` then says `Degraded` though instances may be up.
    pub fn set_degraded(&self, degraded: bool) {
        self.lock().degraded = degraded;
    }

    /// Jobs taken so far.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.lock().taken
    }

    /// What `cancel` was told of items of jobs that are held, in order.
    #[must_use]
    pub fn cancelled(&self) -> Vec<(BatchId, usize, Unwanted)> {
        self.lock().cancelled.clone()
    }

    /// The jobs an instance of a by-hand pool holds, oldest first.
    #[must_use]
    pub fn held(&self, instance: InstanceId) -> Vec<Held> {
        self.lock()
            .places
            .get(&instance)
            .map(|p| p.held.iter().cloned().collect())
            .unwrap_or_default()
    }

    /// By-hand pools: waits for the next job that `run` took, in the order they were taken.
    pub async fn next_job(&self) -> Held {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(held) = self.lock().unseen.pop_front() {
                return held;
            }
            changed.await;
        }
    }

    /// By-hand pools: ends a held job. False if no instance holds it.
    pub fn finish(&self, batch: BatchId, end: JobEnd) -> bool {
        self.finish_after(batch, end, Duration::ZERO)
    }

    /// By-hand pools: ends a held job as if it had run so long.
    pub fn finish_after(&self, batch: BatchId, end: JobEnd, compute: Duration) -> bool {
        let mut inner = self.lock();
        let found = inner.places.values_mut().find_map(|place| {
            let at = place.held.iter().position(|held| held.batch == batch)?;
            place.held.remove(at)
        });
        let Some(held) = found else { return false };
        inner.unseen.retain(|other| other.batch != batch);
        self.emit(PoolEvent::Ended {
            instance: held.instance,
            batch,
            end,
            timing: Timing { compute },
        });
        drop(inner);
        self.changed.notify_waiters();
        true
    }
}

#[async_trait]
impl Executor for FakePool {
    fn run(&self, instance: InstanceId, job: Job) -> Result<(), NotTaken> {
        let mut inner = self.lock();
        let inner_ref = &mut *inner;
        let Some(place) = inner_ref.places.get_mut(&instance) else {
            return Err(NotTaken(job));
        };
        if !place.up || place.held.len() >= self.slots || inner_ref.stopped || !inner_ref.loaded {
            return Err(NotTaken(job));
        }
        inner_ref.taken += 1;
        if let Some(behaviour) = &self.behaviour {
            drop(inner);
            let end = behaviour(job.items);
            self.emit(PoolEvent::Ended {
                instance,
                batch: job.batch,
                end,
                timing: Timing::default(),
            });
            return Ok(());
        }
        let held = Held {
            instance,
            batch: job.batch,
            items: job.items,
            traces: job.traces,
        };
        place.held.push_back(held.clone());
        inner_ref.unseen.push_back(held);
        drop(inner);
        self.changed.notify_waiters();
        Ok(())
    }

    fn cancel(&self, instance: InstanceId, batch: BatchId, item: usize, why: Unwanted) {
        let mut inner = self.lock();
        let place = inner.places.get(&instance);
        let held = place.is_some_and(|place| {
            place
                .held
                .iter()
                .any(|job| job.batch == batch && item < job.items.len())
        });
        if held {
            inner.cancelled.push((batch, item, why));
            drop(inner);
            self.changed.notify_waiters();
        }
    }

    fn unload(&self) {
        let mut inner = self.lock();
        inner.unloads += usize::from(inner.loaded);
        inner.loaded = false;
    }

    fn load(&self) {
        let mut inner = self.lock();
        inner.loads += usize::from(!inner.loaded);
        inner.loaded = true;
    }

    fn status(&self) -> PoolStatus {
        let inner = self.lock();
        let instances: Vec<_> = inner
            .places
            .iter()
            .map(|(id, place)| InstanceStatus {
                id: *id,
                device: "cpu".into(),
                pid: None,
                state: match (&place.last, place.up) {
                    _ if inner.stopped => InstanceState::Stopped,
                    _ if !inner.loaded => InstanceState::Unloaded,
                    (_, true) => InstanceState::Ready,
                    (Some(reason), false) => InstanceState::Waiting {
                        reason: reason.clone(),
                        delay: Duration::ZERO,
                    },
                    (None, false) => InstanceState::Starting,
                },
                since: place.since,
                restarts: place.restarts,
                recycled: 0,
                replacement: None,
                runtime: place.was_up.then(|| "fake".into()),
            })
            .collect();
        let any_up = inner.places.values().any(|p| p.up);
        let ever_up = inner.places.values().any(|p| p.was_up);
        let state = match (any_up, ever_up) {
            _ if inner.stopped => PoolState::Stopped,
            _ if !inner.loaded => PoolState::Unloaded,
            (true, _) if !inner.degraded => PoolState::Ready,
            (true, _) => PoolState::Degraded,
            (false, true) => PoolState::Down,
            (false, false) if inner.last_failure.is_some() => PoolState::Failed,
            (false, false) if inner.loads > 0 => PoolState::Loading,
            (false, false) => PoolState::Starting,
        };
        PoolStatus {
            state,
            instances,
            last_failure: inner.last_failure.clone(),
        }
    }

    async fn stop(&self, grace: Duration) {
        let all: Vec<_> = {
            let mut inner = self.lock();
            if std::mem::replace(&mut inner.stopped, true) {
                return;
            }
            inner.places.keys().copied().collect()
        };
        let idle = async {
            loop {
                let changed = self.changed.notified();
                tokio::pin!(changed);
                changed.as_mut().enable();
                if self.lock().places.values().all(|p| p.held.is_empty()) {
                    return;
                }
                changed.await;
            }
        };
        // Past the grace the jobs still held are lost, as with processes.
        let _ = tokio::time::timeout(grace, idle).await;
        for instance in all {
            let up = self.lock().places.get(&instance).is_some_and(|p| p.up);
            if up {
                self.take_down(instance, DownReason::Stopped, false);
            }
        }
        self.tracker.close();
    }
}

mod live;
#[cfg(test)]
mod tests;
