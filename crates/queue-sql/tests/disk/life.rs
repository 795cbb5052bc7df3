//! A life of a few tasks on a failing disk, and what must hold whatever fails.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use cresset_queue::{
    Broker, Cancelled, Completion, Finished, Lease, LeaseRequest, Lookup, NewTask, QueueError,
    QueueErrorKind, ResultStore, Retry,
};
use cresset_queue_sql::{SqliteOptions, SqliteStore};
use cresset_task::{Attempt, ModelName, Outcome, Payload, State, TaskId, Timestamp};
use tempfile::TempDir;

use crate::folder::{beside, payload_files};
use crate::vfs::Disk;

/// Above this a payload is in a file.
pub(crate) const INLINE_BYTES: usize = 2_000;

const RESULT_TTL: Duration = Duration::from_secs(100);
/// One fault fails one call; what is refused twice is not refused because of it.
const TRIES: usize = 2;

pub(crate) fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(SqliteOptions {
        max_inline_bytes: INLINE_BYTES,
        result_ttl: RESULT_TTL,
        ..SqliteOptions::at(path)
    })
    .unwrap()
}

fn model() -> ModelName {
    "digits".parse().unwrap()
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(seconds * 1_000_000)
}

pub(crate) fn task(bytes: usize) -> NewTask {
    NewTask::new(model(), Payload::Json(vec![b'1'; bytes].into()), at(1))
}

pub(crate) fn leasing(max_tasks: usize) -> LeaseRequest {
    LeaseRequest {
        model: model(),
        max_tasks,
        max_bytes: usize::MAX,
        now: at(2),
    }
}

/// What was answered of a task.
#[derive(Clone, Debug)]
struct Told {
    state: State,
    attempt: Attempt,
    bytes: usize,
    /// The operation on it that was refused last, at the instant the process died: it may have happened.
    doubtful: bool,
}

pub(crate) struct Life<'a> {
    store: &'a SqliteStore,
    disk: &'a Disk,
    path: &'a Path,
    name: String,
    told: BTreeMap<TaskId, Told>,
    purged: Vec<TaskId>,
    pub(crate) die_at_the_first_refusal: bool,
    died: Option<(TempDir, BTreeMap<TaskId, Told>)>,
}

impl<'a> Life<'a> {
    pub(crate) fn new(store: &'a SqliteStore, disk: &'a Disk, path: &'a Path, name: String) -> Self {
        Self {
            store,
            disk,
            path,
            name,
            told: BTreeMap::new(),
            purged: Vec::new(),
            die_at_the_first_refusal: false,
            died: None,
        }
    }

    /// Submits, leases, finishes, retries, cancels and purges; whatever is refused is asked for again.
    pub(crate) async fn live(&mut self) {
        let first = self.submit(10).await;
        let large = self.submit(3 * INLINE_BYTES).await;
        let third = self.submit(500).await;
        let leases = self.lease(2).await;
        assert_eq!(
            leases.iter().map(|l| l.id).collect::<Vec<_>>(),
            [first, large],
            "{}",
            self.name
        );
        self.finish(&leases[0], 4 * INLINE_BYTES).await;
        self.retry(&leases[1]).await;
        self.cancel(third).await;
        let fourth = self.submit(5 * INLINE_BYTES).await;
        let leases = self.lease(2).await;
        assert_eq!(leases.len(), 2, "{}", self.name);
        let lease = leases.iter().find(|l| l.id == fourth).unwrap();
        self.finish(lease, 20).await;
        self.purge().await;
        self.submit(30).await;
    }

    /// Asks until it is granted. A refusal is `Unavailable`, and is looked at.
    async fn ask<T>(
        &mut self,
        concerned: &[TaskId],
        call: impl AsyncFn(&SqliteStore) -> Result<T, QueueError>,
    ) -> T {
        for _ in 0..TRIES {
            match call(self.store).await {
                Ok(answer) => return answer,
                Err(error) => self.refused(concerned, &error).await,
            }
        }
        panic!("{}: refused {TRIES} times", self.name)
    }

    async fn refused(&mut self, concerned: &[TaskId], error: &QueueError) {
        assert_eq!(error.kind, QueueErrorKind::Unavailable, "{}: {error}", self.name);
        assert!(self.disk.failed() > 0, "{}: {error} without a fault", self.name);
        if self.die_at_the_first_refusal && self.died.is_none() {
            let copy = tempfile::tempdir().unwrap();
            copy_files(self.path, &copy.path().join("tasks.db"));
            let mut told = self.told.clone();
            for id in concerned {
                if let Some(told) = told.get_mut(id) {
                    told.doubtful = true;
                }
            }
            self.died = Some((copy, told));
        }
        // It did not happen.
        for id in concerned {
            let found = self.store.fetch(*id).await.unwrap();
            match (self.told.get(id), found) {
                (None, Lookup::Unknown) => {}
                (Some(told), Lookup::Found(record)) => {
                    assert_eq!(
                        (record.state, record.attempts),
                        (told.state, told.attempt),
                        "{}: {id}",
                        self.name
                    );
                }
                (told, found) => panic!("{}: {told:?}, but {found:?}", self.name),
            }
        }
    }

    async fn submit(&mut self, bytes: usize) -> TaskId {
        let new = task(bytes);
        let id = new.id;
        self.ask(&[id], async |store| store.submit(new.clone()).await)
            .await;
        let told = Told {
            state: State::Pending,
            attempt: Attempt(0),
            bytes,
            doubtful: false,
        };
        self.told.insert(id, told);
        id
    }

