//! Following a task from state to state, and what its model says of it in between (see `live`).
//!
//! A follower is told that its task has moved, and reads it then: what it sees is what the store says, after a restart and for
//! one who comes back too. So a state that passed before it was read is not seen; the end always is. Nothing is kept here for
//! those who are slow.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cresset_task::{Revision, TaskId};
use tokio::sync::{Notify, watch};

use crate::api::{EngineError, TaskView};
use crate::engine::Engine;
use crate::live::{Cursor, Feed, Piece, Seen};
use crate::shared::Shared;
use crate::waiters::News;

/// All followers of a server.
#[derive(Debug, Default)]
pub(crate) struct Followers {
    /// Looked at without the lock: mostly nobody follows, and every lease asks.
    count: AtomicUsize,
    tasks: Mutex<HashMap<TaskId, Vec<Arc<Notify>>>>,
}

impl Followers {
    /// Tells those who follow this task that the store has it in another state now.
    pub(crate) fn moved(&self, id: TaskId) {
        if self.count.load(Ordering::SeqCst) == 0 {
            return;
        }
        for follower in self.lock().get(&id).into_iter().flatten() {
            // It keeps one call for who is not waiting at the moment.
            follower.notify_one();
        }
    }

    /// Tells all of them that their tasks may have moved.
    pub(crate) fn all_moved(&self) {
        self.lock()
            .values()
            .flatten()
            .for_each(|follower| follower.notify_one());
    }

    fn join(&self, id: TaskId) -> Arc<Notify> {
        let follower = Arc::new(Notify::new());
        self.lock().entry(id).or_default().push(Arc::clone(&follower));
        self.count.fetch_add(1, Ordering::SeqCst);
        follower
    }

    fn leave(&self, id: TaskId, follower: &Arc<Notify>) {
        self.count.fetch_sub(1, Ordering::SeqCst);
        let mut tasks = self.lock();
        if let Some(list) = tasks.get_mut(&id) {
            list.retain(|other| !Arc::ptr_eq(other, follower));
            if list.is_empty() {
                tasks.remove(&id);
            }
        }
    }

    #[cfg(feature = "testing")]
    pub(crate) fn len(&self) -> usize {
        self.lock().values().map(Vec::len).sum()
    }

    // Nothing under the lock can panic halfway, so a poisoned one is sound.
    fn lock(&self) -> MutexGuard<'_, HashMap<TaskId, Vec<Arc<Notify>>>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a follower is shown.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The task is in a state that was not shown.
    State(Box<TaskView>),
    /// Its model has said something of it.
    Live(Piece),
}

/// How far a follower has come with its task; given back, it goes on there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The task, when it was last shown.
    pub revision: Option<Revision>,
    /// Up to where the pieces of its result were.
    pub cursor: Cursor,
}

/// One task, followed until its end.
pub struct Following {
    engine: Engine,
    id: TaskId,
    moved: Arc<Notify>,
    revision: Option<Revision>,
    seen: Seen,
    /// What its model says, and the bell that rings when that is more.
    feed: Option<(Arc<Feed>, watch::Receiver<()>)>,
    /// The task was read since it last moved.
    is_read: bool,
    /// The end, to be shown after the last piece.
    end: Option<Box<TaskView>>,
    ended: bool,
}

impl Engine {
    /// Follows a task. With the place of an earlier follower, only what came after that is shown.
    #[must_use]
    pub fn follow(&self, id: TaskId, from: Place) -> Following {
        Following {
            engine: self.clone(),
            id,
            // Before the record is first read, so that nothing falls between.
            moved: self.inner.shared.followers.join(id),
            revision: from.revision,
            seen: Seen::up_to(from.cursor),
            feed: None,
            is_read: false,
            end: None,
            ended: false,
        }
    }
}

impl Following {
    /// With the lines that its model writes about it, from the first that is kept.
    #[must_use]
    pub fn with_lines(mut self) -> Self {
        self.seen = self.seen.with_lines();
        self
    }

