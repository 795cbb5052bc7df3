//! What the store makes of the files it finds, and what it leaves.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::fs;
use std::path::Path;
use std::time::Duration;

use cresset_queue::{
    Broker, Depth, Idempotency, LeaseRequest, Lookup, NewTask, QueueError, QueueErrorKind, ResultStore,
    Submitted,
};
use cresset_queue_sql::{SqliteOptions, SqliteStore};
use cresset_task::{
    Attempt, Code, DType, ModelName, Outcome, Payload, Stage, State, TaskId, TaskRecord, Timestamp,
};
use rusqlite::Connection;

fn model() -> ModelName {
    "digits".parse().unwrap()
}

fn task() -> NewTask {
    NewTask::new(
        model(),
        Payload::Json(b"[1]"[..].into()),
        Timestamp::from_micros(1),
    )
}

fn leasing(max_tasks: usize) -> LeaseRequest {
    LeaseRequest {
        model: model(),
        max_tasks,
        max_bytes: usize::MAX,
        now: Timestamp::from_micros(2),
    }
}

fn open(path: &Path) -> Result<SqliteStore, QueueError> {
    SqliteStore::open(SqliteOptions::at(path))
}

/// A closed database with these many queued tasks.
async fn database_with(path: &Path, tasks: usize) -> Vec<TaskId> {
    let store = open(path).unwrap();
    let mut ids = Vec::new();
    for _ in 0..tasks {
        let new = task();
        ids.push(new.id);
        store.submit(new).await.unwrap();
    }
    store.close().await.unwrap();
    ids
}

/// Refused as corrupt with these words, and not touched.
fn assert_refused(path: &Path, words: &[&str]) {
    let before = fs::read(path).ok();
    let error = open(path).unwrap_err();
    assert_eq!(error.kind, QueueErrorKind::Corrupt, "{error}");
    let text = format!(
        "{error} {:?}",
        std::error::Error::source(&error).map(ToString::to_string)
    );
    for word in words.iter().chain(&["tasks.db"]) {
        assert!(text.contains(word), "{word:?} is not in {text:?}");
    }
    assert_eq!(fs::read(path).ok(), before, "a refused file is left as it was");
}

#[tokio::test]
async fn a_new_database_says_so_and_an_old_one_tells_what_is_queued() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tasks.db");
    let store = open(&path).unwrap();
    let opened = store.opened();
    assert!(opened.created);
    assert_eq!((opened.queued, opened.requeued), (0, 0));
    for _ in 0..3 {
        store.submit(task()).await.unwrap();
    }
    store.lease(leasing(2)).await.unwrap();
    store.close().await.unwrap();

    let opened = open(&path).unwrap().opened();
    assert!(!opened.created);
    assert_eq!((opened.queued, opened.requeued), (3, 2));
}

#[tokio::test]
async fn a_clean_stop_leaves_one_file_and_its_lock() {
    let dir = tempfile::tempdir().unwrap();
    database_with(&dir.path().join("tasks.db"), 3).await;
    let mut left: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|f| f.unwrap().file_name())
        .collect();
    left.sort();
    assert_eq!(left, ["tasks.db", "tasks.db.lock"]);
}

#[test]
fn a_missing_folder_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = open(&dir.path().join("nowhere/tasks.db")).unwrap_err();
    assert_eq!(error.kind, QueueErrorKind::Unavailable);
    assert!(error.to_string().contains("nowhere/tasks.db"), "{error}");
}

#[tokio::test]
async fn a_newer_schema_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tasks.db");
    database_with(&path, 1).await;
    Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    assert_refused(&path, &["99", "newer"]);
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tasks.db");
    fs::write(&path, "Dear diary, ".repeat(1_000)).unwrap();
    assert_refused(&path, &["not a database"]);
}

#[test]
fn the_database_of_another_program_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tasks.db");
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE theirs (x); PRAGMA user_version = 1")
        .unwrap();
    assert_refused(&path, &["not one of cresset's"]);
}

#[test]
fn an_emptied_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tasks.db");
    fs::write(&path, "").unwrap();
    assert_refused(&path, &["empty"]);
}

#[test]
fn a_log_without_its_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tasks.db");
    fs::write(dir.path().join("tasks.db-wal"), "frames").unwrap();
    assert_refused(&path, &["missing", "tasks.db-wal"]);
    assert!(!path.exists() && dir.path().join("tasks.db-wal").exists());
}

