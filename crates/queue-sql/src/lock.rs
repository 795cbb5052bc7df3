//! One process at a time.
//!
//! SQLite would let a second process in, but leases, depth counters and the group commit belong to one. A lock file
//! beside the database says who that is; the kernel drops the lock with the process, however it dies.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::error::StoreError;

/// Held as long as the store is open.
#[derive(Debug)]
pub(crate) struct Lock {
    // Never read: closing it is what ends the lock.
    _file: File,
}

impl Lock {
    pub(crate) fn take(database: &Path) -> Result<Self, StoreError> {
        let path = beside(database, ".lock");
        let io = |doing| StoreError::io(doing, &path);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io("cannot open the lock file"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::InUse(format!(
                    "in use by {}; stop it, or choose another data directory",
                    holder(&mut file),
                )));
            }
            Err(TryLockError::Error(source)) => return Err(io("cannot lock")(source)),
        }
        // For a second process's error message only: a full disk must not keep us from opening.
        if let Err(error) = file
            .set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
        {
            tracing::warn!(%error, path = %path.display(), "cannot write our process id into the lock file");
        }
        Ok(Self { _file: file })
    }
}

/// The holder in words, as far as the file tells.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    let read = file.rewind().and_then(|()| file.read_to_string(&mut text));
    match read.ok().and_then(|_| text.trim().parse::<u32>().ok()) {
        Some(pid) if pid == std::process::id() => "this process already".into(),
        Some(pid) => format!("another process (pid {pid})"),
        None => "another process".into(),
    }
}

/// The path with `suffix` added to its file name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_taker_is_told_who_has_it_and_gets_it_afterwards() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("q.db");
        let first = Lock::take(&path).unwrap();
        let refused = Lock::take(&path).unwrap_err().to_string();
        assert!(refused.contains("in use by this process"), "{refused}");
        drop(first);
        Lock::take(&path).unwrap();
    }
}
