//! What becomes of all tasks, for those who watch the server as a whole.
//!
//! While nobody watches, nothing is written: telling costs one look at a flag. Who is too slow for what is kept is told that
//! there is a gap; what a task is like now is asked of the store.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cresset_batch::Moment;
use cresset_task::{Attempt, ModelName, State, TaskId, Timestamp};
use tokio::sync::watch;

use crate::engine::Engine;
use crate::live::{Found, Ring};

/// Changes that are kept for those who are slow or come back, some 100 bytes each: at 10,000 tasks a second a few tenths of a
/// second, which is what a reader may stall.
const KEPT_MAX: usize = 8192;
/// After the last watcher has gone they are still kept for this long, for one who only lost its connection.
const KEEP_FOR: Duration = Duration::from_secs(60);

/// A task has come to another state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The task.
    pub id: TaskId,
    /// Its model.
    pub model: ModelName,
    /// Where it is in its life now.
    pub state: State,
    /// The attempt that it is in, or was last in, 0 before the first; not known when it was revoked, nor of what another
    /// server did.
    pub attempt: Option<Attempt>,
    /// When that was told.
    pub at: Timestamp,
}

/// Where a watcher is: given back, it goes on there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchPlace {
    /// Which server; another one knows nothing of what this one told.
    pub server: i64,
    /// The first change that was not seen.
    pub next: u64,
}

/// What comes to a watcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// This.
    Change(Change),
    /// Changes that it has not seen, and will not: so many, of all models; not known when they were another server's.
    Gap(Option<u64>),
}

#[derive(Debug, Default)]
struct Inner {
    ring: Ring<Change>,
    watchers: usize,
    /// When to stop writing, while nobody watches.
    until: Moment,
}

/// See above.
#[derive(Debug)]
pub(crate) struct Bulletin {
    server: i64,
    /// Somebody watches, or did a moment ago.
    is_on: AtomicBool,
    inner: Mutex<Inner>,
    moved: watch::Sender<()>,
}

impl Bulletin {
    /// Of a server that starts now.
    pub(crate) fn new(now: Timestamp) -> Self {
        Self {
            server: now.as_micros(),
            is_on: AtomicBool::new(false),
            inner: Mutex::default(),
            moved: watch::Sender::new(()),
        }
    }

    pub(crate) fn tell(&self, now: Moment, change: impl FnOnce() -> Change) {
        if !self.is_on.load(Ordering::Relaxed) {
            return;
        }
        let mut inner = self.lock();
        if inner.watchers == 0 && inner.until <= now {
            self.is_on.store(false, Ordering::Relaxed);
            // The numbers go on: who comes back later is told of a gap.
            while inner.ring.pop().is_some() {}
            inner.ring.skip();
            return;
        }
        if inner.ring.len() == KEPT_MAX {
            inner.ring.pop();
        }
        inner.ring.push(change());
        drop(inner);
        self.moved.send_replace(());
    }

    /// Somebody watches from here on.
    fn join(&self) -> u64 {
        let mut inner = self.lock();
        inner.watchers += 1;
        // Under the lock, so that nothing turns it off again.
        if !self.is_on.swap(true, Ordering::Relaxed) {
            inner.ring.skip(); // what happened meanwhile was not written
        }
        inner.ring.next()
    }

    fn leave(&self, now: Moment) {
        let mut inner = self.lock();
        inner.watchers -= 1;
        inner.until = now.saturating_add(KEEP_FOR);
    }

    #[cfg(feature = "testing")]
    pub(crate) fn watchers(&self) -> usize {
        self.lock().watchers
    }