    async fn lease(&mut self, count: usize) -> Vec<Lease> {
        let all: Vec<TaskId> = self.told.keys().copied().collect();
        let leases = self
            .ask(&all, async |store| store.lease(leasing(count)).await)
            .await;
        for lease in &leases {
            let told = self.told.get_mut(&lease.id).unwrap();
            assert_eq!(
                lease.payload.as_ref().unwrap().weight(),
                told.bytes,
                "{}",
                self.name
            );
            assert_eq!(lease.attempt, told.attempt.next(), "{}", self.name);
            (told.state, told.attempt) = (State::Started, lease.attempt);
        }
        leases
    }

    async fn finish(&mut self, lease: &Lease, bytes: usize) {
        let completion = Completion {
            id: lease.id,
            attempt: lease.attempt,
            redeliveries: 0,
            history: Vec::new(),
            outcome: Outcome::Success(Payload::Json(vec![b'2'; bytes].into())),
            version: None,
            finished_at: at(3),
            evidence: None,
            cached: false,
        };
        let finished = self
            .ask(&[lease.id], async |store| {
                store.finish(vec![completion.clone()]).await
            })
            .await;
        assert_eq!(finished, [Finished::Recorded], "{}", self.name);
        self.told.get_mut(&lease.id).unwrap().state = State::Success;
    }

    async fn retry(&mut self, lease: &Lease) {
        let retry = Retry {
            id: lease.id,
            attempt: lease.attempt,
            redeliveries: 0,
            history: Vec::new(),
            due_at: at(1),
        };
        let queued = self
            .ask(&[lease.id], async |store| store.retry(vec![retry.clone()]).await)
            .await;
        assert_eq!(queued, [Finished::Recorded], "{}", self.name);
        self.told.get_mut(&lease.id).unwrap().state = State::Retry;
    }

    async fn cancel(&mut self, id: TaskId) {
        let cancelled = self
            .ask(&[id], async |store| store.cancel(id, "enough", at(3)).await)
            .await;
        assert_eq!(cancelled, Cancelled::Queued(model()), "{}", self.name);
        self.told.get_mut(&id).unwrap().state = State::Revoked;
    }

    async fn purge(&mut self) {
        let all: Vec<TaskId> = self.told.keys().copied().collect();
        let removed = self
            .ask(&all, async |store| store.purge(at(3).plus(RESULT_TTL * 2)).await)
            .await;
        let ended: Vec<TaskId> = all
            .into_iter()
            .filter(|id| self.told[id].state.is_terminal())
            .collect();
        assert_eq!(removed, ended.len(), "{}", self.name);
        for id in ended {
            self.told.remove(&id);
            self.purged.push(id);
        }
    }

    /// Everything that was answered is so, in the store as it runs.
    pub(crate) async fn check(&self, store: &SqliteStore) {
        self.check_told(store, &self.told, &self.name).await;
        for id in &self.purged {
            assert_eq!(store.fetch(*id).await.unwrap(), Lookup::Expired, "{}", self.name);
        }
    }

    /// And after it was opened again; and in the files as they were when the process died of the fault.
    pub(crate) async fn check_reopened(self, path: &Path) {
        let store = open(path);
        self.check_told(&store, &self.told, &self.name).await;
        self.check_leasable(&store, &self.told).await;
        store.close().await.unwrap();
        assert_sound(path);
        if let Some((dir, told)) = &self.died {
            let path = dir.path().join("tasks.db");
            let store = open(&path);
            self.check_told(&store, told, &format!("{}, died", self.name))
                .await;
            self.check_leasable(&store, told).await;
            store.close().await.unwrap();
            assert_sound(&path);
        }
    }

    async fn check_told(&self, store: &SqliteStore, told: &BTreeMap<TaskId, Told>, name: &str) {
        for (id, told) in told {
            let Lookup::Found(record) = store.fetch(*id).await.unwrap() else {
                assert!(told.doubtful && told.state.is_terminal(), "{name}: {id} is gone");
                continue;
            };
            // Leases end with their process.
            let queued = |state| {
                if state == State::Started {
                    State::Pending
                } else {
                    state
                }
            };
            if !told.doubtful {
                assert_eq!(queued(record.state), queued(told.state), "{name}: {id}");
            }
            assert!(record.attempts >= told.attempt, "{name}: {id}");
            assert_eq!(
                record.outcome.is_some(),
                record.state.is_terminal(),
                "{name}: {id}"
            );
        }
    }

    /// Whatever is queued can be leased, with its payload, under a new attempt; also what nobody was told of.
    async fn check_leasable(&self, store: &SqliteStore, told: &BTreeMap<TaskId, Told>) {
        for lease in store.lease(leasing(100)).await.unwrap() {
            let before = told.get(&lease.id).map_or(Attempt(0), |told| told.attempt);
            assert!(lease.attempt > before, "{}", self.name);
            assert!(lease.payload.as_ref().unwrap().weight() > 0, "{}", self.name);
        }
    }
}

fn copy_files(from: &Path, to: &Path) {
    for suffix in ["", "-wal"] {
        if beside(from, suffix).exists() {
            fs::copy(beside(from, suffix), beside(to, suffix)).unwrap();
        }
    }
    for (name, bytes) in payload_files(from) {
        let path = beside(to, ".payloads").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// No row lacks its file, and SQLite finds nothing wrong.
fn assert_sound(path: &Path) {
    let conn = rusqlite::Connection::open(path).unwrap();
    let verdict: String = conn
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(verdict, "ok");
    let files = payload_files(path);
    let sql = "SELECT file FROM inputs WHERE file IS NOT NULL
        UNION ALL SELECT file FROM outcomes WHERE file IS NOT NULL";
    let mut query = conn.prepare(sql).unwrap();
    for name in query.query_map([], |row| row.get::<_, String>(0)).unwrap() {
        let name = name.unwrap();
        assert!(
            files.keys().any(|path| path.ends_with(&name)),
            "{name} is missing"
        );
    }
}
