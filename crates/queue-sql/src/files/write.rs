//! Writing payload files.
//!
//! A file is made under its last name, without a rename: nobody looks for it before a row names it, so it need not be whole
//! from the first moment on. That saves one of the file system's own commits a file.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use cresset_task::TaskId;

use super::checksum::checksum;
use super::name::shard_name;
use super::{FileName, FileRef, Files, NewFile, Part, blocking_failed};
use crate::error::StoreError;
use crate::lock::beside;
use cresset_queue::kit::Stored;

/// What a probe writes: a disk with less room than this is full.
const PROBE_BYTES: usize = 256 * 1024;

impl Files {
    /// Writes one payload, as durable as a row will be when this returns. Blocks.
    pub(super) fn write(
        self: &Arc<Self>,
        id: TaskId,
        part: Part,
        stored: &Stored,
    ) -> Result<NewFile, StoreError> {
        let name = FileName {
            id,
            part,
            run: self.run,
            number: self.next.fetch_add(1, Ordering::Relaxed),
        };
        self.make_shard(&name)?;
        let path = self.folder.join(name.path());
        let mut file =
            File::create_new(&path).map_err(StoreError::io("cannot create the payload file", &path))?;
        if let Err(error) = self.fill(&mut file, &path, &stored.bytes) {
            drop(file);
            self.unlink(&name);
            return Err(error);
        }
        let reference = FileRef {
            name,
            length: stored.bytes.len() as u64,
            checksum: checksum(&stored.bytes),
        };
        Ok(NewFile::new(reference, Arc::clone(self)))
    }

    /// Finds out whether there is room for payloads: writes a file of the size that rows leave to files, and removes it.
    pub(crate) async fn probe(self: &Arc<Self>) -> Result<(), StoreError> {
        let files = Arc::clone(self);
        tokio::task::spawn_blocking(move || {
            let path = files.probe_path();
            let probed = File::create(&path)
                .map_err(StoreError::io("cannot create the probe", &path))
                .and_then(|mut file| files.fill(&mut file, &path, &[0; PROBE_BYTES]));
            let removed = match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    Err(StoreError::io("cannot remove the probe", &path)(error))
                }
                _ => Ok(()),
            };
            probed.and(removed)
        })
        .await
        .map_err(|e| blocking_failed(e, "the disk was not probed"))?
    }

    /// Removes what a process that died within a probe left.
    pub(super) fn remove_probe(&self) {
        let path = self.probe_path();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(%error, path = %path.display(), "cannot remove the probe of an earlier process");
            }
            _ => {}
        }
    }

    fn probe_path(&self) -> PathBuf {
        beside(&self.folder, ".probe")
    }

    fn fill(&self, file: &mut File, path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
        file.write_all(bytes)
            .map_err(StoreError::io("cannot write the payload file", path))?;
        if self.flush {
            file.sync_data()
                .map_err(StoreError::io("cannot sync the payload file", path))?;
            sync_folder(parent_of(path))?;
        }
        Ok(())
    }

    /// Makes the folder of a name, once a run: it may be there already, but whether it would survive a power cut only its
    /// maker knew.
    fn make_shard(&self, name: &FileName) -> Result<(), StoreError> {
        let shard = name.shard();
        let mut made = self.shards_made.lock().unwrap_or_else(PoisonError::into_inner);
        if made.contains(&shard) {
            return Ok(());
        }
        if made.is_empty() {
            make_folder(&self.folder)?;
            self.sync(parent_of(&self.folder))?;
        }
        make_folder(&self.folder.join(shard_name(shard)))?;
        self.sync(&self.folder)?;
        made.insert(shard);
        Ok(())
    }

    /// Puts a folder's entries on stable storage, if that is promised.
    fn sync(&self, folder: &Path) -> Result<(), StoreError> {
        if self.flush { sync_folder(folder) } else { Ok(()) }
    }
}

fn make_folder(path: &Path) -> Result<(), StoreError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(StoreError::io("cannot make the folder", path)(error))
        }
        _ => Ok(()),
    }
}

/// The folder that a path is in.
pub(crate) fn parent_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// Puts a folder's entries on stable storage.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder)
        .and_then(|f| f.sync_all())
        .map_err(StoreError::io("cannot sync the folder", folder))
}