    // Nothing under the lock can panic halfway, so a poisoned one is sound.
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One who watches all tasks, or those of a model, or those that come to a state.
pub struct Watching {
    engine: Engine,
    model: Option<ModelName>,
    state: Option<State>,
    next: u64,
    /// It comes from another server.
    is_lost: bool,
    bell: watch::Receiver<()>,
}

impl Engine {
    /// Watches what becomes of tasks from now on, or from where an earlier watcher was.
    #[must_use]
    pub fn watch_tasks(
        &self,
        model: Option<ModelName>,
        state: Option<State>,
        from: Option<WatchPlace>,
    ) -> Watching {
        let bulletin = &self.inner.shared.bulletin;
        let bell = bulletin.moved.subscribe();
        let now = bulletin.join();
        let (next, is_lost) = match from {
            None => (now, false),
            Some(place) if place.server == bulletin.server && place.next <= now => (place.next, false),
            Some(_) => (now, true),
        };
        Watching {
            engine: self.clone(),
            model,
            state,
            next,
            is_lost,
            bell,
        }
    }
}

impl Watching {
    /// What is next; `None` when the server is told to stop. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Watched> {
        let engine = self.engine.clone();
        let shared = &engine.inner.shared;
        loop {
            // Before it is read: what comes meanwhile rings again.
            self.bell.borrow_and_update();
            if let Some(watched) = self.read(&shared.bulletin) {
                return Some(watched);
            }
            tokio::select! {
                biased;
                () = shared.draining.cancelled() => return None,
                changed = self.bell.changed() => if changed.is_err() {
                    return None; // the sender is the engine's, and we hold that
                },
            }
        }
    }

    /// Where it is: what came last is before it.
    #[must_use]
    pub fn place(&self) -> WatchPlace {
        WatchPlace {
            server: self.engine.inner.shared.bulletin.server,
            next: self.next,
        }
    }

    fn read(&mut self, bulletin: &Bulletin) -> Option<Watched> {
        if std::mem::take(&mut self.is_lost) {
            return Some(Watched::Gap(None));
        }
        let inner = bulletin.lock();
        loop {
            match inner.ring.get(self.next) {
                Found::Here(change) => {
                    self.next += 1;
                    let is_meant = self.model.as_ref().is_none_or(|model| *model == change.model)
                        && self.state.is_none_or(|state| state == change.state);
                    if is_meant {
                        return Some(Watched::Change(change.clone()));
                    }
                }
                Found::Gone(first) => {
                    let missed = first - std::mem::replace(&mut self.next, first);
                    return Some(Watched::Gap(Some(missed)));
                }
                Found::ToCome => return None,
            }
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let shared = &self.engine.inner.shared;
        shared.bulletin.leave(shared.now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change() -> Change {
        Change {
            id: TaskId::fresh(),
            model: "m".parse().expect("a name"),
            state: State::Pending,
            attempt: None,
            at: Timestamp::from_micros(1),
        }
    }

    #[test]
    fn while_nobody_watches_nothing_is_written() {
        let bulletin = Bulletin::new(Timestamp::from_micros(1));
        bulletin.tell(Moment::ZERO, || panic!("nobody watches"));
        let next = bulletin.join();
        bulletin.tell(Moment::ZERO, change);
        bulletin.leave(Moment::ZERO);
        bulletin.tell(KEEP_FOR / 2, change);
        assert!(matches!(bulletin.lock().ring.get(next + 1), Found::Here(_)));
        bulletin.tell(KEEP_FOR, || panic!("for long nobody has watched"));
        assert!(
            matches!(bulletin.lock().ring.get(next), Found::Gone(_)),
            "and it is told"
        );
        let now = bulletin.join();
        assert!(now > next + 2);
        assert_eq!(bulletin.lock().ring.get(now), Found::ToCome);
    }

    #[test]
    fn who_is_too_slow_is_told_how_much_it_missed() {
        let bulletin = Bulletin::new(Timestamp::from_micros(1));
        let next = bulletin.join();
        (0..KEPT_MAX + 10).for_each(|_| bulletin.tell(Moment::ZERO, change));
        assert_eq!(bulletin.lock().ring.get(next), Found::Gone(next + 10));
        assert_eq!(bulletin.lock().ring.len(), KEPT_MAX);
    }
}
