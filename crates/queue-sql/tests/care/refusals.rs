//! What is not done, and the words for it.

use std::fs;

use cresset_queue::Broker;
use cresset_queue_sql::care::{self, CareErrorKind, Permissions};
use cresset_queue_sql::{SqliteOptions, SqliteStore};

use crate::world::{House, open, replacing};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_written_over_and_nobody_is_interrupted() {
    let house = House::build(31).await;
    let backup = house.back_up("backup");
    let kind = |result: Result<(), care::CareError>| result.unwrap_err().kind;
    let back_up = |to: &str| care::backup(&house.database(), &house.path(to)).map(drop);
    assert_eq!(kind(back_up("backup")), CareErrorKind::InTheWay);
    assert_eq!(kind(back_up("nowhere/backup")), CareErrorKind::NotFound);
    // Somebody's folder that only happens to be called so.
    fs::create_dir(house.path("mine.partial")).unwrap();
    fs::write(house.path("mine.partial/thesis.txt"), "x").unwrap();
    assert_eq!(kind(back_up("mine")), CareErrorKind::InTheWay);
    assert!(house.path("mine.partial/thesis.txt").exists());

    let restore = |from: &str| care::restore(&house.path(from), &house.database(), replacing()).map(drop);
    assert_eq!(kind(restore("nowhere")), CareErrorKind::NotFound);
    assert_eq!(kind(restore("tasks.db.payloads")), CareErrorKind::Damaged);
    let store = open(&house.database());
    assert_eq!(kind(restore("backup")), CareErrorKind::Busy);
    store.close().await.unwrap();
    house.assert_is_at(&house.database()).await;

    let none = house.path("none/tasks.db");
    fs::create_dir(house.path("none")).unwrap();
    assert_eq!(
        care::check(&none, care::Thoroughness::Full).unwrap_err().kind,
        CareErrorKind::NotFound
    );
    assert_eq!(
        care::backup(&none, &house.path("b")).unwrap_err().kind,
        CareErrorKind::NotFound
    );
    care::restore(&backup, &none, Permissions::default()).unwrap();
}

/// While a restore is half done, nothing opens what is there; the same restore finishes it, and another one does not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_half_restored_store_is_refused_until_it_is_finished() {
    let (house, other) = (House::build(32).await, House::build(33).await);
    let backup = other.back_up("backup");
    // As a death after the mark leaves it.
    care::restore(
        &backup,
        &house.path("tasks.db.restore.db"),
        Permissions::default(),
    )
    .unwrap();
    let draft = house.path("tasks.db.restore");
    fs::create_dir(&draft).unwrap();
    fs::rename(house.path("tasks.db.restore.db"), draft.join("tasks.db")).unwrap();
    fs::rename(
        house.path("tasks.db.restore.db.payloads"),
        draft.join("tasks.db.payloads"),
    )
    .unwrap();
    fs::copy(backup.join("manifest.json"), draft.join("manifest.json")).unwrap();
    let mark = serde_json::json!({"from": backup, "aside": "old", "phase": "aside"});
    fs::write(house.path("tasks.db.restoring"), mark.to_string()).unwrap();

    let refused = SqliteStore::open(SqliteOptions::at(house.database())).unwrap_err();
    assert!(
        refused.to_string().contains("`cresset store restore "),
        "{refused}"
    );
    let report = crate::world::check(&house.database());
    assert_eq!(report.findings[0].what, "half_restored");
    assert!(care::backup(&house.database(), &house.path("b")).is_err());
    let wrong = care::restore(&house.path("b"), &house.database(), replacing()).unwrap_err();
    assert_eq!(wrong.kind, CareErrorKind::InTheWay);

    let restored = care::restore(&backup, &house.database(), Permissions::default()).unwrap();
    assert!(restored.resumed);
    other.assert_is_at(&house.database()).await;
    house.assert_is_at(&house.path("old/tasks.db")).await;
}
