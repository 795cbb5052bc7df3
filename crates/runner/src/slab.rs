//! Memory shared with one instance: a sealed memfd, mapped by both sides.
//!
//! The only module with `unsafe`. The instance can write to any byte at any time, whatever the protocol says of slots;
//! so no reference into the mapping is ever made. Bytes go in and out by copies between raw pointers, every copy checked
//! against the bounds first, and what was copied out is ours alone before anybody looks at it. The memfd is sealed
//! against shrinking before the instance gets it, so a copy cannot fault.

use std::io;
use std::os::fd::OwnedFd;

use bytes::Bytes;
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

use crate::wire::SlabInfo;

/// Slabs up to this size are faulted in when made: the first batches then pay no page faults (measured: 75 ms instead
/// of 18 ms for the first fill of 64 MB). Larger ones would cost that memory before anybody uses it.
const PREFAULT_MAX: u64 = 64 << 20;

/// A mapped slab. Unmapped when dropped; the instance keeps its own mapping.
#[derive(Debug)]
pub(crate) struct Slab {
    map: MmapRaw,
    info: SlabInfo,
}

/// A range that does not lie in the slab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{len} bytes at {at} are not inside a slab of {size} bytes")]
pub(crate) struct OutOfSlab {
    at: u64,
    len: u64,
    size: u64,
}

impl Slab {
    /// A fresh, zeroed, sealed slab, and the descriptor to send to the instance. Takes time for large slabs: call it
    /// where blocking is allowed.
    pub(crate) fn create(info: SlabInfo) -> io::Result<(Self, OwnedFd)> {
        let fd = memfd_create("cresset-slab", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&fd, info.size)?;
        fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let len = usize::try_from(info.size).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let mut options = MmapOptions::new();
        options.len(len);
        if info.size <= PREFAULT_MAX {
            options.populate();
        }
        let map = options.map_raw(&fd)?;
        Ok((Self { map, info }, fd))
    }

    /// Its layout.
    pub(crate) fn info(&self) -> &SlabInfo {
        &self.info
    }

    fn range(&self, at: u64, len: u64) -> Result<usize, OutOfSlab> {
        let size = self.map.len() as u64;
        match at.checked_add(len) {
            Some(end) if end <= size => Ok(at as usize),
            _ => Err(OutOfSlab { at, len, size }),
        }
    }

    /// Copies bytes into the slab. The caller owns the slot they go to (it is FILLING).
    #[expect(unsafe_code, reason = "shared memory is written through a raw pointer")]
    pub(crate) fn write(&self, at: u64, bytes: &[u8]) -> Result<(), OutOfSlab> {
        let start = self.range(at, bytes.len() as u64)?;
        // SAFETY: `start + bytes.len()` lies in the mapping (checked by `range`), which lives as long as `self` and is
        // backed by a memfd that cannot shrink. `bytes` is private memory, so the two do not overlap. No reference
        // into the mapping exists in this process; another process may write the same bytes meanwhile, which gives
        // either value and nothing worse, as these are plain bytes that nobody here interprets.
        unsafe {
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.map.as_mut_ptr().add(start), bytes.len())
        };
        Ok(())
    }

    /// A private copy of bytes in the slab.
    #[expect(unsafe_code, reason = "shared memory is read through a raw pointer")]
    pub(crate) fn read(&self, at: u64, len: u64) -> Result<Bytes, OutOfSlab> {
        let start = self.range(at, len)?;
        let len = len as usize;
        let mut copy: Vec<u8> = Vec::with_capacity(len);
        // SAFETY: `start + len` lies in the mapping (checked by `range`), which lives as long as `self` and cannot
        // shrink; `copy` has room for `len` bytes and is private, so the two do not overlap; every byte pattern is a
        // u8. After the copy the first `len` bytes of `copy` are initialised.
        unsafe {
            std::ptr::copy_nonoverlapping(self.map.as_ptr().add(start), copy.as_mut_ptr(), len);
            copy.set_len(len);
        }
        Ok(Bytes::from(copy))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Regions;

    fn slab() -> (Slab, OwnedFd) {
        Slab::create(
            Regions {
                input: 4096,
                output: 4096,
            }
            .slab(),
        )
        .unwrap()
    }

    #[test]
    fn bytes_are_read_back_and_shared_with_the_descriptor() {
        let (slab, fd) = slab();
        slab.write(4000, b"hello").unwrap();
        assert_eq!(slab.read(4000, 5).unwrap(), "hello");
        let mut buf = [0; 5];
        assert_eq!(rustix::io::pread(&fd, &mut buf, 4000), Ok(5));
        assert_eq!(&buf, b"hello");
        assert_eq!(rustix::io::pwrite(&fd, b"J", 4000), Ok(1));
        assert_eq!(slab.read(4000, 5).unwrap(), "Jello");
        assert_eq!(slab.read(16384, 0).unwrap(), "", "the end is inside for nothing");
    }

    #[test]
    fn nothing_outside_is_touched() {
        let (slab, _fd) = slab();
        assert_eq!(
            slab.write(16380, b"hello"),
            Err(OutOfSlab {
                at: 16380,
                len: 5,
                size: 16384
            })
        );
        assert!(slab.read(16384, 1).is_err());
        assert!(slab.read(u64::MAX, 2).is_err());
        assert!(slab.read(0, u64::MAX).is_err());
    }

    #[test]
    fn the_other_side_cannot_shrink_grow_or_unseal_it() {
        let (_slab, fd) = slab();
        assert!(ftruncate(&fd, 0).is_err());
        assert!(ftruncate(&fd, 1 << 20).is_err());
        assert!(fcntl_add_seals(&fd, SealFlags::WRITE).is_err());
    }
}
