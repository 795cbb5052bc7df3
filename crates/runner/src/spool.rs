//! Folders for files that models get as paths: one for each life of an instance.
//!
//! The process puts the files of a batch there and takes them away after it. What it leaves behind, because it was killed, goes with
//! the folder when the process is dead; what a server leaves behind that was killed itself goes at the next start.

use std::fs::DirBuilder;
use std::io::{self, ErrorKind};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

/// Inputs are nobody else's business.
const MODE: u32 = 0o700;

/// Takes away what an earlier server has left. For the only server of this folder, before it starts a model.
pub fn clear(dir: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// One folder, removed with all that is in it when it is dropped.
#[derive(Debug)]
pub(crate) struct Spool {
    path: PathBuf,
    text: String,
}

impl Spool {
    /// Makes it in `dir`, which is made as well.
    pub(crate) fn make(dir: &Path, name: &str) -> io::Result<Self> {
        let path = std::path::absolute(dir)?.join(name);
        let text = path
            .to_str()
            .ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "its path is not UTF-8"))?
            .to_owned();
        let mut builder = DirBuilder::new();
        builder.mode(MODE);
        builder.recursive(true).create(dir)?;
        builder.recursive(false).create(&path)?;
        Ok(Self { path, text })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &str {
        &self.text
    }
}

impl Drop for Spool {
    fn drop(&mut self) {
        if let Err(error) = clear(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "files of a model cannot be removed; the next start removes them");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_folder_is_private_and_goes_with_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let files = dir.path().join("files");
        let spool = Spool::make(&files, "one").unwrap();
        let path = PathBuf::from(spool.path());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, MODE);
        std::fs::create_dir(path.join("0")).unwrap();
        std::fs::write(path.join("0/a.png"), "x").unwrap();
        assert!(Spool::make(&files, "one").is_err(), "two would share it");
        drop(spool);
        assert!(!path.exists() && files.exists());
        clear(&files).unwrap();
        clear(&files).unwrap();
        assert!(!files.exists());
    }
}
