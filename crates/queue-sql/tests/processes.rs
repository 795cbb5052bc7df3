//! What only shows with real processes: SIGKILL at any instant, a second process, a disk that fills up.
//!
//! The children are this test binary again: a test that finds its variable set plays the child's part.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use bytes::Bytes;
use cresset_queue::{
    Broker, Completion, Depth, Finished, LeaseRequest, Lookup, NewTask, QueueErrorKind, ResultStore, Turn,
};
use cresset_queue_sql::{SqliteOptions, SqliteStore};
use cresset_task::{ModelName, Outcome, Payload, State, TaskId, Timestamp};
use tokio::task::JoinSet;

const CHILD: &str = "CRESSET_TEST_CHILD_DATABASE";

fn model() -> ModelName {
    "digits".parse().unwrap()
}

fn task(bytes: usize) -> NewTask {
    let created_at = Timestamp::now();
    NewTask {
        id: TaskId::fresh(),
        model: model(),
        payload: Payload::Json(vec![b'1'; bytes].into()),
        priority: 0,
        turn: Turn::of(created_at, 0, std::time::Duration::ZERO),
        metadata: None,
        created_at,
        due_at: None,
        expires_at: None,
        idempotency: None,
    }
}

fn leasing(max_tasks: usize) -> LeaseRequest {
    LeaseRequest {
        model: model(),
        max_tasks,
        max_bytes: usize::MAX,
        now: Timestamp::now(),
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// The database of this process, if it is a child.
fn child_database() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(Into::into)
}

/// This binary, running only `test`, as a child.
fn child(command: &mut Command, test: &str, database: &Path) -> (Child, Lines<BufReader<ChildStdout>>) {
    let mut child = command
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(CHILD, database)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines)
}

fn this_binary() -> PathBuf {
    std::env::current_exe().unwrap()
}

/// One whole line for the parent, in one write.
fn say(word: &str, id: TaskId) {
    let line = format!("{word} {id}\n");
    std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
}

/// The id on a child's line that begins with this word.
fn told(line: &str, word: &str) -> Option<TaskId> {
    line.strip_prefix(word)?.strip_prefix(' ')?.parse().ok()
}

/// No row of any table may contradict another, whatever happened.
fn assert_consistent(database: &Path) {
    let conn = rusqlite::Connection::open(database).unwrap();
    let text = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    let count = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(text("PRAGMA integrity_check"), "ok");
    let inputs = "SELECT count(*) FROM tasks WHERE seq NOT IN (SELECT seq FROM inputs)";
    assert_eq!(count(inputs), 0, "tasks without input");
    let outcomes = "SELECT count(*) FROM tasks WHERE (state >= 3) <> (seq IN (SELECT seq FROM outcomes))";
    assert_eq!(
        count(outcomes),
        0,
        "ends without outcome, or outcomes without end"
    );
}

#[test]
fn no_acknowledged_work_is_lost_by_kill_9_at_any_instant() {
    if let Some(database) = child_database() {
        return runtime().block_on(work_until_killed(&database));
    }
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("tasks.db");
    let (mut accepted, mut ended) = (HashSet::new(), HashSet::new());
    for round in 0..8_usize {
        // Killed after so many lines: now while opening, now in the middle of a group, now after a checkpoint.
        let lines_before_kill = [0, 1, 17, 130, 400, 900, 1_500, 2_300][round];
        let name = "no_acknowledged_work_is_lost_by_kill_9_at_any_instant";
        let (mut process, mut lines) = child(&mut Command::new(this_binary()), name, &database);
        let mut note = |line: String| {
            accepted.extend(told(&line, "accepted"));
            ended.extend(told(&line, "ended"));
        };
        lines
            .by_ref()
            .take(lines_before_kill)
            .for_each(|line| note(line.unwrap()));
        process.kill().unwrap();
        // What it had said before it died counts; a line cut short says nothing.
        lines.map_while(Result::ok).for_each(note);
        process.wait().unwrap();
        check_what_is_left(&database, &accepted, &ended);
    }
    assert!(
        accepted.len() > 1_000 && ended.len() > 100,
        "{} accepted, {} ended",
        accepted.len(),
        ended.len()
    );
}

async fn work_until_killed(database: &Path) {
    let store = SqliteStore::open(SqliteOptions::at(database)).unwrap();
    let mut workers = JoinSet::new();
    for number in 0..16 {
        let store = store.clone();
        workers.spawn(async move {
            loop {
                let new = task(100 + 400 * number);
                let id = new.id;
                store.submit(new).await.unwrap();
                say("accepted", id);
            }
        });
    }
    for _ in 0..2 {
        let store = store.clone();
        workers.spawn(async move {
            loop {
                let leases = store.lease(leasing(8)).await.unwrap();
                let completions: Vec<_> = leases
                    .iter()
                    .map(|lease| Completion {
                        id: lease.id,
                        attempt: lease.attempt,
                        redeliveries: 0,
                        history: Vec::new(),
                        outcome: Outcome::Success(Payload::Json(Bytes::from_static(b"true"))),
                        version: None,
                        finished_at: Timestamp::now(),
                    })
                    .collect();
                let answers = store.finish(completions).await.unwrap();
                assert!(answers.iter().all(|a| *a == Finished::Recorded));
                leases.iter().for_each(|lease| say("ended", lease.id));
            }
        });
    }
    workers.join_next().await;
    panic!("a worker of the child ended by itself");
}

