//! Reading payload files, and telling a file that is damaged from a disk in passing trouble.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use rustix::io::Errno;

use super::checksum::checksum;
use super::{FileRef, Files, blocking_failed};
use crate::error::StoreError;

/// What is in a file of the payload folder: `Damaged` when that cannot be what was written, `Io` when it cannot be read now.
/// Blocks.
pub(crate) fn read_file(folder: &Path, file: &FileRef) -> Result<Bytes, StoreError> {
    let path = folder.join(file.name.path());
    let damaged = |what: String| StoreError::Damaged(format!("its file {} {what}", file.name));
    let bytes = match read_at_most(&path, file.length) {
        Ok(bytes) => bytes,
        Err(error) if is_of_the_file(&error) => return Err(damaged(format!("cannot be read: {error}"))),
        Err(error) => return Err(StoreError::io("cannot read the payload file", path)(error)),
    };
    if bytes.len() as u64 != file.length {
        return Err(damaged(format!("does not have the {} bytes it had", file.length)));
    }
    if checksum(&bytes) != file.checksum {
        return Err(damaged("is damaged: its checksum differs".into()));
    }
    Ok(bytes.into())
}

impl Files {
    /// As [`read_file`], of this database. Blocks.
    pub(crate) fn read(&self, file: &FileRef) -> Result<Bytes, StoreError> {
        read_file(&self.folder, file)
    }

    /// Reads them all, beside the runtime's own threads; one answer for each file.
    pub(crate) async fn read_all(
        self: &Arc<Self>,
        wanted: Vec<FileRef>,
    ) -> Result<Vec<Result<Bytes, StoreError>>, StoreError> {
        let files = Arc::clone(self);
        tokio::task::spawn_blocking(move || wanted.iter().map(|file| files.read(file)).collect())
            .await
            .map_err(|e| blocking_failed(e, "payloads were not read"))
    }
}

/// At most one byte more than `length`, which is enough to tell that there are more.
fn read_at_most(path: &Path, length: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    // Not the length that the row promises: should it be nonsense, the memory is not taken.
    let room = file.metadata()?.len().min(length) + 1;
    let mut bytes = Vec::with_capacity(usize::try_from(room).unwrap_or(0));
    file.take(length.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// True when the file itself is at fault, so that trying again will not help. Anything else (too many open files, no
/// permission, no memory) passes, or is an operator's to mend, and must not fail the tasks of a whole queue meanwhile.
fn is_of_the_file(error: &io::Error) -> bool {
    let bad_medium = [Errno::IO, Errno::UCLEAN].map(Errno::raw_os_error);
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::IsADirectory | ErrorKind::NotADirectory
    ) || error
        .raw_os_error()
        .is_some_and(|code| bad_medium.contains(&code))
}
