//! Leases whose asker went away before it got them.
//!
//! A lease is committed before its asker hears of it. If the asker's future is dropped in between, nobody holds the
//! tasks, so the answer itself gives them back when it is dropped unread. Dropping cannot wait, so it leaves them in a
//! list that the writer empties before each group. The list holds no more than has been leased.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use cresset_queue::{Lease, Release};

use crate::codec::Stored;
use crate::error::StoreError;
use crate::files::FileRef;
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

/// A lease, and where its payload still is.
#[derive(Debug)]
pub(crate) struct Leased {
    pub(crate) lease: Lease,
    /// The kind of payload and its file; until it has been read from there, the lease's payload is empty.
    pub(crate) file: Option<(u8, FileRef)>,
}

impl Leased {
    /// Puts in what was read from the file.
    pub(crate) fn fill(&mut self, kind: u8, content: Result<Bytes, StoreError>) -> Result<(), StoreError> {
        let stored = Stored {
            kind,
            bytes: content?,
        };
        self.lease.payload = stored.as_payload()?;
        self.file = None;
        Ok(())
    }

    /// True when nothing of it is still in a file.
    pub(crate) fn is_whole(&self) -> bool {
        self.file.is_none()
    }
}

/// Leases on their way to their asker.
#[derive(Debug)]
pub(crate) struct Given {
    leases: Vec<Leased>,
    returns: Arc<Returns>,
}

impl Given {
    pub(crate) fn new(leases: Vec<Leased>, returns: &Arc<Returns>) -> Self {
        Self {
            leases,
            returns: Arc::clone(returns),
        }
    }

    pub(crate) fn leases(&self) -> &[Leased] {
        &self.leases
    }

    pub(crate) fn leases_mut(&mut self) -> &mut Vec<Leased> {
        &mut self.leases
    }

    /// The asker has them.
    pub(crate) fn take(mut self) -> Vec<Lease> {
        std::mem::take(&mut self.leases)
            .into_iter()
            .map(|leased| leased.lease)
            .collect()
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        if !self.leases.is_empty() {
            self.returns.give(self.leases.drain(..).map(|l| Release {
                id: l.lease.id,
                attempt: l.lease.attempt,
            }));
        }
    }
}
