//! `manifest.json`: what a backup has, so that a copy of it can be told from a part of it. Written last.
//!
//! The database's digest is SHA-256, so that `sha256sum` says the same. The payload files' lengths and checksums are in the
//! database's own rows.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::error::{CareError, CareErrorKind};
use crate::error::StoreError;

/// Its name in a backup.
pub(super) const MANIFEST: &str = "manifest.json";
/// The database's name in a backup, and that of its payloads' folder.
pub(super) const DATABASE: &str = "tasks.db";
/// A form that this program reads.
const FORMAT: u32 = 1;
/// A manifest is a page; one of this size is something else.
const MANIFEST_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Read at a time.
const BLOCK: usize = 1024 * 1024;

/// How many tasks there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskCounts {
    /// Accepted and not ended, those that run included.
    pub open: u64,
    /// Ended, and not purged yet.
    pub ended: u64,
}

/// What a backup has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The form of the backup.
    pub format: u32,
    /// The version of the program that made it.
    pub program: String,
    /// The moment that it shows, in RFC 3339.
    pub taken_at: String,
    /// The version of the database's schema.
    pub schema: u32,
    /// The tasks in it.
    pub tasks: TaskCounts,
    /// The database's length.
    pub database_bytes: u64,
    /// The database's digest, in hexadecimal digits.
    pub database_sha256: String,
    /// Payload files in it.
    pub files: u64,
    /// Bytes in them.
    pub file_bytes: u64,
    /// Payload files that rows name, but that were lost or damaged when the backup was made.
    pub lacking: Vec<String>,
}

impl Manifest {
    pub(super) const fn format() -> u32 {
        FORMAT
    }

    pub(super) fn read(backup: &Path) -> Result<Self, CareError> {
        let path = backup.join(MANIFEST);
        let no_backup = |why: String| {
            let text = format!("{} is not a whole backup: {why}", backup.display());
            CareError::damaged(text)
        };
        let mut text = Vec::new();
        match File::open(&path).and_then(|file| file.take(MANIFEST_BYTES_MAX).read_to_end(&mut text)) {
            Err(error) if error.kind() == ErrorKind::NotFound && !backup.exists() => {
                return Err(CareError::new(
                    CareErrorKind::NotFound,
                    format!("there is no backup at {}", backup.display()),
                ));
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(no_backup(format!("it has no {MANIFEST}, which is written last")));
            }
            read => drop(read.map_err(CareError::io("cannot read", &path))?),
        }
        let manifest: Self = serde_json::from_slice(&text)
            .map_err(|error| no_backup(format!("its {MANIFEST} is damaged: {error}")))?;
        if manifest.format == FORMAT {
            Ok(manifest)
        } else {
            let format = manifest.format;
            Err(no_backup(format!(
                "its form is {format}, and this program reads {FORMAT}"
            )))
        }
    }
}

/// What passes through it is digested.
pub(super) struct Digested<R> {
    from: R,
    digest: Sha256,
    bytes: u64,
}

impl<R: Read> Digested<R> {
    pub(super) fn new(from: R) -> Self {
        Self {
            from,
            digest: Sha256::new(),
            bytes: 0,
        }
    }

    /// How many bytes passed, and their digest.
    pub(super) fn end(self) -> (u64, String) {
        let digest: String = self
            .digest
            .finalize()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        (self.bytes, digest)
    }
}

impl<R: Read> Read for Digested<R> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.from.read(into)?;
        self.digest.update(&into[..count]);
        self.bytes += count as u64;
        Ok(count)
    }
}

/// Length and digest of a file.
pub(super) fn digest_of(path: &Path) -> Result<(u64, String), CareError> {
    let mut file = Digested::new(File::open(path).map_err(CareError::io("cannot read", path))?);
    let mut block = vec![0; BLOCK];
    while file
        .read(&mut block)
        .map_err(CareError::io("cannot read", path))?
        > 0
    {}
    Ok(file.end())
}

pub(super) fn count_tasks(conn: &Connection) -> Result<TaskCounts, StoreError> {
    let sql = "SELECT count(*), count(finished_at) FROM tasks";
    conn.query_row(sql, [], |row| {
        let (all, ended): (i64, i64) = (row.get(0)?, row.get(1)?);
        Ok(TaskCounts {
            open: (all - ended).unsigned_abs(),
            ended: ended.unsigned_abs(),
        })
    })
    .map_err(StoreError::sqlite("cannot count the tasks"))
}
