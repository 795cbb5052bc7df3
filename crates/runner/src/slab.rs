//! The tensors' memory: what is shared with an instance that takes tensors, divided into slots. Where things lie in it is
//! `layout`'s, what is written there `batch`'s, and how memory is shared at all `memfd`'s.

use std::io;
use std::os::fd::OwnedFd;

use bytes::Bytes;

use crate::memfd::{Outside, SharedMemory};
use crate::wire::SlabInfo;

/// A mapped slab. Unmapped when dropped; the instance keeps its own mapping.
#[derive(Debug)]
pub(crate) struct Slab {
    memory: SharedMemory,
    info: SlabInfo,
}

impl Slab {
    /// A fresh, zeroed, sealed slab, and the descriptor to send to the instance. Takes time for large slabs: call it
    /// where blocking is allowed.
    pub(crate) fn create(info: SlabInfo) -> io::Result<(Self, OwnedFd)> {
        let (memory, fd) = SharedMemory::create("cresset-slab", info.size)?;
        Ok((Self { memory, info }, fd))
    }

    /// Its layout.
    pub(crate) fn info(&self) -> &SlabInfo {
        &self.info
    }

    /// Copies bytes into the slab. The caller owns the slot they go to (it is FILLING).
    pub(crate) fn write(&self, at: u64, bytes: &[u8]) -> Result<(), Outside> {
        self.memory.write(at, bytes)
    }

    /// A private copy of bytes in the slab.
    pub(crate) fn read(&self, at: u64, len: u64) -> Result<Bytes, Outside> {
        self.memory.read(at, len)
    }
}