fn check_what_is_left(database: &Path, accepted: &HashSet<TaskId>, ended: &HashSet<TaskId>) {
    if !database.exists() {
        assert!(accepted.is_empty() && ended.is_empty());
        return;
    }
    let store = SqliteStore::open(SqliteOptions::at(database)).unwrap();
    runtime().block_on(async {
        for id in accepted.union(ended) {
            let Lookup::Found(record) = store.fetch(*id).await.unwrap() else {
                panic!("{id} was acknowledged and is gone")
            };
            match record.state {
                State::Pending => assert!(!ended.contains(id), "{id} ended and is queued again"),
                State::Success => {}
                other => panic!("{id} is {other}"),
            }
        }
        store.close().await.unwrap();
    });
    assert_consistent(database);
    let queued: i64 = rusqlite::Connection::open(database)
        .unwrap()
        .query_row("SELECT count(*) FROM tasks WHERE state = 0", [], |row| row.get(0))
        .unwrap();
    assert_eq!(store.opened().queued, queued as u64);
}

#[test]
fn a_second_process_is_told_who_has_the_database() {
    if let Some(database) = child_database() {
        let error = SqliteStore::open(SqliteOptions::at(database)).unwrap_err();
        assert_eq!(error.kind, QueueErrorKind::Unavailable);
        println!("refused: {error}");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("tasks.db");
    let store = SqliteStore::open(SqliteOptions::at(&database)).unwrap();
    let name = "a_second_process_is_told_who_has_the_database";
    let (mut process, lines) = child(&mut Command::new(this_binary()), name, &database);
    let said: Vec<String> = lines.map_while(Result::ok).collect();
    assert!(process.wait().unwrap().success(), "{said:?}");
    let refused = said
        .iter()
        .find_map(|line| line.split_once("refused: "))
        .unwrap()
        .1;
    assert!(refused.contains("tasks.db"), "{refused}");
    assert!(
        refused.contains(&format!("pid {}", std::process::id())),
        "{refused}"
    );
    runtime().block_on(store.close()).unwrap();
    SqliteStore::open(SqliteOptions::at(&database)).unwrap();
}

#[test]
fn a_full_disk_refuses_work_loses_nothing_and_passes() {
    if let Some(database) = child_database() {
        return runtime().block_on(fill_the_disk(&database));
    }
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("tasks.db");
    // A limit on the size of files (8 MiB, in units of 512 bytes; soft, so that the child can lift it) stands for the
    // full disk: writes fail at commit and checkpoint alike. The shell sees to it that the limit is an error and not a
    // signal.
    let mut limited = Command::new("sh");
    limited
        .args(["-c", "trap '' XFSZ; ulimit -S -f 16384 && exec \"$0\" \"$@\""])
        .arg(this_binary());
    let name = "a_full_disk_refuses_work_loses_nothing_and_passes";
    let (mut process, lines) = child(&mut limited, name, &database);
    let said: Vec<String> = lines.map_while(Result::ok).collect();
    assert!(process.wait().unwrap().success(), "{said:#?}");
    assert!(
        said.iter()
            .any(|line| line.contains("the disk was full and is not")),
        "{said:#?}"
    );
    assert_consistent(&database);
}

async fn fill_the_disk(database: &Path) {
    const BYTES: usize = 40_000;
    let store = SqliteStore::open(SqliteOptions::at(database)).unwrap();
    let (mut accepted, mut refused) = (Vec::new(), Vec::new());
    while refused.len() < 20 {
        let new = task(BYTES);
        let id = new.id;
        match store.submit(new).await {
            Ok(_) => accepted.push(id),
            Err(error) => {
                assert_eq!(error.kind, QueueErrorKind::Unavailable, "{error}");
                refused.push(id);
            }
        }
        assert!(accepted.len() < 2_000, "the limit on file sizes has no effect");
    }
    // Many at once fail as a group, and reads still work.
    let mut group = JoinSet::new();
    for _ in 0..64 {
        let store = Arc::new(store.clone());
        group.spawn(async move { store.submit(task(BYTES)).await.unwrap_err().kind });
    }
    assert!(
        group
            .join_all()
            .await
            .iter()
            .all(|kind| *kind == QueueErrorKind::Unavailable)
    );
    let depth = Depth {
        tasks: accepted.len() as u64,
        bytes: (accepted.len() * BYTES) as u64,
        ..Depth::default()
    };
    assert_eq!(store.depth(&model()), depth, "only what was accepted counts");
    for id in &accepted {
        assert!(matches!(store.fetch(*id).await.unwrap(), Lookup::Found(_)));
    }
    for id in &refused {
        assert_eq!(
            store.fetch(*id).await.unwrap(),
            Lookup::Unknown,
            "a refused task does not exist"
        );
    }

    let limit = rustix::process::getrlimit(rustix::process::Resource::Fsize);
    let lifted = rustix::process::Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    rustix::process::setrlimit(rustix::process::Resource::Fsize, lifted).unwrap();
    for _ in 0..20 {
        let new = task(BYTES);
        accepted.push(new.id);
        store.submit(new).await.unwrap();
    }
    let leased: Vec<_> = store
        .lease(leasing(10_000))
        .await
        .unwrap()
        .iter()
        .map(|l| l.id)
        .collect();
    assert_eq!(leased, accepted);
    store.close().await.unwrap();
    let store = SqliteStore::open(SqliteOptions::at(database)).unwrap();
    assert_eq!(store.opened().requeued as usize, accepted.len());
    assert_eq!(store.lease(leasing(10_000)).await.unwrap().len(), accepted.len());
    store.close().await.unwrap();
    println!("the disk was full and is not");
}
