//! A disk that fails: every write and every flush of a life fails once, and for a while; what was answered holds, what was
//! refused did not happen, and the store works again without being reopened.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

mod backup;
#[path = "../common/folder.rs"]
mod folder;
mod life;
mod vfs;

use std::fs;
use std::path::Path;

use cresset_queue::{Broker, Lookup, NewTask, QueueErrorKind, ResultStore};
use cresset_queue_sql::SqliteStore;
use cresset_task::{State, Timestamp};
use tempfile::TempDir;

use crate::folder::{beside, payload_files};
use crate::life::{INLINE_BYTES, Life, open, task};
use crate::vfs::{Calls, Disk, Fault, Of};

/// Every `STRIDE`th call is failed in a run of the tests; `CRESSET_DISK_STRIDE=1` fails each of them.
const STRIDE: usize = 5;

fn stride() -> usize {
    std::env::var("CRESSET_DISK_STRIDE").map_or(STRIDE, |text| text.parse().unwrap())
}

/// Lives a life with one fault at call after call, until a life passes without it.
async fn fail_each_call(fault: Fault, step: usize, die: bool) -> usize {
    for turn in 0.. {
        let after = turn * step;
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::below(dir.path());
        let path = dir.path().join("tasks.db");
        let store = open(&path);
        disk.fail(Fault { after, ..fault });
        let mut life = Life::new(&store, &disk, &path, format!("call {after} of {fault:?}"));
        life.die_at_the_first_refusal = die;
        life.live().await;
        let fired = disk.mend();
        life.check(&store).await;
        store.close().await.unwrap();
        if fired == 0 {
            return after;
        }
        life.check_reopened(&path).await;
    }
    unreachable!("the loop ends by returning")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_call_may_fail_once() {
    let fault = Fault {
        of: Of::Either,
        calls: Calls::Any,
        after: 0,
        times: 1,
        full: false,
    };
    let calls = fail_each_call(fault, stride(), false).await;
    assert!(calls > 60, "only {calls} calls");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_flush_may_fail_once_and_the_process_die_of_it() {
    let fault = Fault {
        of: Of::Either,
        calls: Calls::Syncs,
        after: 0,
        times: 1,
        full: false,
    };
    let calls = fail_each_call(fault, 1, true).await;
    assert!(calls > 5, "only {calls} flushes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_disk_may_be_full_for_any_write() {
    let fault = Fault {
        of: Of::Either,
        calls: Calls::Writes,
        after: 0,
        times: 1,
        full: true,
    };
    let calls = fail_each_call(fault, stride(), true).await;
    assert!(calls > 60, "only {calls} writes");
}

struct House {
    disk: Disk,
    store: SqliteStore,
    dir: TempDir,
}

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let disk = Disk::below(dir.path());
        let store = open(&dir.path().join("tasks.db"));
        Self { disk, store, dir }
    }

    fn path(&self) -> std::path::PathBuf {
        self.dir.path().join("tasks.db")
    }

    async fn assert_refused(&self, bytes: usize) {
        let new = task(bytes);
        let id = new.id;
        let error = self.store.submit(new).await.unwrap_err();
        assert_eq!(error.kind, QueueErrorKind::Unavailable, "{error}");
        assert_eq!(self.store.fetch(id).await.unwrap(), Lookup::Unknown);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_flushes_fail_all_work_is_refused_and_reads_go_on() {
    let house = House::new();
    let known = task(10);
    let id = known.id;
    house.store.submit(known).await.unwrap();
    house.disk.fail(Fault {
        of: Of::Either,
        calls: Calls::Syncs,
        after: 0,
        times: usize::MAX,
        full: false,
    });
    for bytes in [10, 10 * INLINE_BYTES, 20] {
        house.assert_refused(bytes).await;
        assert!(house.store.probe().await.unwrap_err().is_temporary());
        assert!(matches!(house.store.fetch(id).await.unwrap(), Lookup::Found(_)));
    }
    // Not even what needs no flush is written on top of what may be lost.
    assert!(
        house
            .store
            .lease(life::leasing(1))
            .await
            .unwrap_err()
            .is_temporary()
    );
    house.disk.mend();
    house.store.probe().await.unwrap();
    assert_eq!(house.store.lease(life::leasing(10)).await.unwrap().len(), 1);
    house.store.submit(task(10 * INLINE_BYTES)).await.unwrap();
    house.store.close().await.unwrap();
    assert_eq!(
        payload_files(&house.path()).len(),
        1,
        "the refused one's file is gone"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_flush_empties_the_log_before_anything_else_is_taken() {
    let house = House::new();
    let log = beside(&house.path(), "-wal");
    let length = |path: &Path| fs::metadata(path).unwrap().len();
    for _ in 0..5 {
        house.store.submit(task(10)).await.unwrap();
    }
    let before = length(&log);
    house.disk.fail(Fault {
        of: Of::Log,
        calls: Calls::Syncs,
        after: 0,
        times: 1,
        full: false,
    });
    house.assert_refused(10).await;
    house.store.submit(task(10)).await.unwrap();
    assert!(length(&log) < before, "{} < {before}", length(&log));
    assert_eq!(house.store.lease(life::leasing(10)).await.unwrap().len(), 6);
    house.store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_cannot_be_moved_is_kept_and_moved_later() {
    let house = House::new();
    house.disk.fail(Fault {
        of: Of::Database,
        calls: Calls::Any,
        after: 3,
        times: usize::MAX,
        full: false,
    });
    let mut ids = Vec::new();
    // More than is worth a checkpoint; it is tried as soon as nobody asks for anything.
    while house.disk.failed() == 0 {
        let new = task(INLINE_BYTES - 10);
        let id = new.id;
        if house.store.submit(new).await.is_ok() {
            ids.push(id);
        }
        assert!(ids.len() < 20_000, "no checkpoint was tried");
    }
    house.assert_refused(10).await;
    for id in &ids {
        assert!(matches!(house.store.fetch(*id).await.unwrap(), Lookup::Found(_)));
    }
    house.disk.mend();
    house.store.submit(task(10)).await.unwrap();
    let leased = house.store.lease(life::leasing(50_000)).await.unwrap();
    assert_eq!(leased.len(), ids.len() + 1);
    house.store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_expiry_is_answered_when_it_is_on_the_disk_and_not_before() {
    let house = House::new();
    let new = NewTask {
        expires_at: Some(Timestamp::from_micros(5)),
        ..task(10)
    };
    let id = new.id;
    house.store.submit(new).await.unwrap();
    house.disk.fail(Fault {
        of: Of::Log,
        calls: Calls::Syncs,
        after: 0,
        times: 1,
        full: false,
    });
    let now = Timestamp::from_micros(6);
    assert!(house.store.expire(now).await.unwrap_err().is_temporary());
    let state = async || match house.store.fetch(id).await.unwrap() {
        Lookup::Found(record) => record.state,
        other => panic!("{other:?}"),
    };
    assert_eq!(state().await, State::Pending);
    assert_eq!(house.store.expire(now).await.unwrap().revoked.len(), 1);
    assert_eq!(state().await, State::Revoked);
    house.store.close().await.unwrap();
}
