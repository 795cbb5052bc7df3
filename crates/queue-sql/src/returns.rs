//! Leases on their way to their asker: they go back when it has gone (see `cresset_queue::kit`).

use std::sync::Arc;

use bytes::Bytes;
use cresset_queue::kit::{Returns, Stored};
use cresset_queue::{Lease, Release};

use crate::error::StoreError;
use crate::files::FileRef;

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
