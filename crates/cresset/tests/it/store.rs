//! `store`: what an operator reads of a store that is sound, damaged, in the way, or not there.

use std::path::Path;

use cresset_queue::{Broker, Completion, LeaseRequest, NewTask, ResultStore, Turn};
use cresset_queue_sql::{SqliteOptions, SqliteStore};
use cresset_task::{Outcome, Payload, Timestamp};

use crate::program::{Ended, cresset, end};

/// Runs it in `dir`; paths, ids and instants are taken out of what it says.
fn run_in(dir: &Path, args: &[&str]) -> Ended {
    let mut ended = end(cresset(args)
        .current_dir(dir)
        .env("HOME", "/home/someone")
        .env_remove("XDG_CACHE_HOME")
        .spawn()
        .unwrap());
    let path = dir.canonicalize().unwrap().display().to_string();
    for text in [&mut ended.stdout, &mut ended.stderr] {
        *text = text.replace(&path, "HERE");
    }
    ended
}

macro_rules! assert_reads {
    ($name:literal, $ended:expr) => {
        let mut settings = insta::Settings::clone_current();
        settings.add_filter("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID");
        settings.add_filter(r"\.(in|out)\.[0-9a-f]{16}-", ".$1.RUN-");
        settings.add_filter(r"\d{4}-\d\d-\d\dT[0-9:.]+Z", "THEN");
        settings.add_filter(r"replaced-\d+", "replaced-THEN");
        settings.add_filter("[0-9a-f]{64}", "DIGEST");
        settings.add_filter(r"\(pid \d+\)", "(pid 4711)");
        // The database's size is SQLite's business, and the program's version the release's.
        settings.add_filter(r#""database_bytes": \d+"#, r#""database_bytes": SIZE"#);
        settings.add_filter(r#""schema": \d+"#, r#""schema": NEWEST"#);
        settings.add_filter(r#""program": "[^"]+""#, r#""program": "VERSION""#);
        settings.add_filter(r"files, \d+ bytes, as of", "files, SIZE bytes, as of");
        settings.bind(|| insta::assert_snapshot!($name, $ended));
    };
}

/// A store with a queued task, an ended one, and one whose input is a file.
fn fill(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let store = SqliteStore::open(SqliteOptions {
            max_inline_bytes: 1_000,
            ..SqliteOptions::at(dir.join("tasks.db"))
        })
        .unwrap();
        for bytes in [1, 2, 5_000] {
            submit(&store, bytes).await;
        }
        let request = LeaseRequest {
            model: "digits".parse().unwrap(),
            max_tasks: 1,
            max_bytes: usize::MAX,
            now: Timestamp::from_micros(5),
        };
        let lease = store.lease(request).await.unwrap().remove(0);
        let completion = Completion {
            id: lease.id,
            attempt: lease.attempt,
            redeliveries: 0,
            history: Vec::new(),
            outcome: Outcome::Success(lease.payload.unwrap()),
            version: None,
            finished_at: Timestamp::now(),
            evidence: None,
            cached: false,
        };
        store.finish(vec![completion]).await.unwrap();
        store.close().await.unwrap();
    });
}

async fn submit(store: &SqliteStore, bytes: usize) {
    let new = NewTask {
        turn: Turn::from_micros(bytes as i64),
        ..NewTask::new(
            "digits".parse().unwrap(),
            Payload::Json(vec![b'1'; bytes].into()),
            Timestamp::now(),
        )
    };
    store.submit(new).await.unwrap();
}

#[test]
fn a_sound_store_is_checked_copied_and_put_back() {
    let dir = tempfile::tempdir().unwrap();
    fill(&dir.path().join("data"));
    let data = ["--data-dir", "data"];
    let run = |args: &[&str]| run_in(dir.path(), &[args, &data].concat());
    assert_reads!("store_sound", run(&["store", "check"]));
    assert_reads!("store_sound_json", run(&["store", "check", "--json"]).stdout);
    assert_reads!("store_backup", run(&["store", "backup", "copy"]));
    assert_reads!("store_backup_again", run(&["store", "backup", "copy"]));
    assert_reads!(
        "store_backup_json",
        run(&["store", "backup", "copy2", "--json"]).stdout
    );
    assert_reads!("store_restore_refused", run(&["store", "restore", "copy"]));
    assert_reads!(
        "store_restore_replaced",
        run(&["store", "restore", "copy", "--replace"])
    );
    let elsewhere = run_in(
        dir.path(),
        &["store", "restore", "copy", "--data-dir", "new/place"],
    );
    assert_reads!("store_restore", elsewhere);
}

#[test]
fn a_damaged_store_is_told_of_by_each_command_with_a_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    fill(&data);
    let run = |args: &[&str]| run_in(dir.path(), &[args, &["--data-dir", "data"]].concat());
    assert_eq!(run(&["store", "backup", "good"]).exit, 0);
    let shard = data
        .join("tasks.db.payloads")
        .read_dir()
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let payload = shard.path().read_dir().unwrap().next().unwrap().unwrap().path();
    std::fs::write(payload, "short").unwrap();
    let checked = run(&["store", "check"]);
    assert_eq!(checked.exit, 1);
    assert_reads!("store_damaged", checked);
    assert_reads!("store_damaged_backup", run(&["store", "backup", "bad"]));
    let restore = ["store", "restore", "bad", "--data-dir", "other"];
    assert_reads!("store_damaged_restore", run_in(dir.path(), &restore));

    std::fs::write(data.join("tasks.db"), vec![b'x'; 8_192]).unwrap();
    assert_reads!("store_garbage", run(&["store", "check"]));
    assert_eq!(run_in(dir.path(), &["init", "models/words"]).exit, 0);
    let refused = run(&["serve", "models", "--listen", "127.0.0.1:0"]);
    assert_eq!(refused.exit, 74);
    assert_reads!("store_serve_refuses", refused.stderr);
    assert_eq!(run(&["store", "restore", "good", "--replace"]).exit, 0);
    assert_eq!(run(&["store", "check"]).exit, 0);
}

#[test]
fn a_store_that_is_not_there_or_in_use_is_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let none = run_in(dir.path(), &["store", "check", "--data-dir", "nowhere"]);
    assert_reads!("store_none", none);
    let data = dir.path().join("data");
    fill(&data);
    let store = SqliteStore::open(SqliteOptions::at(data.join("tasks.db"))).unwrap();
    let run = |args: &[&str]| run_in(dir.path(), &[args, &["--data-dir", "data"]].concat());
    assert_reads!("store_in_use", run(&["store", "check"]));
    assert_eq!(run(&["store", "backup", "copy"]).exit, 0);
    assert_reads!(
        "store_in_use_restore",
        run(&["store", "restore", "copy", "--replace"])
    );
    drop(store);
}
