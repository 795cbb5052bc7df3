//! A folder that is being filled: whole or not there, for whoever looks at its last name.
//!
//! A draft is locked while it is worked on and begun anew by the next one when that died. What is in the place and is no
//! draft is left alone.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::error::{CareError, CareErrorKind};
use crate::files::{parent_of, sync_folder};

/// What tells a draft of ours from somebody's folder.
const MARK: &str = ".cresset-draft";
/// Payloads are their owner's business.
const MODE: u32 = 0o700;

/// A folder under way. Removed when dropped, unless [finished](Self::finish).
#[derive(Debug)]
pub(super) struct Draft {
    path: PathBuf,
    // Closing it ends the lock.
    _mark: File,
    finished: bool,
}

impl Draft {
    /// An empty folder at `path`, which nobody else works on.
    pub(super) fn begin(path: PathBuf) -> Result<Self, CareError> {
        match DirBuilder::new().mode(MODE).create(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let is_ours = path.join(MARK).exists()
                    || fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_none());
                if !is_ours {
                    let text = format!(
                        "{} is in the way, and is no unfinished work of this program",
                        path.display()
                    );
                    return Err(CareError::new(CareErrorKind::InTheWay, text));
                }
            }
            Err(error) => return Err(CareError::io("cannot make the folder", &path)(error)),
        }
        let mark = lock(&path)?;
        for entry in fs::read_dir(&path).map_err(CareError::io("cannot list", &path))? {
            let entry = entry.map_err(CareError::io("cannot list", &path))?.path();
            if entry.file_name().is_some_and(|name| name != MARK) {
                remove(&entry)?;
            }
        }
        Ok(Self {
            path,
            _mark: mark,
            finished: false,
        })
    }

    /// The draft that an interrupted restore left, as it left it. Nobody works on it: its store is locked.
    pub(super) fn take_up(path: PathBuf) -> Result<Self, CareError> {
        let mark = lock(&path)?;
        Ok(Self {
            path,
            _mark: mark,
            finished: true,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// From now on it stays when this process dies or fails.
    pub(super) fn keep(&mut self) {
        self.finished = true;
    }

    /// Everything in it is on stable storage: from now on it is there under this name.
    ///
    /// The mark goes after the rename: until then whoever dies leaves a draft that the next one knows for its own, and after it
    /// a whole folder with an empty file too many.
    pub(super) fn finish(mut self, dest: &Path) -> Result<(), CareError> {
        sync_folder(&self.path)?;
        rename_new(&self.path, dest).map_err(CareError::io("cannot rename the finished draft to", dest))?;
        self.finished = true;
        let mark = dest.join(MARK);
        fs::remove_file(&mark).map_err(CareError::io("cannot remove", &mark))?;
        sync_folder(dest)?;
        sync_folder(parent_of(dest))?;
        Ok(())
    }

    /// It has served.
    pub(super) fn remove(self) -> Result<(), CareError> {
        remove(&self.path)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.finished
            && let Err(error) = remove(&self.path)
        {
            tracing::warn!(error = error.whole(), "an unfinished draft is left behind");
        }
    }
}

fn lock(draft: &Path) -> Result<File, CareError> {
    let path = draft.join(MARK);
    let mark = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(CareError::io("cannot open", &path))?;
    match mark.try_lock() {
        Ok(()) => Ok(mark),
        Err(TryLockError::WouldBlock) => Err(CareError::new(
            CareErrorKind::Busy,
            format!("another process is working on {}", draft.display()),
        )),
        Err(TryLockError::Error(error)) => Err(CareError::io("cannot lock", &path)(error)),
    }
}

fn remove(path: &Path) -> Result<(), CareError> {
    let removed = if path.is_dir() && !path.is_symlink() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(CareError::io("cannot remove", path)(error)),
        _ => Ok(()),
    }
}

/// Renames, and never onto something.
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            // A file system that cannot be asked so. Between the two lines somebody could make an empty folder there.
            if to.symlink_metadata().is_ok() {
                return Err(ErrorKind::AlreadyExists.into());
            }
            fs::rename(from, to)
        }
        renamed => renamed.map_err(io::Error::from),
    }
}

/// Writes a file of its own and puts it on stable storage; its folder's entry is the caller's to sync.
pub(super) fn write_new(path: &Path, mut from: impl Read) -> Result<u64, CareError> {
    let mut write = || {
        let mut file = File::create_new(path)?;
        let bytes = io::copy(&mut from, &mut file)?;
        file.flush()?;
        file.sync_all()?;
        Ok(bytes)
    };
    write().map_err(CareError::io("cannot write", path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draft_that_was_left_at_any_point_before_its_last_name_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (path, dest) = (dir.path().join("b.partial"), dir.path().join("b"));
        let mut left = Draft::begin(path.clone()).unwrap();
        fs::write(path.join("tasks.db"), "whole").unwrap();
        left.keep();
        drop(left);
        let again = Draft::begin(path.clone()).unwrap();
        assert!(!path.join("tasks.db").exists());
        fs::write(path.join("tasks.db"), "whole").unwrap();
        // Something came in its way: it is still a draft of ours.
        fs::create_dir(&dest).unwrap();
        fs::write(dest.join("x"), "").unwrap();
        assert_eq!(again.finish(&dest).unwrap_err().kind, CareErrorKind::InTheWay);
        fs::remove_dir_all(&dest).unwrap();
        let last = Draft::begin(path.clone()).unwrap();
        assert!(Draft::begin(path.clone()).is_err_and(|error| error.kind == CareErrorKind::Busy));
        last.finish(&dest).unwrap();
        assert!(!path.exists());
        assert_eq!(fs::read_dir(&dest).unwrap().count(), 0, "the mark is gone");
    }
}