#[tokio::test]
async fn a_database_cut_short_is_an_error_and_never_begun_anew() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tasks.db");
    database_with(&path, 500).await;
    let whole = fs::read(&path).unwrap();
    for keep in [50, 4_096, 8_192, whole.len() / 2] {
        fs::write(&path, &whole[..keep]).unwrap();
        let store = match open(&path) {
            Err(error) => {
                assert_eq!(error.kind, QueueErrorKind::Corrupt, "{keep} bytes kept: {error}");
                continue;
            }
            Ok(store) => store,
        };
        // Opening reads little; whoever touches what is missing is told.
        let error = loop {
            match store.lease(leasing(50)).await {
                Ok(leases) => assert!(
                    !leases.is_empty(),
                    "{keep} bytes kept: the missing tasks were not missed"
                ),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind, QueueErrorKind::Corrupt, "{keep} bytes kept: {error}");
        store.close().await.unwrap();
    }
}

#[tokio::test]
async fn a_creation_that_was_interrupted_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tasks.db");
    fs::write(dir.path().join("tasks.db.new"), "half a datab").unwrap();
    fs::write(dir.path().join("tasks.db.new-journal"), "half a journal").unwrap();
    assert_eq!(database_with(&path, 2).await.len(), 2);
    assert_eq!(open(&path).unwrap().opened().queued, 2);
}

#[tokio::test]
async fn a_task_whose_input_cannot_be_read_is_leased_with_its_damage() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tasks.db");
    let ids = database_with(&path, 4).await;
    let conn = Connection::open(&path).unwrap();
    conn.execute("UPDATE inputs SET kind = 99 WHERE seq = 1", [])
        .unwrap();
    conn.execute("DELETE FROM inputs WHERE seq = 2", []).unwrap();
    conn.close().unwrap();

    let store = open(&path).unwrap();
    let leases = store.lease(leasing(3)).await.unwrap();
    assert_eq!(leases.iter().map(|l| l.id).collect::<Vec<_>>(), ids[..3]);
    assert_eq!(leases[2].payload, Ok(task().payload), "the queue is not blocked");
    for (lease, why) in leases.iter().zip(["kind", "missing"]) {
        let damage = lease.payload.as_ref().unwrap_err().to_string();
        assert!(damage.contains("input") && damage.contains(why), "{damage}");
    }
    assert_eq!(
        store.depth(&model()),
        Depth {
            tasks: 1,
            bytes: 3,
            ..Depth::default()
        }
    );
}

#[tokio::test]
async fn the_log_is_bounded_under_load_and_emptied_when_idle() {
    const BYTES: usize = 500_000;
    const TASKS: usize = 240;
    const REST: usize = 4 << 20;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tasks.db");
    let log = dir.path().join("tasks.db-wal");
    let all_in_rows = SqliteOptions {
        max_inline_bytes: usize::MAX,
        ..SqliteOptions::at(&path)
    };
    let store = SqliteStore::open(all_in_rows).unwrap();
    let mut longest = 0;
    for _ in 0..TASKS {
        store
            .submit(NewTask {
                payload: Payload::Json(vec![b'1'; BYTES].into()),
                ..task()
            })
            .await
            .unwrap();
        longest = longest.max(fs::metadata(&log).unwrap().len());
    }
    assert!(
        longest < 40 << 20,
        "{} MiB of log for {} MB written",
        longest >> 20,
        TASKS * BYTES / 1_000_000
    );
    // Idle, it moves what is left into the database, but for a rest that is not worth a flush.
    let moved = async {
        while (fs::metadata(&path).unwrap().len() as usize) < TASKS * BYTES - REST {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), moved)
        .await
        .unwrap();
    store.close().await.unwrap();
}

