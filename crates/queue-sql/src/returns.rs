//! Leases whose asker went away before it got them.
//!
//! A lease is committed before its asker hears of it. If the asker's future is dropped in between, nobody holds the
//! tasks, so the answer itself gives them back when it is dropped unread. Dropping cannot wait, so it leaves them in a
//! list that the writer empties before each group. The list holds no more than has been leased.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use cresset_queue::{Lease, Release};

use crate::inbox::Inbox;
use crate::op::Op;

/// The list, and the writer to wake.
#[derive(Debug)]
pub(crate) struct Returns {
    list: Mutex<Vec<Release>>,
    writer: Weak<Inbox<Op>>,
}

impl Returns {
    pub(crate) fn new(writer: Weak<Inbox<Op>>) -> Self {
        Self {
            list: Mutex::default(),
            writer,
        }
    }

    /// Leaves leases for the writer. Wakes it only if the list was empty, so wakes never pile up.
    fn give(&self, leases: impl Iterator<Item = Release>) {
        let mut list = self.list.lock().unwrap_or_else(PoisonError::into_inner);
        let wake = list.is_empty();
        list.extend(leases);
        drop(list);
        if wake && let Some(writer) = self.writer.upgrade() {
            // A closed store needs no wake: the next opening gives back every lease.
            let _closed = writer.nudge();
        }
    }

    /// Puts back what could not be released now, to be tried again later.
    pub(crate) fn put_back(&self, leases: Vec<Release>) {
        self.list
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(leases);
    }

    pub(crate) fn take(&self) -> Vec<Release> {
        std::mem::take(&mut *self.list.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.list
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty()
    }
}

/// Leases on their way to their asker.
#[derive(Debug)]
pub(crate) struct Given {
    leases: Vec<Lease>,
    returns: Arc<Returns>,
}

impl Given {
    pub(crate) fn new(leases: Vec<Lease>, returns: &Arc<Returns>) -> Self {
        Self {
            leases,
            returns: Arc::clone(returns),
        }
    }

    /// The asker has them.
    pub(crate) fn take(mut self) -> Vec<Lease> {
        std::mem::take(&mut self.leases)
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        if !self.leases.is_empty() {
            self.returns.give(self.leases.drain(..).map(|l| Release {
                id: l.id,
                attempt: l.attempt,
            }));
        }
    }
}
