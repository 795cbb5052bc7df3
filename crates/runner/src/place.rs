//! The place of one instance: what the pool, the supervisor of that place and the lives in it share.
//!
//! The door is open exactly while an instance is ready. Through it go jobs with their credits; behind it there is no
//! queue, since there are only as many credits as slots.
//!
//! One life holds the place. While it is being replaced there is a second, which takes the place over in one step: the
//! new door stands where the old one stood, and who comes with a job finds one or the other, never none.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::SystemTime;

use cresset_task::{BatchId, InstanceId};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};

use crate::layout::SLOTS;
use crate::port::{
    DownReason, InstanceState, InstanceStatus, Job, NotTaken, RecycleReason, Replacement, Unwanted,
};
use crate::wanted::Wanted;

/// A job, and the right to have it in an instance. The credit is given back before the job's end is announced.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) job: Job,
    pub(crate) credit: OwnedSemaphorePermit,
    pub(crate) wanted: Arc<Wanted>,
}

/// One process after the other in a place; each has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LifeId(u64);

impl fmt::Display for LifeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The inside of a fresh door.
pub(crate) struct Opened {
    pub(crate) jobs: mpsc::Receiver<Given>,
    /// There was an open door before: whoever gives jobs sees no difference.
    pub(crate) took_over: bool,
}

struct Door {
    life: LifeId,
    jobs: mpsc::Sender<Given>,
    credits: Arc<Semaphore>,
}

struct Inner {
    door: Option<Door>,
    /// The life that holds the place.
    holder: LifeId,
    /// The newest life.
    last: LifeId,
    status: InstanceStatus,
    /// The batches that went through the door and have not ended, whichever life has them: as many as the credits of two
    /// lives, and some that have ended since the last one came.
    given: Vec<(BatchId, Weak<Wanted>)>,
}

/// One place.
pub(crate) struct Place {
    pub(crate) id: InstanceId,
    pub(crate) device: String,
    inner: Mutex<Inner>,
    /// Rung when a life that was to take over has got the place without that.
    inherited: Notify,
    /// Changes when a life must let go of a batch.
    must_end: watch::Sender<()>,
}

