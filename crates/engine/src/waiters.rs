//! Those who wait for the end of a task. A waiter is one entry in a map: no thread, no polling.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cresset_task::{Attempt, HISTORY_MAX, Outcome, Redelivery, State, TaskId, TaskRecord, Timestamp};
use tokio::sync::oneshot;

/// Maps are split so that waiters on different tasks seldom meet at one lock.
const SHARDS: usize = 16;

/// The news a waiter gets.
#[derive(Clone, Debug)]
pub(crate) enum News {
    /// The task has ended by its holder: what changed in the record the waiter has read before.
    Ended(Arc<Ended>),
    /// It has ended in another way, or may have: the store knows.
    Look,
}

/// What changes in a record at its end.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The attempt under which the task was leased for its last run.
    pub(crate) leased: Attempt,
    pub(crate) outcome: Outcome,
    pub(crate) started_at: Timestamp,
    pub(crate) finished_at: Timestamp,
    pub(crate) attempts: Attempt,
    pub(crate) version: Option<String>,
    /// What this holder of the lease adds to the task's history.
    pub(crate) history: Vec<Redelivery>,
    pub(crate) cached: bool,
}

impl Ended {
    /// Whether nothing but this end has happened to the task since its record was read: the record shows this lease, or the
    /// task queued for it.
    pub(crate) fn follows(&self, record: &TaskRecord) -> bool {
        match record.state {
            State::Started => record.attempts == self.leased,
            _ => record.attempts.next() == self.leased,
        }
    }

    /// Brings a record read before the end up to date.
    pub(crate) fn apply(&self, record: &mut TaskRecord) {
        if let Ok(state) = State::Started.after(self.outcome.as_move()) {
            record.state = state;
        }
        record.outcome = Some(self.outcome.clone());
        record.started_at = Some(self.started_at);
        record.finished_at = Some(self.finished_at);
        record.attempts = self.attempts;
        record.version.clone_from(&self.version);
        record.history.extend_from_slice(&self.history);
        let surplus = record.history.len().saturating_sub(HISTORY_MAX);
        record.history.drain(..surplus);
        record.due_at = None;
        record.cached = self.cached;
    }
}

type Shard = HashMap<TaskId, Vec<oneshot::Sender<News>>>;

/// All waiters of a server.
#[derive(Debug, Default)]
pub(crate) struct Waiters {
    shards: [Mutex<Shard>; SHARDS],
}

/// A place in the map; given up when dropped.
pub(crate) struct Waiting<'a> {
    waiters: &'a Waiters,
    id: TaskId,
    pub(crate) news: oneshot::Receiver<News>,
}

impl Waiters {
    fn shard(&self, id: TaskId) -> MutexGuard<'_, Shard> {
        // The last bytes of a version 7 id are random. Nothing here can panic halfway, so a poisoned lock is sound.
        let at = usize::from(id.as_bytes()[15]) % SHARDS;
        self.shards[at].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers before the record is read, so that an end in between is not missed.
    pub(crate) fn register(&self, id: TaskId) -> Waiting<'_> {
        let (tell, news) = oneshot::channel();
        self.shard(id).entry(id).or_default().push(tell);
        Waiting {
            waiters: self,
            id,
            news,
        }
    }

    /// True when somebody waits for this task.
    pub(crate) fn any(&self, id: TaskId) -> bool {
        self.shard(id).contains_key(&id)
    }

    /// Wakes everybody who waits for this task.
    pub(crate) fn wake(&self, id: TaskId, news: &News) {
        for waiter in self.shard(id).remove(&id).into_iter().flatten() {
            // An error means that this waiter has gone: nothing to tell.
            let _ = waiter.send(news.clone());
        }
    }

    /// Has everybody look, whatever they wait for.
    pub(crate) fn wake_all(&self) {
        for shard in &self.shards {
            let all = std::mem::take(&mut *shard.lock().unwrap_or_else(PoisonError::into_inner));
            for waiter in all.into_values().flatten() {
                let _ = waiter.send(News::Look);
            }
        }
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn len(&self) -> usize {
        self.shards
            .iter()
            .map(|s| s.lock().unwrap_or_else(PoisonError::into_inner).len())
            .sum()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.news.close();
        let mut shard = self.waiters.shard(self.id);
        if let Some(list) = shard.get_mut(&self.id) {
            list.retain(|waiter| !waiter.is_closed());
            if list.is_empty() {
                shard.remove(&self.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use cresset_task::Payload;

    use super::*;

    fn news() -> News {
        let at = Timestamp::from_micros(1);
        let outcome = Outcome::Success(Payload::Json(bytes::Bytes::from_static(b"1")));
        News::Ended(Arc::new(Ended {
            leased: Attempt(1),
            outcome,
            started_at: at,
            finished_at: at,
            attempts: Attempt(1),
            version: None,
            history: Vec::new(),
            cached: false,
        }))
    }

    #[test]
    fn every_waiter_of_a_task_is_woken_and_no_other() {
        let waiters = Waiters::default();
        let (one, two) = (TaskId::fresh(), TaskId::fresh());
        let (mut a, mut b, mut c) = (
            waiters.register(one),
            waiters.register(one),
            waiters.register(two),
        );
        waiters.wake(one, &news());
        assert!(a.news.try_recv().is_ok() && b.news.try_recv().is_ok());
        assert!(c.news.try_recv().is_err());
        assert!(!waiters.any(one) && waiters.any(two));
    }

    #[test]
    fn a_waiter_that_leaves_leaves_nothing_behind() {
        let waiters = Waiters::default();
        let id = TaskId::fresh();
        let stays = waiters.register(id);
        drop(waiters.register(id));
        assert_eq!(waiters.len(), 1);
        drop(stays);
        assert_eq!(waiters.len(), 0);
    }
}
