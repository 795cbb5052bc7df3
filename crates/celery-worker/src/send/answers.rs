//! Where results of our tasks come from, and who waits for which.
//!
//! Promises: what is said of a task after [`Answers::expect`] has returned is told to whoever expects it, also when a connection is
//! lost and made again meanwhile; of several things the newest, and an end for good.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use cresset_celery::Told;
use tokio::sync::watch;

use crate::transport::Trouble;

/// A result backend, to whoever waits for results.
#[async_trait]
pub(crate) trait Answers: Send + Sync + 'static {
    /// Whether it can be used.
    async fn check(&self) -> Result<(), Trouble>;

    /// Listens from now on.
    async fn expect(&self, id: &str) -> Result<Expected, Trouble>;

    /// The end that is known of a task already.
    async fn stored(&self, id: &str) -> Result<Option<Told>, Trouble>;

    /// An end that we have taken is not to be taken again: the task is tried once more.
    async fn forget(&self, id: &str) -> Result<(), Trouble>;

    /// Counts how often what was sent may have been lost without anybody's having seen the backend away: it is another one than it was. `None`: that
    /// cannot be.
    fn moves(&self) -> Option<watch::Receiver<u64>> {
        None
    }

    /// The queue that results go to, where they go to one.
    fn reply_to(&self) -> Option<&str>;
}

/// Who waits for what.
#[derive(Default)]
pub(crate) struct Desk(Mutex<HashMap<String, Wanted>>);

/// What is said of one task, and how many wait for it.
struct Wanted {
    said: watch::Sender<Option<Told>>,
    waiting: usize,
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Wanted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whatever is told of this task from now on, and what was told last to others who wait for it.
    pub(crate) fn wait(self: &Arc<Self>, id: &str, left: impl FnOnce(&str) + Send + 'static) -> Expected {
        let said = {
            let mut desk = self.lock();
            let wanted = desk.entry(id.to_owned()).or_insert_with(|| Wanted {
                said: watch::Sender::new(None),
                waiting: 0,
            });
            wanted.waiting += 1;
            wanted.said.subscribe()
        };
        let mut expected = Expected {
            id: id.to_owned(),
            said,
            desk: Arc::clone(self),
            left: Some(Box::new(left)),
        };
        if expected.said.borrow().is_some() {
            expected.said.mark_changed();
        }
        expected
    }

    /// Somebody waits for it.
    pub(crate) fn knows(&self, id: &str) -> bool {
        self.lock().contains_key(id)
    }

    /// All that is waited for.
    pub(crate) fn ids(&self) -> Vec<String> {
        self.lock().keys().cloned().collect()
    }

    /// Tells whoever waits; gives it back if nobody does. After an end nothing is told.
    pub(crate) fn tell(&self, id: &str, told: Told) -> Result<(), Told> {
        let desk = self.lock();
        let Some(wanted) = desk.get(id) else {
            return Err(told);
        };
        wanted.said.send_if_modified(|said| {
            let is_news = !said.as_ref().is_some_and(Told::is_end);
            if is_news {
                *said = Some(told);
            }
            is_news
        });
        Ok(())
    }
}

/// Told that nobody waits for a task any more.
type Leave = Box<dyn FnOnce(&str) + Send>;

/// What is said of one task.
pub(crate) struct Expected {
    id: String,
    said: watch::Receiver<Option<Told>>,
    desk: Arc<Desk>,
    left: Option<Leave>,
}

impl Expected {
    /// The next thing that is said, the newest of several.
    pub(crate) async fn next(&mut self) -> Told {
        // The sender is on the desk as long as we are.
        if self.said.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
        let said = self.said.borrow_and_update().clone();
        match said {
            Some(told) => told,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Expected {
    fn drop(&mut self) {
        {
            let mut desk = self.desk.lock();
            // Another may wait for the same: the one that is gone soon, or the one after it.
            if let Some(wanted) = desk.get_mut(&self.id) {
                wanted.waiting -= 1;
                if wanted.waiting == 0 {
                    desk.remove(&self.id);
                }
            }
        }
        if let Some(left) = self.left.take() {
            left(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(text: &str) -> Told {
        Told::Success(text.into())
    }

    #[tokio::test]
    async fn the_newest_is_told_and_an_end_for_good() {
        let desk = Arc::new(Desk::default());
        let mut one = desk.wait("1", |_| ());
        assert_eq!(desk.tell("2", done("0")), Err(done("0")), "nobody waits for it");
        for told in [Told::Going(0.1, None), Told::Going(0.2, None)] {
            desk.tell("1", told).unwrap();
        }
        assert_eq!(one.next().await, Told::Going(0.2, None));
        for told in [done("a"), Told::Going(0.3, None), done("b")] {
            desk.tell("1", told).unwrap();
        }
        assert_eq!(one.next().await, done("a"));
        assert_eq!(desk.ids(), ["1"]);
        let mut other = desk.wait("1", |_| ());
        drop(one);
        assert_eq!(
            other.next().await,
            done("a"),
            "whoever comes later is told, and stays"
        );
        assert!(desk.knows("1"));
        drop(other);
        assert!(!desk.knows("1"));
    }
}
