//! Where the results of a batch go: stdout, or a file that nothing was in before.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use crate::exit::{Exit, Trouble};
use crate::out;

/// Opened, not yet written to.
#[derive(Debug)]
pub(super) enum Sink {
    /// Standard output.
    Stdout,
    /// A new file.
    File(File, PathBuf),
}

impl Sink {
    /// A new file at `path`, or an empty one, such as a run leaves that was ended while it waited; never over anything. Stdout where
    /// none is named.
    pub(super) fn open(path: Option<&Path>) -> Result<Self, Trouble> {
        let Some(path) = path else {
            return Ok(Self::Stdout);
        };
        let mut options = OpenOptions::new();
        let made = match options.write(true).create_new(true).open(path) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && is_empty(path) => {
                File::options().write(true).open(path)
            }
            made => made,
        };
        let is_there = || {
            Trouble::new(
                Exit::CANNOT_CREATE,
                format!("{} is there already", path.display()),
            )
            .hint("name another file")
        };
        let file = made.map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => is_there(),
            _ => Trouble::new(
                Exit::CANNOT_CREATE,
                format!("cannot make {}: {error}", path.display()),
            ),
        })?;
        // Another run that waits, whose file is empty as well.
        if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            return Err(is_there());
        }
        Ok(Self::File(file, path.to_owned()))
    }

    /// Writes whole lines; a slow reader of stdout slows the whole reading.
    pub(super) fn write(&mut self, lines: &[u8]) -> Result<(), Trouble> {
        match self {
            _ if lines.is_empty() => Ok(()),
            Self::Stdout => out::raw(lines),
            Self::File(file, path) => file
                .write_all(lines)
                .map_err(|error| Trouble::file("write", path, &error)),
        }
    }

    /// All is written, and a file is on the disk.
    pub(super) fn finish(self) -> Result<(), Trouble> {
        match self {
            Self::Stdout => Ok(()),
            Self::File(file, path) => file
                .sync_all()
                .map_err(|error| Trouble::file("write", &path, &error)),
        }
    }

    /// Takes a file away that nothing was written to: it would be in the way of the next try.
    pub(super) fn discard(self) -> Result<(), Trouble> {
        match self {
            Self::Stdout => Ok(()),
            Self::File(_, path) => {
                std::fs::remove_file(&path).map_err(|error| Trouble::file("remove", &path, &error))
            }
        }
    }
}

fn is_empty(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|about| about.is_file() && about.len() == 0)
}
