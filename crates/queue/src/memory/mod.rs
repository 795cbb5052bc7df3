//! The ports in memory, for tests of whatever is built on them: held to all that the conformance suite asks, and told
//! what goes wrong. Not a backend to be shipped: nothing is on stable storage.
//!
//! [`Stable`] is what a disk would hold; it outlives the process, which is a [`MemoryStore`] on it, of which there is one at
//! a time. Every operation is one step under a lock; between the step and its call, and its answer, lies what the test's
//! [`Fates`] say: pauses, refusals, answers that get lost, deaths. With tokio's clock paused and a current-thread
//! runtime all of it is repeatable.

mod bulks;
mod fate;
mod letters;
mod listing;
mod outbox;
mod port;
mod revoke;
mod tables;

use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cresset_task::{TaskId, TaskRecord, Timestamp};

pub use self::fate::{Effect, Fate, Fates, NoFates, Pause};
pub use self::tables::PURGE_MAX;
use self::tables::Tables;
use crate::kit::Ttl;
use crate::{NewTask, QueueError, QueueErrorKind};

/// What outlives the process. Cheap to clone; clones are one.
#[derive(Clone, Debug)]
pub struct Stable {
    inner: Arc<Mutex<Inner>>,
    ttl: Ttl,
}

#[derive(Debug, Default)]
struct Inner {
    tables: Tables,
    /// The process that has it: those before it are dead.
    life: u64,
    closed: bool,
    /// Refused, and perhaps there: see [`Effect::Doubtful`].
    doubtful: Vec<NewTask>,
}

impl Stable {
    /// An empty one.
    #[must_use]
    pub fn new(ttl: Ttl) -> Self {
        Self {
            inner: Arc::default(),
            ttl,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here can panic halfway, so a poisoned lock is sound.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the process that has it, if it has not ended: what it still calls is answered `Closed` and does nothing.
    pub fn crash(&self) {
        let mut inner = self.lock();
        inner.life += 1;
    }

    /// Tasks that are leased.
    #[must_use]
    pub fn leased(&self) -> usize {
        self.lock().tables.leased()
    }

    /// All tasks that are there, in order of acceptance.
    #[must_use]
    pub fn records(&self) -> Vec<TaskRecord> {
        let inner = self.lock();
        inner
            .tables
            .tasks
            .values()
            .map(|task| task.record.clone())
            .collect()
    }
}

/// A process's hold on a [`Stable`].
#[derive(Debug)]
pub struct MemoryStore {
    stable: Stable,
    life: u64,
    fates: Arc<dyn Fates>,
}

impl MemoryStore {
    /// The store as a process finds it that starts at `now`: whoever had it before is dead, and its leases are queued again.
    #[must_use]
    pub fn open(stable: &Stable, fates: Arc<dyn Fates>, now: Timestamp) -> Self {
        let mut inner = stable.lock();
        inner.life += 1;
        let doubtful = std::mem::take(&mut inner.doubtful);
        if !inner.closed {
            for task in doubtful {
                inner.tables.submit(task, None);
            }
        }
        inner.closed = false;
        inner.tables.reopen(now);
        for record in inner.tables.take_changed() {
            fates.changed(&record);
        }
        Self {
            stable: stable.clone(),
            life: inner.life,
            fates,
        }
    }

    /// The tables, unless the store is closed or its process dead.
    fn enter(&self, operation: &'static str) -> Result<MutexGuard<'_, Inner>, QueueError> {
        let inner = self.stable.lock();
        if inner.closed || inner.life != self.life {
            return Err(QueueError::new(QueueErrorKind::Closed, operation, ""));
        }
        Ok(inner)
    }

    fn alive(&self, operation: &'static str) -> Result<(), QueueError> {
        self.enter(operation).map(drop)
    }

    fn read<T>(&self, operation: &'static str, work: impl FnOnce(&Tables) -> T) -> Result<T, QueueError> {
        Ok(work(&self.enter(operation)?.tables))
    }

    /// One step that changes something.
    fn step<T>(&self, operation: &'static str, work: impl FnOnce(&mut Tables) -> T) -> Result<T, QueueError> {
        let mut inner = self.enter(operation)?;
        inner.doubtful.clear();
        let done = work(&mut inner.tables);
        for record in inner.tables.take_changed() {
            self.fates.changed(&record);
        }
        Ok(done)
    }

    /// A call from its beginning to its answer.
    async fn call<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&mut Tables) -> T,
    ) -> Result<T, QueueError> {
        let Fate {
            before,
            effect,
            after,
        } = self.fates.fate(operation);
        before.take().await;
        let answer = match effect {
            Effect::Done => self.step(operation, work),
            Effect::Refused | Effect::Doubtful => {
                self.alive(operation)?;
                Err(refused(operation))
            }
            Effect::Lost => {
                self.step(operation, work)?;
                Err(refused(operation))
            }
            Effect::Dies { done } => {
                if done {
                    self.step(operation, work)?;
                }
                self.die().await
            }
        };
        after.take().await;
        answer
    }

    /// A question, which changes nothing.
    async fn ask<T>(
        &self,
        operation: &'static str,
        work: impl FnOnce(&Tables) -> T,
    ) -> Result<T, QueueError> {
        let Fate {
            before,
            effect,
            after,
        } = self.fates.fate(operation);
        before.take().await;
        let answer = match effect {
            Effect::Done => self.read(operation, work),
            Effect::Refused | Effect::Doubtful | Effect::Lost => {
                self.alive(operation)?;
                Err(refused(operation))
            }
            Effect::Dies { .. } => self.die().await,
        };
        after.take().await;
        answer
    }

    async fn die<T>(&self) -> T {
        self.stable.crash();
        self.fates.died();
        pending().await
    }
}

fn refused(operation: &'static str) -> QueueError {
    QueueError::new(QueueErrorKind::Unavailable, operation, "as the test wants it")
}

fn taken(operation: &'static str, id: TaskId) -> QueueError {
    QueueError::new(
        QueueErrorKind::Internal,
        operation,
        format!("the id {id} is taken"),
    )
}