impl Place {
    pub(crate) fn new(id: InstanceId, device: String) -> Self {
        let status = InstanceStatus {
            id,
            device: device.clone(),
            pid: None,
            state: InstanceState::Starting,
            since: SystemTime::now(),
            restarts: 0,
            recycled: 0,
            replacement: None,
            runtime: None,
        };
        Self {
            id,
            device,
            inner: Mutex::new(Inner {
                door: None,
                holder: LifeId(0),
                last: LifeId(0),
                status,
                given: Vec::new(),
            }),
            inherited: Notify::new(),
            must_end: watch::Sender::new(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn status(&self) -> InstanceStatus {
        self.lock().status.clone()
    }

    /// Moves to another state.
    pub(crate) fn enter(&self, state: InstanceState) {
        self.lock().status.enter(state);
    }

    /// This life takes no more jobs, as there are none; if it holds the place, that is told from now on.
    pub(crate) fn unloading(&self, life: LifeId) {
        let mut inner = self.lock();
        if inner.holder == life {
            inner.status.enter(InstanceState::Unloaded);
        }
    }

    /// No process is here, as there is no work for one.
    pub(crate) fn unloaded(&self) {
        let mut inner = self.lock();
        if inner.status.state != InstanceState::Unloaded {
            inner.status.enter(InstanceState::Unloaded);
        }
        inner.status.pid = None;
    }

    /// A life begins in an empty place, and holds it.
    pub(crate) fn begin(&self) -> LifeId {
        let mut inner = self.lock();
        inner.last.0 += 1;
        inner.holder = inner.last;
        inner.status.enter(InstanceState::Starting);
        inner.last
    }

    /// A life begins that is to take the place over.
    pub(crate) fn begin_successor(&self, reason: RecycleReason) -> LifeId {
        let mut inner = self.lock();
        inner.last.0 += 1;
        inner.status.replacement.get_or_insert(Replacement {
            reason,
            pid: None,
            failures: 0,
            last_failure: None,
        });
        inner.last
    }

    /// The life that was to take over did not come up.
    pub(crate) fn successor_failed(&self, why: &DownReason) {
        if let Some(replacement) = &mut self.lock().status.replacement {
            replacement.pid = None;
            replacement.failures = replacement.failures.saturating_add(1);
            replacement.last_failure = Some(why.clone());
        }
    }

    /// The place is not being taken over any more.
    pub(crate) fn no_successor(&self) {
        self.lock().status.replacement = None;
    }

    /// The holder is gone; the life that was to take over has the place as one that began in it.
    pub(crate) fn inherit(&self, life: LifeId) {
        let mut inner = self.lock();
        inner.holder = life;
        inner.status.enter(InstanceState::Starting);
        inner.status.restarts += 1;
        inner.status.pid = inner.status.replacement.take().and_then(|r| r.pid);
        drop(inner);
        self.inherited.notify_one();
    }

    pub(crate) fn is_held_by(&self, life: LifeId) -> bool {
        self.lock().holder == life
    }

    pub(crate) fn note_pid(&self, life: LifeId, pid: u32) {
        let mut inner = self.lock();
        if inner.holder == life {
            inner.status.pid = Some(pid);
        } else if let Some(replacement) = &mut inner.status.replacement {
            replacement.pid = Some(pid);
        }
    }

    pub(crate) fn note_restart(&self) {
        self.lock().status.restarts += 1;
    }

    /// From now on this life takes jobs. One that is to take over a place whose door has just been closed waits until it
    /// has inherited it. Cancel-safe.
    pub(crate) async fn open(&self, life: LifeId, pid: u32, runtime: &str) -> Opened {
        loop {
            if let Some(opened) = self.try_open(life, pid, runtime) {
                return opened;
            }
            self.inherited.notified().await;
        }
    }

    fn try_open(&self, life: LifeId, pid: u32, runtime: &str) -> Option<Opened> {
        let mut inner = self.lock();
        let took_over = inner.holder != life;
        if took_over && inner.door.is_none() {
            return None;
        }
        let (sender, jobs) = mpsc::channel(SLOTS);
        inner.door = Some(Door {
            life,
            jobs: sender,
            credits: Arc::new(Semaphore::new(SLOTS)),
        });
        inner.holder = life;
        let status = &mut inner.status;
        status.enter(InstanceState::Ready);
        status.pid = Some(pid);
        status.runtime = Some(runtime.to_owned());
        status.replacement = None;
        status.recycled += u64::from(took_over);
        Some(Opened { jobs, took_over })
    }

    /// From now on this life takes no jobs. Those that came through before are in the receiver; none comes after.
    pub(crate) fn close(&self, life: LifeId) {
        let mut inner = self.lock();
        if inner.door.as_ref().is_some_and(|door| door.life == life) {
            inner.door = None;
        }
    }

    /// Takes a job if there is a credit for it.
    pub(crate) fn take(&self, job: Job) -> Result<(), NotTaken> {
        let mut inner = self.lock();
        let Some(door) = &inner.door else {
            return Err(NotTaken(job));
        };
        let Ok(credit) = door.credits.clone().try_acquire_owned() else {
            return Err(NotTaken(job));
        };
        let wanted = Arc::new(Wanted::all(job.items.len()));
        let entry = (job.batch, Arc::downgrade(&wanted));
        door.jobs
            .try_send(Given { job, credit, wanted })
            .map_err(|e| NotTaken(e.into_inner().job))?;
        inner.given.retain(|(_, wanted)| wanted.strong_count() > 0);
        inner.given.push(entry);
        Ok(())
    }

    /// Nobody wants this item of a batch any more, whichever life has it.
    pub(crate) fn cancel(&self, batch: BatchId, item: usize, why: Unwanted) {
        let found = {
            let inner = self.lock();
            let given = inner.given.iter().find(|(given, _)| *given == batch);
            given.and_then(|(_, wanted)| wanted.upgrade())
        };
        if found.is_some_and(|wanted| wanted.cancel(item, why)) {
            self.must_end.send_replace(());
        }
    }

    /// Changes when a life of this place must let go of a batch.
    pub(crate) fn must_end(&self) -> watch::Receiver<()> {
        self.must_end.subscribe()
    }
}

impl InstanceStatus {
    fn enter(&mut self, state: InstanceState) {
        // A replacement outlives who it is for by a moment, see `Place::inherit`.
        if matches!(state, InstanceState::Waiting { .. } | InstanceState::Stopped) {
            self.pid = None;
        }
        self.state = state;
        self.since = SystemTime::now();
    }
}
