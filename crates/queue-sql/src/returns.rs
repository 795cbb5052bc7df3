//! Leases on their way to their asker: they go back when it has gone (see `cresset_queue::kit`).

use bytes::Bytes;
use cresset_queue::kit::{self, Stored};
use cresset_queue::{Lease, Unreadable};

use crate::error::StoreError;
use crate::files::FileRef;

/// A lease, and where its payload still is.
#[derive(Debug)]
pub(crate) struct Leased {
    pub(crate) lease: Lease,
    /// The kind of payload and its file; until it has been read from there, the lease has none.
    pub(crate) file: Option<(u8, FileRef)>,
}

impl Leased {
    /// Puts in what was read from the file, or that it is damaged; the error is trouble that will pass.
    pub(crate) fn fill(&mut self, content: Result<Bytes, StoreError>) -> Result<(), StoreError> {
        let Some((kind, _)) = self.file.take() else {
            return Ok(());
        };
        let payload = content.and_then(|bytes| Ok(Stored { kind, bytes }.as_payload()?));
        self.lease.payload = match payload {
            Err(StoreError::Damaged(why)) => Err(Unreadable(why)),
            payload => Ok(payload?),
        };
        Ok(())
    }
}

impl AsRef<Lease> for Leased {
    fn as_ref(&self) -> &Lease {
        &self.lease
    }
}

/// Leases on their way to their asker.
pub(crate) type Given = kit::Given<Leased>;
