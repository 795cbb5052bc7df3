//! Folders for files that models get as paths: one for each life of an instance, in one for each server.
//!
//! The process puts the files of a batch there and takes them away after it. What it leaves behind, because it was killed, goes with
//! the folder when the process is dead; what a server leaves behind that was killed itself goes at the next start of one.

use std::fs::{DirBuilder, File, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Inputs are nobody else's business.
const MODE: u32 = 0o700;

/// Takes away what servers that are dead have left in `dir`. What cannot be taken away is told in the log, and stays.
pub fn sweep(dir: &Path) -> io::Result<()> {
    match Turn::take(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        turn => turn?.sweep(),
    }
}

/// A server's folder. Other servers may have theirs beside it, as two with stores of their own may share a data folder: each
/// holds a lock on its own, which the kernel drops with the process, however it dies.
#[derive(Debug)]
pub struct SpoolDir {
    path: PathBuf,
    // Never read: closing it is what ends the lock.
    _lock: File,
}

impl SpoolDir {
    /// A new one in `dir`, which is made as well, and swept.
    pub fn make(dir: &Path) -> io::Result<Self> {
        let dir = std::path::absolute(dir)?;
        DirBuilder::new().mode(MODE).recursive(true).create(&dir)?;
        let turn = Turn::take(&dir)?;
        turn.sweep()?;
        let mut number = 0_u64;
        loop {
            let path = dir.join(number.to_string());
            match DirBuilder::new().mode(MODE).create(&path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => number += 1,
                made => {
                    made?;
                    let lock = File::open(&path)?;
                    lock.lock()?;
                    return Ok(Self { path, _lock: lock });
                }
            }
        }
    }
}

impl Drop for SpoolDir {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// The right to look at the folders of other servers and to make one, which a server has for a moment.
struct Turn<'a> {
    dir: &'a Path,
    _lock: File,
}

impl<'a> Turn<'a> {
    fn take(dir: &'a Path) -> io::Result<Self> {
        let lock = File::open(dir)?;
        lock.lock()?;
        Ok(Self { dir, _lock: lock })
    }

    fn sweep(&self) -> io::Result<()> {
        for entry in std::fs::read_dir(self.dir)? {
            let entry = entry?;
            // What is no folder is none of ours.
            if !entry.file_type()?.is_dir() {
                continue;
            }
            let path = entry.path();
            match File::open(&path).map(|held| (held.try_lock(), held)) {
                Ok((Err(TryLockError::WouldBlock), _)) => {}
                // With its lock, if there is one to have.
                _ => remove(&path),
            }
        }
        Ok(())
    }
}

/// Takes a folder away with all that is in it.
fn remove(path: &Path) {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            tracing::warn!(path = %path.display(), %error, "files of a model cannot be removed; the next start tries again");
        }
        _ => {}
    }
}

/// One folder of an instance, removed with all that is in it when it is dropped.
#[derive(Debug)]
pub(crate) struct Spool {
    path: String,
}

impl Spool {
    /// Makes it among those of its server.
    pub(crate) fn make(dir: &SpoolDir, name: &str) -> io::Result<Self> {
        let path = dir.path.join(name);
        DirBuilder::new().mode(MODE).create(&path)?;
        let path = path
            .into_os_string()
            .into_string()
            .map_err(|_| io::Error::new(ErrorKind::InvalidInput, "its path is not UTF-8"))?;
        Ok(Self { path })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        remove(Path::new(&self.path));
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_is_private_and_goes_with_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let ours = SpoolDir::make(&dir.path().join("files")).unwrap();
        let spool = Spool::make(&ours, "one").unwrap();
        let path = PathBuf::from(spool.path());
        for made in [&path, &ours.path, &dir.path().join("files")] {
            let mode = std::fs::metadata(made).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, MODE, "{}", made.display());
        }
        std::fs::create_dir(path.join("0")).unwrap();
        std::fs::write(path.join("0/a.png"), "x").unwrap();
        assert!(Spool::make(&ours, "one").is_err(), "two would share it");
        drop(spool);
        assert!(!path.exists() && ours.path.exists());
        drop(ours);
        assert_eq!(std::fs::read_dir(dir.path().join("files")).unwrap().count(), 0);
    }

    #[test]
    fn what_a_dead_server_left_goes_and_what_another_has_stays() {
        let dir = tempfile::tempdir().unwrap();
        sweep(&dir.path().join("none")).unwrap();
        let outside = dir.path().join("outside");
        std::fs::create_dir(&outside).unwrap();
        std::fs::write(outside.join("b.png"), "x").unwrap();

        let files = dir.path().join("files");
        let other = SpoolDir::make(&files).unwrap();
        let theirs = Spool::make(&other, "one").unwrap();
        std::fs::write(Path::new(theirs.path()).join("a.png"), "x").unwrap();
        // No lock is held on it, as its server is dead.
        let dead = files.join("1");
        std::fs::create_dir_all(dead.join("one")).unwrap();
        std::fs::write(dead.join("one/a.png"), "x").unwrap();
        std::os::unix::fs::symlink(&outside, dead.join("link")).unwrap();

        sweep(&files).unwrap();
        assert!(!dead.exists());
        let ours = SpoolDir::make(&files).unwrap();
        assert_ne!(ours.path, other.path);
        assert!(Path::new(theirs.path()).join("a.png").exists());
        assert!(outside.join("b.png").exists(), "a link is not followed");
    }
}
