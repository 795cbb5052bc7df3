//! Files without a task: the sweep of a start finds them all, and nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cresset_queue::conformance::{Case, Harness, check};
use cresset_queue::kit::Ttl;
use cresset_queue::{Backend, Broker, Completion, LeaseRequest, ResultStore};
use cresset_queue_sql::{Durability, SqliteStore};
use cresset_task::{Outcome, TaskId, Timestamp};
use rusqlite::Connection;

use crate::common::SqliteHarness;
use crate::common::folder::{beside, payload_files};
use crate::house::{DAY, House, LARGE, options};

#[tokio::test]
async fn a_start_removes_what_no_task_names_and_nothing_else() {
    let house = House::new();
    let id = house.submit(LARGE).await;
    let folder = beside(&house.path, ".payloads");
    let named = house.file(id, "in");
    let shard = named.parent().unwrap();
    // Of a dead process: files without a task, and other files of a task that names its own.
    let mut stranger = *id.as_bytes();
    stranger[3] ^= 1;
    let orphans = [
        format!("{}.out.00000000000000ff-1", TaskId::from_bytes(stranger)),
        format!("{id}.in.00000000000000ff-1"),
        format!("{id}.out.00000000000000ff-2"),
    ];
    let mut orphans = orphans.map(|name| shard.join(name)).to_vec();
    orphans.push(beside(&house.path, ".payloads.probe"));
    let foreign = [
        shard.join("notes.txt"),
        shard.join(format!("{}.in.00000000000000ff-3", TaskId::from_bytes([1; 16]))),
        folder.join("README"),
    ];
    for file in orphans.iter().chain(&foreign) {
        fs::write(file, "x").unwrap();
    }
    let house = house.reopen().await;
    let swept = async {
        while orphans.iter().any(|file| file.exists()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), swept)
        .await
        .unwrap();
    house.store.close().await.unwrap();
    assert!(named.exists() && foreign.iter().all(|file| file.exists()));
}

/// A harness whose folder is looked at when the case has been played.
struct Shared(Arc<SqliteHarness>);

#[async_trait]
impl Harness for Shared {
    async fn open(&self) -> Arc<dyn Backend> {
        self.0.open().await
    }
    async fn crash(&self, store: Arc<dyn Backend>) -> Arc<dyn Backend> {
        self.0.crash(store).await
    }
    fn turning_points(&self) -> Vec<usize> {
        self.0.turning_points()
    }
    fn ttl(&self) -> Ttl {
        self.0.ttl()
    }
    fn purge_max(&self) -> usize {
        self.0.purge_max()
    }
}

/// The files that rows name.
fn named_files(database: &Path) -> BTreeSet<String> {
    let conn = Connection::open(database).unwrap();
    let mut query = conn
        .prepare("SELECT file FROM inputs WHERE file IS NOT NULL UNION ALL SELECT file FROM outcomes WHERE file IS NOT NULL")
        .unwrap();
    let names = query.query_map([], |row| row.get(0)).unwrap();
    names.map(Result::unwrap).collect()
}

#[test]
fn after_any_life_and_a_sweep_files_and_rows_agree() {
    for case in [
        Case::a_known_random_life_is_like_the_model,
        Case::a_new_random_life_is_like_the_model,
        Case::of_many_finishers_with_large_outcomes_exactly_one_is_recorded,
        Case::a_dropped_submit_of_a_large_input_happened_whole_or_not_at_all,
        Case::a_dropped_finish_with_a_large_outcome_happened_whole_or_not_at_all,
        Case::many_submitters_and_leasers_lose_nothing_and_double_nothing,
    ] {
        let harness = Arc::new(SqliteHarness::new(Durability::Os, 5));
        check(case, Shared(Arc::clone(&harness)));
        let path = harness.path();
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            // The store of the case ends in the background.
            let store = loop {
                match SqliteStore::open(options(&path)) {
                    Ok(store) => break store,
                    Err(error) => assert!(error.to_string().contains("in use"), "{error}"),
                }
                tokio::task::yield_now().await;
            };
            let agree = async {
                loop {
                    let files = payload_files(&path).into_keys();
                    let files: BTreeSet<String> = files
                        .map(|f| f.file_name().unwrap().to_str().unwrap().to_owned())
                        .collect();
                    let named = named_files(&path);
                    assert!(named.is_subset(&files), "{case:?}: a row lacks its file");
                    if named == files {
                        break named.len();
                    }
                    tokio::task::yield_now().await;
                }
            };
            let agreed = tokio::time::timeout(Duration::from_secs(20), agree).await;
            assert!(agreed.is_ok(), "{case:?}: files are left that no row names");
            // Once all of it has ended and expired, nothing is left.
            end_all_and_purge(&store).await;
            store.close().await.unwrap();
            assert!(payload_files(&path).is_empty(), "{case:?}");
        });
    }
}

async fn end_all_and_purge(store: &SqliteStore) {
    // What has expired cannot be leased.
    while !store.expire(Timestamp::now()).await.unwrap().revoked.is_empty() {}
    for name in ["digits", "embed"] {
        let request = LeaseRequest {
            model: name.parse().unwrap(),
            max_tasks: 100_000,
            max_bytes: usize::MAX,
            now: Timestamp::now(),
        };
        let leases = store.lease(request).await.unwrap();
        let ends = leases.into_iter().map(|lease| Completion {
            id: lease.id,
            attempt: lease.attempt,
            redeliveries: 0,
            history: Vec::new(),
            outcome: Outcome::Success(lease.payload.unwrap()),
            version: None,
            finished_at: Timestamp::now(),
            evidence: None,
            cached: false,
        });
        store.finish(ends.collect()).await.unwrap();
    }
    let late = Timestamp::now().plus(2 * DAY);
    while store.purge(late).await.unwrap() > 0 {}
}