    /// What is next: a state that has not been shown, or what the model says; `None` when the task has ended, and that was
    /// shown, or when the server is told to stop. The end comes last. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Option<Event>, EngineError> {
        let engine = self.engine.clone();
        let shared: &Shared = &engine.inner.shared;
        loop {
            if let Some(piece) = self.piece() {
                return Ok(Some(Event::Live(piece)));
            }
            if let Some(end) = self.end.take() {
                return Ok(Some(Event::State(end)));
            }
            if self.ended {
                return Ok(None);
            }
            if self.is_read {
                // What its model says does not move it: the store need not be asked for each piece.
                tokio::select! {
                    biased;
                    () = shared.draining.cancelled() => return Ok(None),
                    () = self.moved.notified() => self.is_read = false,
                    () = rings(&mut self.feed) => {}
                }
                continue;
            }
            let mut waiting = shared.waiters.register(self.id);
            let mut view = engine.task(self.id).await?;
            let found = self.look_for_feed(shared);
            if self.is_news(&view) {
                if let Some(event) = self.show(view) {
                    return Ok(Some(event));
                }
                continue;
            }
            if found || self.ended {
                continue; // what it says rang before we had the bell
            }
            tokio::select! {
                biased;
                // An end is told with what it is: thousands who follow one task need not read it each.
                Ok(news) = &mut waiting.news => if let News::Ended(ended) = news
                    && ended.follows(&view.record)
                {
                    ended.apply(&mut view.record);
                    view.queue_position = None;
                    view.progress = None;
                    // Its feed may have begun since.
                    self.look_for_feed(shared);
                    if self.is_news(&view)
                        && let Some(event) = self.show(view)
                    {
                        return Ok(Some(event));
                    }
                },
                () = shared.draining.cancelled() => return Ok(None),
                () = self.moved.notified() => {}
                () = rings(&mut self.feed) => self.is_read = true,
            }
        }
    }

    /// Where it is: what was shown last is before it.
    #[must_use]
    pub fn place(&self) -> Place {
        Place {
            revision: self.revision,
            cursor: self.seen.cursor,
        }
    }

    fn piece(&mut self) -> Option<Piece> {
        let (feed, bell) = self.feed.as_mut()?;
        // Before it is read: what comes meanwhile rings again.
        bell.borrow_and_update();
        feed.next(&mut self.seen)
    }

    /// A run that says something is found by those who look after it has begun to. True when it was not known.
    fn look_for_feed(&mut self, shared: &Shared) -> bool {
        let Some(found) = shared.feeds.of(self.id) else {
            return false;
        };
        let is_known = self
            .feed
            .as_ref()
            .is_some_and(|(feed, _)| Arc::ptr_eq(feed, &found));
        if !is_known {
            let bell = found.bell();
            self.seen.turn_to_another();
            self.feed = Some((found, bell));
        }
        !is_known
    }

    /// Whether this has not been shown.
    fn is_news(&mut self, view: &TaskView) -> bool {
        self.ended = view.record.state.is_terminal();
        self.revision.is_none_or(|seen| seen < view.record.revision())
    }

    /// Shows it; an end waits for the last piece.
    fn show(&mut self, view: TaskView) -> Option<Event> {
        self.revision = Some(view.record.revision());
        let view = Box::new(view);
        if self.ended {
            self.end = Some(view);
            return None;
        }
        Some(Event::State(view))
    }
}

/// When there is something new; never where nothing is said. Cancel-safe.
async fn rings(feed: &mut Option<(Arc<Feed>, watch::Receiver<()>)>) {
    if let Some((_, bell)) = feed
        && bell.changed().await.is_ok()
    {
        return;
    }
    // The bell fails only when the feed is dropped, and we hold it.
    std::future::pending().await
}

impl Drop for Following {
    fn drop(&mut self) {
        self.engine.inner.shared.followers.leave(self.id, &self.moved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_leaves_leaves_nothing_behind() {
        let followers = Followers::default();
        let id = TaskId::fresh();
        let (one, two) = (followers.join(id), followers.join(id));
        followers.leave(id, &one);
        assert_eq!(followers.lock()[&id].len(), 1);
        followers.leave(id, &two);
        assert!(followers.lock().is_empty());
        assert_eq!(followers.count.load(Ordering::SeqCst), 0);
    }
}
