//! Leases whose asker went away before it got them.
//!
//! A lease is committed before its asker hears of it. If the asker's future is dropped in between, nobody holds the
//! tasks, so the answer itself gives them back when it is dropped unread. Dropping cannot wait, so it leaves them in a
//! list that the writer empties before each group. The list holds no more than has been leased.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Lease, Release};

/// The list, and how the writer is woken.
pub struct Returns {
    list: Mutex<Vec<Release>>,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Returns {
    /// An empty one. `wake` is called when there is something in it that was not before, and must not wait.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            list: Mutex::default(),
            wake: Box::new(wake),
        }
    }

    fn list(&self) -> MutexGuard<'_, Vec<Release>> {
        self.list.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leaves leases for the writer. Wakes it only if the list was empty, so wakes never pile up.
    fn give(&self, leases: impl Iterator<Item = Release>) {
        let mut list = self.list();
        let wake = list.is_empty();
        list.extend(leases);
        drop(list);
        if wake {
            (self.wake)();
        }
    }

    /// Puts back what could not be released now, to be tried again later.
    pub fn put_back(&self, leases: Vec<Release>) {
        self.list().extend(leases);
    }

    /// All of it.
    #[must_use]
    pub fn take(&self) -> Vec<Release> {
        std::mem::take(&mut *self.list())
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list().is_empty()
    }
}

impl fmt::Debug for Returns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Returns")
            .field("waiting", &self.list().len())
            .finish_non_exhaustive()
    }
}

/// Leases on their way to their asker, each as the backend has it; they go back when it has gone.
#[derive(Debug)]
pub struct Given<L: AsRef<Lease>> {
    leases: Vec<L>,
    returns: Arc<Returns>,
}

impl<L: AsRef<Lease>> Given<L> {
    /// These.
    #[must_use]
    pub fn new(leases: Vec<L>, returns: &Arc<Returns>) -> Self {
        Self {
            leases,
            returns: Arc::clone(returns),
        }
    }

    /// What there is to be given.
    #[must_use]
    pub fn leases(&self) -> &[L] {
        &self.leases
    }

    /// The same, to be worked on. What is taken out is held by whoever did so.
    pub fn leases_mut(&mut self) -> &mut Vec<L> {
        &mut self.leases
    }

    /// The asker has them.
    #[must_use]
    pub fn take(mut self) -> Vec<L> {
        std::mem::take(&mut self.leases)
    }
}

impl<L: AsRef<Lease>> Drop for Given<L> {
    fn drop(&mut self) {
        if !self.leases.is_empty() {
            self.returns.give(self.leases.drain(..).map(|given| {
                let lease = given.as_ref();
                Release {
                    id: lease.id,
                    attempt: lease.attempt,
                }
            }));
        }
    }
}
