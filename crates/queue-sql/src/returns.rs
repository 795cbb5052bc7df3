//! Leases on their way to their asker: they go back when it has gone (see `cresset_queue::kit`).

use bytes::Bytes;
use cresset_queue::Lease;
use cresset_queue::kit::{self, Stored};

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

impl AsRef<Lease> for Leased {
    fn as_ref(&self) -> &Lease {
        &self.lease
    }
}

/// Leases on their way to their asker.
pub(crate) type Given = kit::Given<Leased>;
