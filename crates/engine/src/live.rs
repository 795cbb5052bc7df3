//! What models say of their work before its end: how far an item has come, the pieces of its result, and lines about it.
//!
//! It is kept in memory only, and within bounds: of the running tasks that said something, and for a short while of those that
//! have just ended, for readers who come late or come back. The store knows nothing of it. After a crash it is gone, and so
//! are the runs that it was of.

mod feed;
mod ring;
mod shelf;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cresset_batch::Moment;
use cresset_task::{Attempt, TaskId, Timestamp};

use crate::shared::Shared;

pub use feed::{Cursor, Line, Piece, Progress};
pub(crate) use feed::{Feed, Seen};
pub(crate) use ring::{Found, Ring};

/// The pieces of a task that has ended are kept for this long, for one who has just submitted it and begins to read, or lost
/// the connection: from then on the result stands for them.
const LINGER: Duration = Duration::from_secs(10);
/// Ended tasks that are kept so, at most. Each is some 200 bytes beside its pieces and lines, which have a bound of their own.
const LINGERING_MAX: usize = 4096;

/// Bytes of all pieces and lines that are kept.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    max: usize,
}

impl Budget {
    pub(crate) fn new(max: usize) -> Self {
        Self {
            used: AtomicUsize::new(0),
            max,
        }
    }

    /// False, and nothing is taken, when there is not so much left.
    fn take(&self, bytes: usize) -> bool {
        let grown = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.max);
        self.used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown)
            .is_ok()
    }

    fn give(&self, bytes: usize) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

/// The feeds of all tasks.
#[derive(Debug)]
pub(crate) struct Feeds {
    /// Looked at without the lock: mostly no model says anything, and every look at a running task asks.
    count: AtomicUsize,
    inner: Mutex<Inner>,
    pub(crate) budget: Arc<Budget>,
}

#[derive(Debug, Default)]
struct Inner {
    tasks: HashMap<TaskId, Arc<Feed>>,
    /// Ended, until when each is kept; the oldest first.
    over: VecDeque<(Moment, TaskId, Arc<Feed>)>,
}

impl Inner {
    fn let_go(&mut self) {
        if let Some((_, id, feed)) = self.over.pop_front()
            && self.tasks.get(&id).is_some_and(|kept| Arc::ptr_eq(kept, &feed))
        {
            self.tasks.remove(&id);
        }
    }

    fn purge(&mut self, now: Moment) {
        while self.over.len() > LINGERING_MAX || self.over.front().is_some_and(|(until, ..)| *until <= now) {
            self.let_go();
        }
    }
}

impl Feeds {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self {
            count: AtomicUsize::new(0),
            inner: Mutex::default(),
            budget: Arc::new(Budget::new(max_bytes)),
        }
    }

    /// What the model says of this task, if it has said something.
    pub(crate) fn of(&self, id: TaskId) -> Option<Arc<Feed>> {
        if self.count.load(Ordering::SeqCst) == 0 {
            return None;
        }
        self.lock().tasks.get(&id).map(Arc::clone)
    }

    /// A run of this task has said something: from now on readers find it.
    fn open(&self, id: TaskId, feed: &Arc<Feed>, now: Moment) {
        let mut inner = self.lock();
        inner.purge(now);
        inner.tasks.insert(id, Arc::clone(feed));
        self.note(&inner);
    }

    /// The run is over.
    fn close(&self, id: TaskId, feed: &Arc<Feed>, now: Moment) {
        feed.over();
        let mut inner = self.lock();
        inner
            .over
            .push_back((now.saturating_add(LINGER), id, Arc::clone(feed)));
        inner.purge(now);
        self.note(&inner);
    }

    /// Lets go of those whose time is over.
    pub(crate) fn purge(&self, now: Moment) {
        let mut inner = self.lock();
        inner.purge(now);
        self.note(&inner);
    }

    /// Lets go of all that have ended: there is no room for those that run.
    pub(crate) fn squeeze(&self) {
        let mut inner = self.lock();
        while !inner.over.is_empty() {
            inner.let_go();
        }
        self.note(&inner);
    }

    fn note(&self, inner: &Inner) {
        self.count.store(inner.tasks.len(), Ordering::SeqCst);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().tasks.len()
    }

    // Nothing under the lock can panic halfway, so a poisoned one is sound.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An item's part in it: the feed that its runs write to. When the item goes, in whatever way, its run is over.
pub(crate) struct Voice {
    pub(crate) feed: Arc<Feed>,
    task: Option<(Arc<Shared>, TaskId)>,
}

impl Voice {
    /// Of a prediction: only who called reads along.
    pub(crate) fn of_call(feed: Arc<Feed>) -> Self {
        Self { feed, task: None }
    }

    /// Of a task, which readers find by its id: those who are there already are told. So many pieces of it came before, unheard.
    pub(crate) fn of_task(
        shared: &Arc<Shared>,
        id: TaskId,
        attempt: Attempt,
        limit: usize,
        unheard: u64,
    ) -> Self {
        let budget = Arc::clone(&shared.feeds.budget);
        let feed = Arc::new(Feed::new(budget, limit, attempt, Timestamp::now()));
        feed.miss(unheard);
        shared.feeds.open(id, &feed, shared.now());
        shared.followers.moved(id);
        Self {
            feed,
            task: Some((Arc::clone(shared), id)),
        }
    }
}

impl Drop for Voice {
    fn drop(&mut self) {
        if let Some((shared, id)) = &self.task {
            shared.feeds.close(*id, &self.feed, shared.now());
        }
    }
}

impl std::fmt::Debug for Voice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Voice").field(&self.feed).finish()
    }
}

#[cfg(test)]
mod tests;
