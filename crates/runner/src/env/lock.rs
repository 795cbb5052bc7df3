//! Locks between processes: flock on files that are never removed.

use std::fs::{File, OpenOptions};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::EnvError;

/// How often a lock that another holds is tried again. Asking is cheap and builds take seconds at least; waiting inside
/// the kernel would hold a thread and could not be cancelled.
const RETRY_EVERY: Duration = Duration::from_millis(100);

fn open(path: &Path) -> Result<File, EnvError> {
    let opened = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .read(true)
        .open(path);
    opened.map_err(|source| EnvError::Io {
        what: "opening the lock",
        path: path.to_owned(),
        source,
    })
}

fn locked(file: &File, how: FlockOperation, path: &Path) -> Result<bool, EnvError> {
    match flock(file, how) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(e) => Err(EnvError::Io {
            what: "locking",
            path: path.to_owned(),
            source: e.into(),
        }),
    }
}

/// Waits for the lock; calls `waiting` once if somebody else has it. Held until the file is dropped.
pub(super) async fn exclusive(path: &Path, waiting: impl FnOnce()) -> Result<File, EnvError> {
    let file = open(path)?;
    let mut waiting = Some(waiting);
    while !locked(&file, FlockOperation::NonBlockingLockExclusive, path)? {
        if let Some(tell) = waiting.take() {
            tell();
        }
        tokio::time::sleep(RETRY_EVERY).await;
    }
    Ok(file)
}

/// The lock, if nobody has it in any way.
pub(super) fn try_exclusive(path: &Path) -> Result<Option<File>, EnvError> {
    let file = open(path)?;
    Ok(locked(&file, FlockOperation::NonBlockingLockExclusive, path)?.then_some(file))
}

/// The lock, shared. Only prune takes it otherwise, and only for a moment, so this may wait.
pub(super) fn shared(path: &Path) -> Result<File, EnvError> {
    let file = open(path)?;
    locked(&file, FlockOperation::LockShared, path)?;
    Ok(file)
}
