//! Memory shared with one instance: a sealed memfd, mapped by both sides.
//!
//! The only module with `unsafe`. The instance can write to any byte at any time, whatever the protocol says; so no
//! reference into the mapping is ever made. Bytes go in and out by copies between raw pointers, every access checked
//! against the bounds first, and what was copied out is ours alone before anybody looks at it. The memfd is sealed
//! against shrinking before the instance gets it, so an access cannot fault. What the bytes are for is not known here.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use memmap2::{MmapOptions, MmapRaw};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};

/// Memory up to this size is faulted in when made: the first batches then pay no page faults (measured: 75 ms instead
/// of 18 ms for the first fill of 64 MB). More would cost that memory before anybody uses it.
const PREFAULT_MAX: u64 = 64 << 20;

/// A mapping. Unmapped when dropped; the instance keeps its own.
#[derive(Debug)]
pub(crate) struct SharedMemory {
    map: MmapRaw,
}

/// A range that does not lie in the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{len} bytes at {at} are not inside a shared memory of {size} bytes")]
pub(crate) struct Outside {
    pub(crate) at: u64,
    pub(crate) len: u64,
    pub(crate) size: u64,
}

impl SharedMemory {
    /// Fresh, zeroed, sealed memory, and the descriptor to send to the instance. Takes time where it is large: call it where
    /// blocking is allowed.
    pub(crate) fn create(name: &str, size: u64) -> io::Result<(Self, OwnedFd)> {
        let fd = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        ftruncate(&fd, size)?;
        fcntl_add_seals(&fd, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        let len = usize::try_from(size).map_err(|_| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let mut options = MmapOptions::new();
        options.len(len);
        if size <= PREFAULT_MAX {
            options.populate();
        }
        let map = options.map_raw(&fd)?;
        Ok((Self { map }, fd))
    }

    fn range(&self, at: u64, len: u64) -> Result<usize, Outside> {
        let size = self.map.len() as u64;
        match at.checked_add(len) {
            Some(end) if end <= size => Ok(at as usize),
            _ => Err(Outside { at, len, size }),
        }
    }

    /// Copies bytes into the memory. Where the same bytes may be written or read by another thread of ours meanwhile, use
    /// [`SharedMemory::store`].
    #[expect(unsafe_code, reason = "shared memory is written through a raw pointer")]
    pub(crate) fn write(&self, at: u64, bytes: &[u8]) -> Result<(), Outside> {
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

    /// Stores one byte, relaxed: another process sees it sooner or later, and threads of ours may store the same one.
    #[expect(unsafe_code, reason = "shared memory is written through a raw pointer")]
    pub(crate) fn store(&self, at: u64, byte: u8) -> Result<(), Outside> {
        let start = self.range(at, 1)?;
        // SAFETY: the byte lies in the mapping (checked by `range`), which outlives the reference made here and cannot
        // shrink; a byte has no alignment. Memory is given either to `store` (the board) or to `write` and `read` (the
        // slab), never to both, so every access to it in this process is atomic. Another process reads it meanwhile.
        let cell = unsafe { AtomicU8::from_ptr(self.map.as_mut_ptr().add(start)) };
        cell.store(byte, Ordering::Relaxed);
        Ok(())
    }

    /// A private copy of bytes in the memory.
    #[expect(unsafe_code, reason = "shared memory is read through a raw pointer")]
    pub(crate) fn read(&self, at: u64, len: u64) -> Result<Bytes, Outside> {
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

    fn memory() -> (SharedMemory, OwnedFd) {
        SharedMemory::create("test", 16384).unwrap()
    }

    #[test]
    fn bytes_are_read_back_and_shared_with_the_descriptor() {
        let (memory, fd) = memory();
        memory.write(4000, b"hello").unwrap();
        assert_eq!(memory.read(4000, 5).unwrap(), "hello");
        let mut buf = [0; 5];
        assert_eq!(rustix::io::pread(&fd, &mut buf, 4000), Ok(5));
        assert_eq!(&buf, b"hello");
        assert_eq!(rustix::io::pwrite(&fd, b"J", 4000), Ok(1));
        assert_eq!(memory.read(4000, 5).unwrap(), "Jello");
        memory.store(4004, b'!').unwrap();
        assert_eq!(rustix::io::pread(&fd, &mut buf, 4000), Ok(5));
        assert_eq!(&buf, b"Jell!");
        assert_eq!(
            memory.read(16384, 0).unwrap(),
            "",
            "the end is inside for nothing"
        );
    }

    #[test]
    fn nothing_outside_is_touched() {
        let (memory, _fd) = memory();
        assert_eq!(
            memory.write(16380, b"hello"),
            Err(Outside {
                at: 16380,
                len: 5,
                size: 16384
            })
        );
        assert!(memory.store(16384, 1).is_err());
        assert!(memory.store(u64::MAX, 1).is_err());
        assert!(memory.read(16384, 1).is_err());
        assert!(memory.read(u64::MAX, 2).is_err());
        assert!(memory.read(0, u64::MAX).is_err());
    }

    #[test]
    fn the_other_side_cannot_shrink_grow_or_unseal_it() {
        let (_memory, fd) = memory();
        assert!(ftruncate(&fd, 0).is_err());
        assert!(ftruncate(&fd, 1 << 20).is_err());
        assert!(fcntl_add_seals(&fd, SealFlags::WRITE).is_err());
    }
}
