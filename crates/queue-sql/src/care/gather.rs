//! Copying payload files from one folder to another, each held to its row.

use std::collections::HashSet;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use rusqlite::{Connection, params};

use super::draft::write_new;
use super::error::CareError;
use crate::error::StoreError;
use crate::files::{FileName, FileRef, read_file, shard_name, sync_folder};
use crate::schema;

/// References read at a time: a running server's log is held no longer than that takes.
const CHUNK: i64 = 1_000;

/// Which tables name files, and since which schema.
const CHUNKS: [(u32, &str); 3] = [
    (
        5,
        "SELECT seq, file, length, checksum FROM inputs WHERE file IS NOT NULL AND seq > ?1 ORDER BY seq LIMIT ?2",
    ),
    (
        5,
        "SELECT seq, file, length, checksum FROM outcomes WHERE file IS NOT NULL AND seq > ?1 ORDER BY seq LIMIT ?2",
    ),
    (
        7,
        "SELECT seq, file, length, checksum FROM letters WHERE file IS NOT NULL AND seq > ?1 ORDER BY seq LIMIT ?2",
    ),
];

/// Files on their way from a payload folder to another.
#[derive(Debug)]
pub(super) struct Gathering {
    from: PathBuf,
    to: PathBuf,
    /// Names are never given twice, so what is here once is right for good.
    copied: HashSet<FileName>,
    shards: HashSet<u8>,
}

/// What the last walk over all rows found.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub(super) files: u64,
    pub(super) bytes: u64,
    named: HashSet<FileName>,
    /// Lost or damaged; each with why.
    pub(super) lost: Vec<(FileName, StoreError)>,
}

impl Gathering {
    pub(super) fn new(from: PathBuf, to: PathBuf) -> Self {
        Self {
            from,
            to,
            copied: HashSet::new(),
            shards: HashSet::new(),
        }
    }

    /// Copies what the rows name and is not here yet.
    pub(super) fn walk(&mut self, conn: &Connection) -> Result<Walk, CareError> {
        let mut walk = Walk::default();
        let schema = schema::known(conn)?;
        for (_, sql) in CHUNKS.into_iter().filter(|(since, _)| *since <= schema) {
            let mut after = i64::MIN;
            loop {
                let chunk = read_chunk(conn, sql, after)?;
                let Some((last, _)) = chunk.last() else { break };
                after = *last;
                for (_, file) in chunk
                    .iter()
                    .filter_map(|(seq, file)| file.as_ref().map(|file| (seq, file)))
                {
                    self.take(file, &mut walk)?;
                }
            }
        }
        Ok(walk)
    }

    fn take(&mut self, file: &FileRef, walk: &mut Walk) -> Result<(), CareError> {
        walk.named.insert(file.name);
        if !self.copied.contains(&file.name) {
            match read_file(&self.from, file) {
                Ok(bytes) => {
                    self.make_shard(file.name.shard())?;
                    write_new(&self.to.join(file.name.path()), &bytes[..])?;
                    self.copied.insert(file.name);
                }
                Err(error @ StoreError::Damaged(_)) => {
                    walk.lost.push((file.name, error));
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            }
        }
        walk.files += 1;
        walk.bytes += file.length;
        Ok(())
    }

    fn make_shard(&mut self, shard: u8) -> Result<(), CareError> {
        if self.shards.is_empty() {
            make_folder(&self.to)?;
        }
        if self.shards.insert(shard) {
            make_folder(&self.to.join(shard_name(shard)))?;
        }
        Ok(())
    }

    /// Drops what the last walk did not name, and puts the folders on stable storage.
    pub(super) fn end(self, walk: &Walk) -> Result<(), CareError> {
        for name in self.copied.difference(&walk.named) {
            let path = self.to.join(name.path());
            fs::remove_file(&path).map_err(CareError::io("cannot remove", &path))?;
        }
        for shard in &self.shards {
            sync_folder(&self.to.join(shard_name(*shard)))?;
        }
        if !self.shards.is_empty() {
            sync_folder(&self.to)?;
        }
        Ok(())
    }
}

/// The next files that rows name; `None` for a name that is not ours, which no file can belong to.
fn read_chunk(conn: &Connection, sql: &str, after: i64) -> Result<Vec<(i64, Option<FileRef>)>, StoreError> {
    let read = || {
        let mut query = conn.prepare_cached(sql)?;
        let rows = query.query_map(params![after, CHUNK], |row| {
            let name = row.get_ref(1)?.as_str()?.parse();
            let (length, checksum): (Option<i64>, Option<i64>) = (row.get(2)?, row.get(3)?);
            let file = name.ok().and_then(|name| {
                Some(FileRef {
                    name,
                    length: length?.cast_unsigned(),
                    checksum: checksum?.cast_unsigned(),
                })
            });
            Ok((row.get(0)?, file))
        })?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    };
    read().map_err(StoreError::sqlite("cannot read which payload files there are"))
}

fn make_folder(path: &std::path::Path) -> Result<(), CareError> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(CareError::io("cannot make the folder", path)(error))
        }
        _ => Ok(()),
    }
}
