//! Following a task from state to state.
//!
//! A follower is told that its task has moved, and reads it then: what it sees is what the store says, after a restart and for
//! one who comes back too. So a state that passed before it was read is not seen; the end always is. Nothing is kept here for
//! those who are slow.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cresset_task::{Revision, TaskId};
use tokio::sync::Notify;

use crate::api::{EngineError, TaskView};
use crate::engine::Engine;
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

/// One task, followed until its end.
pub struct Following {
    engine: Engine,
    id: TaskId,
    moved: Arc<Notify>,
    seen: Option<Revision>,
    ended: bool,
}

impl Engine {
    /// Follows a task. With `seen`, which an earlier follower was shown last, only what came after that is shown.
    #[must_use]
    pub fn follow(&self, id: TaskId, seen: Option<Revision>) -> Following {
        Following {
            engine: self.clone(),
            id,
            // Before the record is first read, so that nothing falls between.
            moved: self.inner.shared.followers.join(id),
            seen,
            ended: false,
        }
    }
}

impl Following {
    /// The task, as soon as it is in a state that has not been shown; `None` when it has ended, and that was shown, or when
    /// the server is told to stop. Dropping the future loses nothing.
    pub async fn next(&mut self) -> Result<Option<TaskView>, EngineError> {
        let engine = self.engine.clone();
        let shared: &Shared = &engine.inner.shared;
        while !self.ended {
            let mut waiting = shared.waiters.register(self.id);
            let mut view = engine.task(self.id).await?;
            if self.is_news(&view) {
                return Ok(Some(view));
            }
            if self.ended {
                break;
            }
            tokio::select! {
                biased;
                // An end is told with what it is: thousands who follow one task need not read it each.
                Ok(news) = &mut waiting.news => if let News::Ended(ended) = news
                    && ended.follows(&view.record)
                {
                    ended.apply(&mut view.record);
                    view.queue_position = None;
                    if self.is_news(&view) {
                        return Ok(Some(view));
                    }
                },
                () = shared.draining.cancelled() => break,
                () = self.moved.notified() => {}
            }
        }
        Ok(None)
    }

    /// Whether this has not been shown. It has been now.
    fn is_news(&mut self, view: &TaskView) -> bool {
        let revision = view.record.revision();
        self.ended = view.record.state.is_terminal();
        let is_news = self.seen.is_none_or(|seen| seen < revision);
        if is_news {
            self.seen = Some(revision);
        }
        is_news
    }
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
