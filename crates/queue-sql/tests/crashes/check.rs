//! Opening what is left, and what must hold then.

use std::fs;
use std::path::PathBuf;

use cresset_queue::{Broker, Completion, Finished, LeaseRequest, Lookup, ResultStore};
use cresset_queue_sql::{Durability, SqliteStore};
use cresset_task::{Outcome, State, TaskId, TaskRecord};
use rusqlite::Connection;
use tempfile::TempDir;

use crate::cuts::Cut;
use crate::folder::{beside, payload_files};
use crate::life::{Fate, Recording, Told, at, model, open};

pub(crate) struct Image<'a> {
    recording: &'a Recording,
    cut: &'a Cut,
    _dir: TempDir,
    path: PathBuf,
}

impl<'a> Image<'a> {
    pub(crate) fn new(recording: &'a Recording, cut: &'a Cut) -> Self {
        // In memory if possible: what is cut off is what a disk would have lost.
        let dir = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        let path = dir.path().join("tasks.db");
        fs::write(&path, &recording.base).unwrap();
        fs::write(beside(&path, "-wal"), &cut.log).unwrap();
        for (name, bytes) in &cut.files {
            let file = beside(&path, ".payloads").join(name);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, bytes).unwrap();
        }
        Self {
            recording,
            cut,
            _dir: dir,
            path,
        }
    }

    pub(crate) async fn check(&self) {
        let store = open(&self.path, Durability::Os);
        let (mut queued, mut stale) = (0, Vec::new());
        for id in self.ids() {
            let found = store.fetch(id).await;
            let found = found.unwrap_or_else(|error| panic!("{}: {id}: {error}", self.cut.name));
            self.check_one(id, &found);
            if let Lookup::Found(record) = &found {
                queued += usize::from(!record.state.is_terminal());
                stale.extend((record.attempts.0 > 0).then_some((id, record.attempts)));
            }
        }
        assert_eq!(store.opened().queued as usize, queued, "{}", self.cut.name);
        // Who held a lease before holds it no more.
        for (id, attempt) in stale {
            let late = Completion {
                id,
                attempt,
                redeliveries: 0,
                history: Vec::new(),
                outcome: Outcome::Revoked {
                    reason: "late".into(),
                },
                version: None,
                finished_at: at(0),
                evidence: None,
                cached: false,
            };
            assert_eq!(
                store.finish(vec![late]).await.unwrap(),
                [Finished::Stale],
                "{}",
                self.cut.name
            );
        }
        self.lease_all(&store, queued).await;
        store.close().await.unwrap();
        self.check_rows();
    }

    /// All that had been heard of by the step under way.
    fn ids(&self) -> Vec<TaskId> {
        let last = self.cut.answered + usize::from(self.cut.is_under_way);
        self.recording.steps[last].fates.keys().copied().collect()
    }

    /// As it was answered; or as the step under way would have made it.
    fn check_one(&self, id: TaskId, found: &Lookup) {
        let steps = &self.recording.steps;
        let before = steps[self.cut.answered].fates.get(&id);
        let after = self
            .cut
            .is_under_way
            .then(|| steps[self.cut.answered + 1].fates.get(&id))
            .flatten();
        assert!(
            is(found, before) || (after.is_some() && is(found, after)),
            "{}: {id} was {before:?}, would be {after:?}, and is {found:?}",
            self.cut.name
        );
    }

    /// Whatever is queued can be leased, under a number that was never given, with what was submitted.
    async fn lease_all(&self, store: &SqliteStore, queued: usize) {
        let request = LeaseRequest {
            model: model(),
            max_tasks: 10_000,
            max_bytes: usize::MAX,
            now: at(1_000_000),
        };
        let leases = store.lease(request).await.unwrap();
        assert_eq!(leases.len(), queued, "{}", self.cut.name);
        let steps = &self.recording.steps;
        for lease in leases {
            let told = |step: usize| match steps.get(step).and_then(|step| step.fates.get(&lease.id)) {
                Some(Fate::Task(told)) => Some(told),
                _ => None,
            };
            let (before, after) = (told(self.cut.answered), told(self.cut.answered + 1));
            let input = before.or(after).map(|told| &told.input);
            assert_eq!(
                lease.payload.as_ref().ok(),
                input,
                "{}: {}",
                self.cut.name,
                lease.id
            );
            if let Some(before) = before {
                assert!(lease.attempt > before.attempt, "{}: {}", self.cut.name, lease.id);
            }
        }
    }

    /// No row contradicts another, and none lacks its file.
    fn check_rows(&self) {
        let conn = Connection::open(&self.path).unwrap();
        let verdict: String = conn
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(verdict, "ok", "{}", self.cut.name);
        for (what, sql) in [
            (
                "a task without input",
                "SELECT count(*) FROM tasks WHERE seq NOT IN (SELECT seq FROM inputs)",
            ),
            (
                "an input without task",
                "SELECT count(*) FROM inputs WHERE seq NOT IN (SELECT seq FROM tasks)",
            ),
            (
                "an end without outcome, or an outcome without end",
                "SELECT count(*) FROM tasks WHERE (state >= 3) <> (seq IN (SELECT seq FROM outcomes))",
            ),
            (
                "a task that is purged and is not",
                "SELECT count(*) FROM tasks WHERE id IN (SELECT id FROM tombstones)",
            ),
        ] {
            let count: i64 = conn.query_row(sql, [], |row| row.get(0)).unwrap();
            assert_eq!(count, 0, "{}: {what}", self.cut.name);
        }
        let files = payload_files(&self.path);
        let sql = "SELECT file, length FROM inputs WHERE file IS NOT NULL
            UNION ALL SELECT file, length FROM outcomes WHERE file IS NOT NULL";
        let mut query = conn.prepare(sql).unwrap();
        let named = query.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?)));
        for row in named.unwrap() {
            let (name, length) = row.unwrap();
            let file = files.iter().find(|(path, _)| path.ends_with(&name));
            assert_eq!(
                file.map(|(_, bytes)| bytes.len() as i64),
                Some(length),
                "{}: {name}",
                self.cut.name
            );
        }
    }
}

fn is(found: &Lookup, fate: Option<&Fate>) -> bool {
    match (found, fate) {
        (Lookup::Unknown, None) | (Lookup::Expired, Some(Fate::Purged)) => true,
        (Lookup::Found(record), Some(Fate::Task(told))) => is_as_told(record, told),
        _ => false,
    }
}

/// A lease ends with its process, and is counted.
fn is_as_told(record: &TaskRecord, told: &Told) -> bool {
    let queued = |state| match state {
        State::Started => State::Pending,
        state => state,
    };
    record.state == queued(told.state) && record.attempts == told.attempt && record.outcome == told.outcome
}
