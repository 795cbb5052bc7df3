//! Backups of stores at rest and of stores at work, and what comes back.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use cresset_queue::conformance::Dice;
use cresset_queue::{Broker, Lookup, ResultStore};
use cresset_queue_sql::SqliteStore;
use cresset_queue_sql::care::{self, Thoroughness};
use cresset_task::{Outcome, Payload, TaskId};
use tokio::task::JoinSet;

use crate::folder::payload_files;
use crate::seeds;
use crate::world::{House, RESULT_TTL, at, check, finish, lease, open, payload, replacing, restore, task};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_backed_up_comes_back() {
    for seed in seeds(3) {
        println!("CRESSET_CARE_SEED={seed}");
        let house = House::build(seed).await;
        let before = check(&house.database());
        assert!(before.is_sound() && before.files > 5, "{before:?}");
        let backup = house.back_up("backup");
        let (database, restored) = restore(&backup, &house.path("elsewhere"));
        assert_eq!((restored.aside, restored.resumed), (None, false));
        assert_eq!(restored.manifest.files, before.files);
        assert_eq!(payload_files(&database), payload_files(&house.database()));
        house.assert_is_at(&database).await;
        // The backup is as it was, and the store too.
        house.assert_is_at(&house.database()).await;
        restore(&backup, &house.path("again"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_died_is_backed_up_with_what_its_log_has() {
    let house = House::build(5).await;
    let store = open(&house.database());
    let new = task(payload(&mut Dice::new(1)));
    store.submit(new.clone()).await.unwrap();
    // As a kill would leave it: the log is not in the database yet.
    let died = house.path("died");
    fs::create_dir(&died).unwrap();
    for suffix in ["", "-wal"] {
        let name = format!("tasks.db{suffix}");
        fs::copy(house.path(&name), died.join(&name)).unwrap();
    }
    crate::world::copy(&house.path("tasks.db.payloads"), &died.join("tasks.db.payloads"));
    store.close().await.unwrap();
    care::backup(&died.join("tasks.db"), &house.path("backup")).unwrap();
    let (database, _) = restore(&house.path("backup"), &house.path("elsewhere"));
    let restored = open(&database);
    assert!(matches!(restored.fetch(new.id).await.unwrap(), Lookup::Found(_)));
    restored.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_replaced_is_kept_whole() {
    let (house, other) = (House::build(6).await, House::build(7).await);
    let backup = other.back_up("backup");
    let refused = care::restore(&backup, &house.database(), Default::default()).unwrap_err();
    assert_eq!(refused.kind, care::CareErrorKind::InTheWay);
    house.assert_is_at(&house.database()).await;
    let restored = care::restore(&backup, &house.database(), replacing()).unwrap();
    other.assert_is_at(&house.database()).await;
    house
        .assert_is_at(&restored.aside.unwrap().join("tasks.db"))
        .await;
}

/// The schema that the program before this one left, with a task in it: whoever upgrades makes a backup first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_an_earlier_program_is_backed_up_as_it_is() {
    let scripts = [
        include_str!("../../sql/migrations/0001_tasks.sql"),
        include_str!("../../sql/migrations/0002_idempotency.sql"),
        include_str!("../../sql/migrations/0003_turn.sql"),
        include_str!("../../sql/migrations/0004_time_and_ends.sql"),
        include_str!("../../sql/migrations/0005_files.sql"),
    ];
    for version in [4, 5] {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("tasks.db");
        let conn = rusqlite::Connection::open(&database).unwrap();
        scripts[..version]
            .iter()
            .for_each(|script| conn.execute_batch(script).unwrap());
        let id = TaskId::fresh();
        let insert = "INSERT INTO tasks (id, model, state, priority, weight, attempts, created_at)
            VALUES (?1, 'digits', 0, 0, 1, 0, 1)";
        conn.execute(insert, [id.as_bytes()]).unwrap();
        conn.execute_batch(&format!(
            "INSERT INTO inputs (seq, kind, bytes) VALUES (1, 0, x'31');
            PRAGMA application_id = {}; PRAGMA user_version = {version}",
            0x4352_5354
        ))
        .unwrap();
        conn.close().unwrap();
        assert!(check(&database).is_sound());
        let made = care::backup(&database, &dir.path().join("backup")).unwrap();
        assert_eq!(
            (made.manifest.schema as usize, made.manifest.tasks.open),
            (version, 1)
        );
        let (restored, _) = restore(&dir.path().join("backup"), &dir.path().join("elsewhere"));
        let store = open(&restored);
        assert!(matches!(store.fetch(id).await.unwrap(), Lookup::Found(_)));
        store.close().await.unwrap();
        assert!(check(&restored).is_sound());
    }
}

/// What was answered, by the workers of a busy store.
#[derive(Default)]
struct Answered {
    accepted: Mutex<HashMap<TaskId, Payload>>,
    ended: Mutex<HashMap<TaskId, Payload>>,
}

async fn work(store: SqliteStore, answered: Arc<Answered>, stop: Arc<AtomicBool>, seed: u64) {
    let mut dice = Dice::new(seed);
    while !stop.load(Ordering::Relaxed) {
        let new = task(payload(&mut dice));
        let (id, input) = (new.id, new.payload.clone());
        store.submit(new).await.unwrap();
        answered.accepted.lock().unwrap().insert(id, input);
        for lease in lease(&store, 2).await {
            let result = payload(&mut dice);
            finish(&store, &lease, Outcome::Success(result.clone())).await;
            answered.ended.lock().unwrap().insert(lease.id, result);
        }
    }
}

/// Removes everything that has ended and its files, again and again.
async fn purge(store: SqliteStore, stop: Arc<AtomicBool>) -> usize {
    let mut purged = 0;
    while !stop.load(Ordering::Relaxed) {
        purged += store.purge(at(5).plus(RESULT_TTL)).await.unwrap();
        tokio::task::yield_now().await;
    }
    purged
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_at_work_is_backed_up_as_of_one_moment() {
    for purges in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let database = dir.path().join("tasks.db");
        let (store, stop) = (open(&database), Arc::new(AtomicBool::new(false)));
        let answered = Arc::new(Answered::default());
        let mut workers = JoinSet::new();
        for number in 0..4 {
            workers.spawn(work(
                store.clone(),
                Arc::clone(&answered),
                Arc::clone(&stop),
                number,
            ));
        }
        let purger = purges.then(|| {
            let mut set = JoinSet::new();
            set.spawn(purge(store.clone(), Arc::clone(&stop)));
            set
        });
        let mut backups = Vec::new();
        for number in 0..4 {
            let accepted: Vec<_> = answered.accepted.lock().unwrap().keys().copied().collect();
            let ended: Vec<_> = answered.ended.lock().unwrap().keys().copied().collect();
            let (from, to) = (database.clone(), dir.path().join(format!("backup-{number}")));
            let dest = to.clone();
            let made = tokio::task::spawn_blocking(move || care::backup(&from, &dest))
                .await
                .unwrap();
            let made = made.unwrap();
            assert!(made.problems.is_empty(), "{:?}", made.problems);
            let from = database.clone();
            let online = tokio::task::spawn_blocking(move || care::check(&from, Thoroughness::Full));
            let online = online.await.unwrap().unwrap();
            assert!(online.is_sound() && online.in_use_by.is_some(), "{online:?}");
            backups.push((to, accepted, ended));
        }
        stop.store(true, Ordering::Relaxed);
        workers.join_all().await;
        if let Some(purger) = purger {
            assert!(
                purger.join_all().await.iter().sum::<usize>() > 0,
                "something was purged meanwhile"
            );
        }
        store.close().await.unwrap();
        for (backup, accepted, ended) in backups {
            check_moment(&backup, &accepted, &ended, &answered, purges).await;
        }
    }
}

/// Everything that had been answered when the backup began is in it, and each payload is its own.
async fn check_moment(
    backup: &Path,
    accepted: &[TaskId],
    ended: &[TaskId],
    answered: &Answered,
    purges: bool,
) {
    let (database, restored) = restore(backup, &backup.with_extension("restored"));
    let report = check(&database);
    assert!(report.is_sound(), "{report:?}");
    let store = open(&database);
    let results = answered.ended.lock().unwrap().clone();
    for id in accepted {
        match store.fetch(*id).await.unwrap() {
            Lookup::Found(record) => {
                assert!(
                    record.state.is_terminal() || !ended.contains(id),
                    "{id} had ended"
                );
                if let Some(Outcome::Success(result)) = &record.outcome {
                    assert!(results.get(id).is_none_or(|told| told == result), "{id}");
                }
            }
            Lookup::Expired => assert!(purges, "{id}"),
            Lookup::Unknown => panic!("{id} was accepted before the backup began"),
        }
    }
    let inputs = answered.accepted.lock().unwrap().clone();
    for lease in lease(&store, 10_000).await {
        assert!(
            inputs
                .get(&lease.id)
                .is_none_or(|input| lease.payload.as_ref() == Ok(input))
        );
    }
    store.close().await.unwrap();
    assert_eq!(restored.manifest.files as usize, payload_files(&database).len());
}