/// `schema/v1.sql` holds what schema 1 writes and is never changed: every later version must read it.
#[tokio::test]
async fn a_database_of_schema_1_opens() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tasks.db");
    Connection::open(&path)
        .unwrap()
        .execute_batch(include_str!("schema/v1.sql"))
        .unwrap();
    let store = open(&path).unwrap();
    assert_eq!((store.opened().queued, store.opened().requeued), (2, 1));
    let id = |n: u128| TaskId::from_bytes(n.to_be_bytes());
    let at = Timestamp::from_micros;

    let pending = TaskRecord {
        id: id(1),
        model: model(),
        state: State::Pending,
        created_at: at(1_700_000_000_000_001),
        started_at: None,
        finished_at: None,
        due_at: None,
        expires_at: None,
        deadline_at: None,
        attempts: Attempt(0),
        retries: 0,
        history: Vec::new(),
        priority: 5,
        metadata: Some(b"{\"order\":17}"[..].into()),
        version: None,
        replay_of: None,
        outcome: None,
        cached: false,
        retry: None,
        trace: None,
    };
    assert_eq!(
        store.fetch(id(1)).await.unwrap(),
        Lookup::Found(Box::new(pending.clone()))
    );
    let leased = TaskRecord {
        id: id(2),
        priority: -5,
        metadata: None,
        attempts: Attempt(2),
        created_at: at(1_700_000_000_000_002),
        started_at: Some(at(1_700_000_000_000_020)),
        ..pending
    };
    let Lookup::Found(mut found) = store.fetch(id(2)).await.unwrap() else {
        unreachable!("2 is known")
    };
    let history = std::mem::take(&mut found.history);
    assert_eq!(history.len(), 1, "its lease ended with the process that held it");
    assert_eq!(history[0].attempt, Attempt(2));
    assert_eq!(*found, leased);

    let mut outcomes = Vec::new();
    for n in 3..=6 {
        let Lookup::Found(record) = store.fetch(id(n)).await.unwrap() else {
            unreachable!("{n} is known")
        };
        assert_eq!(record.finished_at, Some(at(1_700_000_000_000_030)));
        assert_eq!(record.version.as_deref(), Some("v2"));
        outcomes.push(record.outcome.unwrap());
    }
    assert_eq!(
        outcomes[0],
        Outcome::Success(Payload::Json(b"{\"label\":7}"[..].into()))
    );
    let Outcome::Success(Payload::Tensors(set)) = &outcomes[1] else {
        unreachable!("{:?}", outcomes[1])
    };
    let tensor = set.get("y").unwrap();
    assert_eq!(
        (tensor.dtype, &tensor.shape[..], &tensor.data[..]),
        (DType::Uint8, &[3][..], &b"abc"[..])
    );
    let Outcome::Failure(failure) = &outcomes[2] else {
        unreachable!("{:?}", outcomes[2])
    };
    assert_eq!(
        (failure.code, failure.stage),
        (Code::ModelError, Some(Stage::Predict))
    );
    assert_eq!(
        outcomes[3],
        Outcome::Revoked {
            reason: "cancelled".into()
        }
    );
    assert_eq!(store.fetch(id(7)).await.unwrap(), Lookup::Expired);

    let leases = store.lease(leasing(10)).await.unwrap();
    assert_eq!(leases.iter().map(|l| l.id).collect::<Vec<_>>(), [id(1), id(2)]);
    assert_eq!(leases[0].payload, Ok(Payload::Json(b"[1,2,3]"[..].into())));
    assert_eq!(leases[1].attempt, Attempt(3));

    // What later schemas brought works on it.
    let keyed = NewTask {
        idempotency: Some(Idempotency {
            key: "k".parse().unwrap(),
            digest: [7; 32],
        }),
        ..task()
    };
    assert_eq!(store.submit(keyed.clone()).await.unwrap(), Submitted::New);
    let replayed = Submitted::Replayed {
        id: keyed.id,
        state: State::Pending,
        created_at: keyed.created_at,
    };
    assert_eq!(
        store
            .submit(NewTask {
                id: TaskId::fresh(),
                ..keyed
            })
            .await
            .unwrap(),
        replayed
    );
}

/// `schema/v2.sql` holds what schema 2 writes: it had no turns.
#[tokio::test]
async fn a_database_of_schema_2_opens_and_its_queue_gets_turns() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tasks.db");
    Connection::open(&path)
        .unwrap()
        .execute_batch(include_str!("schema/v2.sql"))
        .unwrap();
    let store = open(&path).unwrap();
    assert_eq!((store.opened().queued, store.opened().requeued), (4, 1));
    let id = |n: u128| TaskId::from_bytes(n.to_be_bytes());
    let second = |n: i64| 1_700_000_000_000_000 + n * 1_000_000;
    // The one that was leased came two seconds after the others with 100 points: ten seconds, at a tenth each.
    for (ahead, n) in [4, 2, 1, 3].into_iter().enumerate() {
        assert_eq!(store.position(id(n)).await.unwrap(), Some(ahead as u64), "{n}");
    }
    let leases = store.lease(leasing(10)).await.unwrap();
    let turns: Vec<_> = leases.iter().map(|l| (l.id, l.turn.as_micros())).collect();
    let wanted = [
        (id(4), second(-8)),
        (id(2), second(0) - 200_000),
        (id(1), second(0) + 500_001),
        (id(3), second(1)),
    ];
    assert_eq!(turns, wanted);
    let Lookup::Found(finished) = store.fetch(id(5)).await.unwrap() else {
        unreachable!("5 is known")
    };
    assert_eq!(finished.state, State::Success);
    store.close().await.unwrap();
}
