//! A store with tasks in every state, in rows and in files, and what must be so of it wherever it is put.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cresset_queue::conformance::Dice;
use cresset_queue::{
    Broker, Cancelled, Completion, Finished, Idempotency, Lease, LeaseRequest, Lookup, NewTask, ResultStore,
    Retry,
};
use cresset_queue_sql::care::{self, Permissions, Report, Restored, Thoroughness};
use cresset_queue_sql::{SqliteOptions, SqliteStore};
use cresset_task::{
    Code, Evidence, Failure, ModelName, Outcome, Payload, Redelivery, State, TaskId, TaskRecord, Timestamp,
};

/// Above this a payload is in a file.
pub(crate) const INLINE_BYTES: usize = 1_000;
pub(crate) const RESULT_TTL: Duration = Duration::from_secs(1_000);
const SIZES: [usize; 4] = [1, 900, 1_001, 30_000];

pub(crate) fn model() -> ModelName {
    "digits".parse().unwrap()
}

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(1_000_000 * second)
}

pub(crate) fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(SqliteOptions {
        max_inline_bytes: INLINE_BYTES,
        result_ttl: RESULT_TTL,
        ..SqliteOptions::at(path)
    })
    .unwrap()
}

pub(crate) fn payload(dice: &mut Dice) -> Payload {
    let digit = b'1' + dice.below(9) as u8;
    Payload::Json(vec![digit; dice.pick(&SIZES).unwrap()].into())
}

pub(crate) fn task(payload: Payload) -> NewTask {
    NewTask::new(model(), payload, at(1))
}

pub(crate) async fn lease(store: &SqliteStore, max_tasks: usize) -> Vec<Lease> {
    let request = LeaseRequest {
        model: model(),
        max_tasks,
        max_bytes: usize::MAX,
        now: at(3),
    };
    store.lease(request).await.unwrap()
}

fn evidence() -> Box<Evidence> {
    Box::new(Evidence {
        cause: "exit".into(),
        reason: "exited with status 3".into(),
        tried: 3,
        resident_bytes: Some(1 << 30),
        log: vec!["about to exit".into()],
    })
}

pub(crate) async fn finish(store: &SqliteStore, lease: &Lease, outcome: Outcome) {
    let completion = Completion {
        id: lease.id,
        attempt: lease.attempt,
        redeliveries: 0,
        history: vec![Redelivery {
            attempt: lease.attempt,
            at: at(3),
            reason: "it was tried once more".into(),
        }],
        evidence: matches!(outcome, Outcome::Failure(_)).then(evidence),
        outcome,
        version: Some("7".into()),
        finished_at: at(4),
        cached: false,
    };
    let finished = store.finish(vec![completion]).await.unwrap();
    assert_eq!(finished, [Finished::Recorded]);
}

/// Some of everything: queued, delayed, expiring, leased, to be retried, ended in each way, purged, with keys and clients.
pub(crate) async fn fill(store: &SqliteStore, dice: &mut Dice) -> Vec<TaskId> {
    let mut ids = Vec::new();
    for number in 0..40_u8 {
        let mut new = task(payload(dice));
        new.due_at = (number % 7 == 3).then(|| at(1_000));
        new.expires_at = (number % 5 == 2).then(|| at(2_000));
        new.metadata =
            (number % 4 == 1).then(|| serde_json::json!({"n": number}).to_string().into_bytes().into());
        new.client = (number % 3 == 0).then(|| "header:someone".parse().unwrap());
        new.idempotency = (number % 6 == 0).then(|| Idempotency {
            key: format!("key-{number}").parse().unwrap(),
            digest: [number; 32],
        });
        ids.push(new.id);
        store.submit(new).await.unwrap();
    }
    for (number, lease) in lease(store, 20).await.iter().enumerate() {
        match number % 5 {
            0 => finish(store, lease, failure()).await,
            1 => {
                let retry = Retry {
                    id: lease.id,
                    attempt: lease.attempt,
                    redeliveries: 0,
                    history: Vec::new(),
                    due_at: at(50),
                };
                assert_eq!(store.retry(vec![retry]).await.unwrap(), [Finished::Recorded]);
            }
            2 => {}
            _ => finish(store, lease, Outcome::Success(payload(dice))).await,
        }
    }
    let cancelled = store.cancel(ids[39], "enough", at(5)).await.unwrap();
    assert!(matches!(cancelled, Cancelled::Queued(_)), "{cancelled:?}");
    // What ended first is purged; what is to be purged ends first.
    let gone = task(payload(dice));
    ids.push(gone.id);
    store.submit(gone.clone()).await.unwrap();
    store.cancel(gone.id, "enough", at(1)).await.unwrap();
    store.purge(at(2).plus(RESULT_TTL)).await.unwrap();
    ids
}

fn failure() -> Outcome {
    Outcome::Failure(Failure::new(Code::ModelError, "ValueError", "boom"))
}

/// What a store tells of these tasks. A lease ends with its process, which writes into the history when that was.
pub(crate) async fn told(store: &SqliteStore, ids: &[TaskId]) -> BTreeMap<TaskId, Option<TaskRecord>> {
    let mut told = BTreeMap::new();
    for id in ids {
        let record = match store.fetch(*id).await.unwrap() {
            Lookup::Found(mut record) => {
                if record.state == State::Started {
                    record.state = State::Pending;
                }
                record
                    .history
                    .retain(|entry| entry.reason != "the server ended while it ran");
                Some(*record)
            }
            Lookup::Expired => None,
            other => panic!("{id}: {other:?}"),
        };
        told.insert(*id, record);
    }
    told
}

/// A folder with a filled store at rest.
pub(crate) struct House {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) ids: Vec<TaskId>,
    pub(crate) told: BTreeMap<TaskId, Option<TaskRecord>>,
}

impl House {
    pub(crate) async fn build(seed: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir.path().join("tasks.db"));
        let ids = fill(&store, &mut Dice::new(seed)).await;
        let told = told(&store, &ids).await;
        store.close().await.unwrap();
        Self { dir, ids, told }
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.dir.path().join("tasks.db")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A backup of it, which is one of a sound store.
    pub(crate) fn back_up(&self, name: &str) -> PathBuf {
        let dest = self.path(name);
        let made = care::backup(&self.database(), &dest).unwrap();
        assert!(made.problems.is_empty(), "{:?}", made.problems);
        dest
    }

    /// The store at `path` is this one.
    pub(crate) async fn assert_is_at(&self, path: &Path) {
        let report = care::check(path, Thoroughness::Full).unwrap();
        assert!(report.is_sound(), "{report:?}");
        let store = open(path);
        assert_eq!(told(&store, &self.ids).await, self.told);
        store.close().await.unwrap();
    }
}

pub(crate) fn check(path: &Path) -> Report {
    care::check(path, Thoroughness::Full).unwrap()
}

/// A restore into a folder of its own.
pub(crate) fn restore(backup: &Path, folder: &Path) -> (PathBuf, Restored) {
    fs::create_dir_all(folder).unwrap();
    let database = folder.join("tasks.db");
    let restored = care::restore(backup, &database, Permissions::default()).unwrap();
    (database, restored)
}

pub(crate) fn replacing() -> Permissions {
    Permissions {
        replace: true,
        ..Permissions::default()
    }
}

/// Copies a folder whole.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let into = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &into);
        } else {
            fs::copy(&path, &into).unwrap();
        }
    }
}

/// Every file below a folder.
pub(crate) fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}
