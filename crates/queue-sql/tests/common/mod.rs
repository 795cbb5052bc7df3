//! A store in a folder of its own, and what is left of it when its process dies.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

pub(crate) mod folder;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cresset_queue::Backend;
use cresset_queue::conformance::Harness;
use cresset_queue::kit::Ttl;
use cresset_queue_sql::{Durability, PURGE_ROWS_MAX, SqliteOptions, SqliteStore};
use tempfile::TempDir;

use self::folder::{beside, payload_files};

const TTL: Ttl = Ttl {
    results: Duration::from_secs(100),
    letters: Duration::from_secs(1_000),
    deliveries: Duration::from_secs(500),
    tombstones: Duration::from_secs(300),
};

/// Stores in folders that go with the harness.
pub(crate) struct SqliteHarness {
    durability: Durability,
    max_inline_bytes: usize,
    folders: Mutex<Vec<TempDir>>,
}

impl SqliteHarness {
    pub(crate) fn new(durability: Durability, max_inline_bytes: usize) -> Self {
        Self {
            durability,
            max_inline_bytes,
            folders: Mutex::new(vec![tempfile::tempdir().unwrap()]),
        }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.folders
            .lock()
            .unwrap()
            .last()
            .unwrap()
            .path()
            .join("tasks.db")
    }

    fn open_now(&self) -> Arc<dyn Backend> {
        let options = SqliteOptions {
            durability: self.durability,
            max_inline_bytes: self.max_inline_bytes,
            result_ttl: TTL.results,
            letter_ttl: TTL.letters,
            delivery_ttl: TTL.deliveries,
            tombstone_ttl: TTL.tombstones,
            ..SqliteOptions::at(self.path())
        };
        Arc::new(SqliteStore::open(options).unwrap())
    }
}

#[async_trait]
impl Harness for SqliteHarness {
    async fn open(&self) -> Arc<dyn Backend> {
        self.open_now()
    }

    /// Takes the files as a dying process would leave them, while the store still runs, and opens the copy.
    async fn crash(&self, store: Arc<dyn Backend>) -> Arc<dyn Backend> {
        let copy = tempfile::tempdir().unwrap();
        copy_at_one_instant(&self.path(), &copy.path().join("tasks.db"));
        self.folders.lock().unwrap().push(copy);
        drop(store);
        self.open_now()
    }

    fn turning_points(&self) -> Vec<usize> {
        vec![self.max_inline_bytes]
    }

    fn ttl(&self) -> Ttl {
        TTL
    }

    fn purge_max(&self) -> usize {
        PURGE_ROWS_MAX
    }
}

/// Copies database, log and payloads; a checkpoint may be running, so until two looks in a row see the same.
fn copy_at_one_instant(from: &Path, to: &Path) {
    let look = || {
        let [database, log] = [from.to_owned(), beside(from, "-wal")].map(|file| fs::read(file).unwrap());
        (database, log, payload_files(from))
    };
    let mut seen = look();
    loop {
        let again = look();
        if again == seen {
            break;
        }
        seen = again;
    }
    let (database, log, payloads) = seen;
    fs::write(to, database).unwrap();
    fs::write(beside(to, "-wal"), log).unwrap();
    for (name, bytes) in payloads {
        let path = beside(to, ".payloads").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}
