//! The place of one instance: what the pool and the supervisor of that place share.
//!
//! The door is open exactly while an instance is ready. Through it go jobs with their credits; behind it there is no
//! queue, since there are only as many credits as slots.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use cresset_task::InstanceId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::layout::SLOTS;
use crate::port::{InstanceState, InstanceStatus, Job, NotTaken};

/// A job, and the right to have it in an instance. The credit is given back before the job's end is announced.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) job: Job,
    pub(crate) credit: OwnedSemaphorePermit,
}

struct Door {
    jobs: mpsc::Sender<Given>,
    credits: Arc<Semaphore>,
}

/// One place.
pub(crate) struct Place {
    pub(crate) id: InstanceId,
    pub(crate) device: String,
    door: Mutex<Option<Door>>,
    status: Mutex<InstanceStatus>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
            runtime: None,
        };
        Self {
            id,
            device,
            door: Mutex::new(None),
            status: Mutex::new(status),
        }
    }

    pub(crate) fn status(&self) -> InstanceStatus {
        lock(&self.status).clone()
    }

    /// Moves to another state.
    pub(crate) fn enter(&self, state: InstanceState) {
        let mut status = lock(&self.status);
        if matches!(state, InstanceState::Waiting { .. } | InstanceState::Stopped) {
            status.pid = None;
        }
        status.state = state;
        status.since = SystemTime::now();
    }

    pub(crate) fn note_pid(&self, pid: u32) {
        lock(&self.status).pid = Some(pid);
    }

    pub(crate) fn note_runtime(&self, runtime: String) {
        lock(&self.status).runtime = Some(runtime);
    }

    pub(crate) fn note_restart(&self) {
        lock(&self.status).restarts += 1;
    }

    /// From now on jobs are taken.
    pub(crate) fn open(&self) -> mpsc::Receiver<Given> {
        let (jobs, receiver) = mpsc::channel(SLOTS);
        *lock(&self.door) = Some(Door {
            jobs,
            credits: Arc::new(Semaphore::new(SLOTS)),
        });
        receiver
    }

    /// From now on none are. Jobs that came through before are in the receiver; none comes after.
    pub(crate) fn close(&self) {
        *lock(&self.door) = None;
    }

    /// Takes a job if there is a credit for it.
    pub(crate) fn take(&self, job: Job) -> Result<(), NotTaken> {
        let door = lock(&self.door);
        let Some(door) = &*door else {
            return Err(NotTaken(job));
        };
        let Ok(credit) = door.credits.clone().try_acquire_owned() else {
            return Err(NotTaken(job));
        };
        door.jobs
            .try_send(Given { job, credit })
            .map_err(|e| NotTaken(e.into_inner().job))
    }
}
