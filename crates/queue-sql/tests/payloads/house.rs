//! A store in a folder of its own, and short ways to make, end and look for payloads.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cresset_queue::{
    Broker, Completion, Finished, Lease, LeaseRequest, Lookup, NewTask, Release, ResultStore, Submitted,
};
use cresset_queue_sql::{SqliteOptions, SqliteStore};
use cresset_task::{ModelName, Outcome, Payload, TaskId, TaskRecord, Timestamp};

use crate::common::folder::{beside, payload_files};

pub(crate) const INLINE: usize = 1_000;
pub(crate) const LARGE: usize = 5_000;
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

pub(crate) fn model() -> ModelName {
    "digits".parse().unwrap()
}

pub(crate) fn json(bytes: usize) -> Payload {
    Payload::Json(vec![b'1'; bytes].into())
}

pub(crate) fn task(bytes: usize) -> NewTask {
    NewTask {
        turn: cresset_queue::Turn::of(Timestamp::now(), 0, std::time::Duration::ZERO),
        ..NewTask::new(model(), json(bytes), Timestamp::from_micros(1))
    }
}

pub(crate) fn options(path: &Path) -> SqliteOptions {
    SqliteOptions {
        max_inline_bytes: INLINE,
        ..SqliteOptions::at(path)
    }
}

/// A folder with an open store in it.
pub(crate) struct House {
    pub(crate) store: SqliteStore,
    pub(crate) path: PathBuf,
    // Goes last.
    _folder: tempfile::TempDir,
}

impl House {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tasks.db");
        let store = SqliteStore::open(options(&path)).unwrap();
        Self {
            store,
            path,
            _folder: folder,
        }
    }

    pub(crate) async fn reopen(self) -> Self {
        let options = options(&self.path);
        self.reopen_with(options).await
    }

    pub(crate) async fn reopen_with(self, options: SqliteOptions) -> Self {
        self.store.close().await.unwrap();
        let store = SqliteStore::open(options).unwrap();
        Self { store, ..self }
    }

    pub(crate) async fn submit(&self, bytes: usize) -> TaskId {
        let new = task(bytes);
        let id = new.id;
        assert_eq!(self.store.submit(new).await.unwrap(), Submitted::New);
        id
    }

    pub(crate) async fn lease(&self) -> Vec<Lease> {
        let request = LeaseRequest {
            model: model(),
            max_tasks: 100,
            max_bytes: usize::MAX,
            now: Timestamp::from_micros(2),
        };
        self.store.lease(request).await.unwrap()
    }

    pub(crate) async fn finish(&self, lease: &Lease, outcome: Outcome) -> Finished {
        let completion = Completion {
            id: lease.id,
            attempt: lease.attempt,
            redeliveries: 0,
            history: Vec::new(),
            outcome,
            version: None,
            finished_at: Timestamp::from_micros(3),
            evidence: None,
            cached: false,
        };
        self.store.finish(vec![completion]).await.unwrap()[0]
    }

    pub(crate) async fn give_back(&self, lease: &Lease) {
        let Lease { id, attempt, .. } = *lease;
        self.store.release(vec![Release { id, attempt }]).await.unwrap();
    }

    pub(crate) async fn record(&self, id: TaskId) -> TaskRecord {
        let Lookup::Found(record) = self.store.fetch(id).await.unwrap() else {
            unreachable!("{id} is known")
        };
        *record
    }

    /// The payload files, by their names alone.
    pub(crate) fn files(&self) -> Vec<String> {
        let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
        payload_files(&self.path).keys().map(name).collect()
    }

    /// The path of the one file whose name begins like this.
    pub(crate) fn file(&self, id: TaskId, part: &str) -> PathBuf {
        let mut found = payload_files(&self.path).into_keys();
        let begin = format!("{id}.{part}.");
        let is_it = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with(&begin);
        beside(&self.path, ".payloads").join(found.find(is_it).unwrap())
    }

    /// Waits until no files are left but these many; what is cleared away is not answered for.
    pub(crate) async fn files_are(&self, count: usize) {
        let cleared = async {
            while self.files().len() != count {
                tokio::task::yield_now().await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), cleared).await;
        assert!(
            in_time.is_ok(),
            "{count} files should be left: {:#?}",
            self.files()
        );
    }
}
