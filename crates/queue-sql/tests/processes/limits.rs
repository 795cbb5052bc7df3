//! A disk that fills up, and a process that may open no more files.

use std::collections::HashSet;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use cresset_queue::{Broker, Depth, Lookup, QueueErrorKind, ResultStore};
use cresset_queue_sql::{SqliteOptions, SqliteStore};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::task::JoinSet;

use crate::folder::{beside, payload_files};
use crate::{
    INLINE_BYTES, assert_consistent, child, child_database, leasing, model, open, runtime, task, this_binary,
};

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
    let name = "limits::a_full_disk_refuses_work_loses_nothing_and_passes";
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
    // A payload that is larger than any file may be: its file is begun, fails, and is gone when the error is told.
    let error = store.submit(task(10 << 20)).await.unwrap_err();
    assert_eq!(error.kind, QueueErrorKind::Unavailable, "{error}");
    assert!(payload_files(database).is_empty() && beside(database, ".payloads").exists());
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

    let limit = getrlimit(Resource::Fsize);
    let lifted = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    setrlimit(Resource::Fsize, lifted).unwrap();
    for _ in 0..20 {
        let new = task(BYTES);
        accepted.push(new.id);
        store.submit(new).await.unwrap();
    }
    // In no order: it follows the wall clock, which a machine may set back meanwhile.
    let leased: HashSet<_> = store
        .lease(leasing(10_000))
        .await
        .unwrap()
        .iter()
        .map(|l| l.id)
        .collect();
    assert_eq!(leased, accepted.iter().copied().collect());
    store.close().await.unwrap();
    let store = SqliteStore::open(SqliteOptions::at(database)).unwrap();
    assert_eq!(store.opened().requeued as usize, accepted.len());
    assert_eq!(store.lease(leasing(10_000)).await.unwrap().len(), accepted.len());
    store.close().await.unwrap();
    println!("the disk was full and is not");
}

#[test]
fn too_many_open_files_fail_a_lease_and_not_its_tasks() {
    if let Some(database) = child_database() {
        return runtime().block_on(run_out_of_files(&database));
    }
    let folder = tempfile::tempdir().unwrap();
    let name = "limits::too_many_open_files_fail_a_lease_and_not_its_tasks";
    let (mut process, lines) = child(
        &mut Command::new(this_binary()),
        name,
        &folder.path().join("tasks.db"),
    );
    let said: Vec<String> = lines.map_while(Result::ok).collect();
    assert!(process.wait().unwrap().success(), "{said:#?}");
    assert!(
        said.iter().any(|line| line.contains("there are files again")),
        "{said:#?}"
    );
}

async fn run_out_of_files(database: &Path) {
    let store = open(database);
    let new = task(10 * INLINE_BYTES);
    let payload = new.payload.clone();
    store.submit(new).await.unwrap();
    let before = getrlimit(Resource::Nofile);
    let none = Rlimit {
        current: Some(0),
        maximum: before.maximum,
    };
    setrlimit(Resource::Nofile, none).unwrap();
    let leased = store.lease(leasing(1)).await;
    let submitted = store.submit(task(10 * INLINE_BYTES)).await;
    setrlimit(Resource::Nofile, before).unwrap();
    assert_eq!(leased.unwrap_err().kind, QueueErrorKind::Unavailable);
    assert_eq!(submitted.unwrap_err().kind, QueueErrorKind::Unavailable);
    let leases = loop {
        // It is given back in the background.
        let leases = store.lease(leasing(1)).await.unwrap();
        if !leases.is_empty() {
            break leases;
        }
        tokio::task::yield_now().await;
    };
    assert!(leases[0].payload == Ok(payload));
    store.close().await.unwrap();
    println!("there are files again");
}
