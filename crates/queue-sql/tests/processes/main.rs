//! What only shows with real processes: SIGKILL at any instant, a second process, a disk that fills up.
//!
//! The children are this test binary again: a test that finds its variable set plays the child's part.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

#[path = "../common/folder.rs"]
mod folder;
mod limits;

use std::collections::HashSet;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use cresset_queue::{
    Broker, Completion, Finished, LeaseRequest, Lookup, NewTask, QueueErrorKind, ResultStore,
};
use cresset_queue_sql::{SqliteOptions, SqliteStore};
use cresset_task::{ModelName, Outcome, Payload, State, TaskId, Timestamp};
use tokio::task::JoinSet;

use crate::folder::payload_files;

/// Above this a payload is in a file; the tests below have both.
const INLINE_BYTES: usize = 2_000;

const CHILD: &str = "CRESSET_TEST_CHILD_DATABASE";

fn model() -> ModelName {
    "digits".parse().unwrap()
}

fn task(bytes: usize) -> NewTask {
    let created_at = Timestamp::now();
    NewTask::new(model(), Payload::Json(vec![b'1'; bytes].into()), created_at)
}

fn leasing(max_tasks: usize) -> LeaseRequest {
    LeaseRequest {
        model: model(),
        max_tasks,
        max_bytes: usize::MAX,
        now: Timestamp::now(),
    }
}

fn open(database: &Path) -> SqliteStore {
    SqliteStore::open(SqliteOptions {
        max_inline_bytes: INLINE_BYTES,
        ..SqliteOptions::at(database)
    })
    .unwrap()
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
    let files = payload_files(database);
    for (name, length) in named_files(&conn) {
        let file = files.iter().find(|(path, _)| path.ends_with(&name));
        assert_eq!(file.map(|(_, bytes)| bytes.len() as i64), Some(length), "{name}");
    }
}

/// The files that rows name, and their lengths.
fn named_files(conn: &rusqlite::Connection) -> Vec<(String, i64)> {
    let sql = "SELECT file, length FROM inputs WHERE file IS NOT NULL
        UNION ALL SELECT file, length FROM outcomes WHERE file IS NOT NULL";
    let mut query = conn.prepare(sql).unwrap();
    let rows = query.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    rows.map(Result::unwrap).collect()
}

/// Opens once more and waits until every file has its row; how many there are.
fn files_after_a_sweep(database: &Path) -> usize {
    let store = open(database);
    let conn = rusqlite::Connection::open(database).unwrap();
    let named = named_files(&conn).len();
    drop(conn);
    runtime().block_on(async {
        let swept = async {
            while payload_files(database).len() > named {
                tokio::task::yield_now().await;
            }
        };
        let in_time = tokio::time::timeout(Duration::from_secs(20), swept).await;
        assert!(in_time.is_ok(), "files are left that no row names");
        store.close().await.unwrap();
    });
    assert_consistent(database);
    named
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
    let files = files_after_a_sweep(&database);
    assert!(files > 500, "{files} payloads in files");
}

async fn work_until_killed(database: &Path) {
    let store = open(database);
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
                        outcome: Outcome::Success(lease.payload.clone().unwrap()),
                        version: None,
                        finished_at: Timestamp::now(),
                        evidence: None,
                        cached: false,
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
    let store = open(database);
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
