//! Each thing that a check says, said of a store that was made so.

use rusqlite::Connection;

use crate::world::{House, check, open};
use cresset_queue::Broker;

/// Changes a row behind the program's back; what the check calls it.
const BREACHES: &[(&str, &str)] = &[
    (
        "unknown_state",
        "UPDATE tasks SET state = 9, finished_at = 1 WHERE seq = 1",
    ),
    (
        "end_without_time",
        "UPDATE tasks SET finished_at = NULL WHERE seq = (SELECT min(seq) FROM outcomes)",
    ),
    (
        "end_without_outcome",
        "DELETE FROM outcomes WHERE seq = (SELECT min(seq) FROM outcomes)",
    ),
    (
        "outcome_without_end",
        "INSERT INTO outcomes (seq, kind, bytes) SELECT seq, 0, x'31' FROM tasks WHERE state = 0 LIMIT 1",
    ),
    (
        "no_input",
        "DELETE FROM inputs WHERE seq = (SELECT min(seq) FROM tasks WHERE state = 0)",
    ),
    ("row", "UPDATE letters SET evidence = '{}'"),
    ("row", "UPDATE letters SET bytes = x'5b' WHERE file IS NULL"),
    ("row", "UPDATE letters SET model = 'Not A Model'"),
    (
        "file_columns",
        "UPDATE letters SET length = NULL WHERE file IS NOT NULL",
    ),
    (
        "no_task",
        "INSERT INTO history (seq, attempt, at, reason) VALUES (9999, 1, 1, 'x')",
    ),
    (
        "lease_without_attempt",
        "UPDATE tasks SET started_at = NULL WHERE seq = (SELECT min(seq) FROM tasks WHERE state = 1)",
    ),
    (
        "due_and_not_queued",
        "UPDATE tasks SET due_at = 5 WHERE seq = (SELECT min(seq) FROM tasks WHERE state = 3)",
    ),
    ("numbers", "UPDATE tasks SET retries = 70 WHERE seq = 1"),
    (
        "purged_and_there",
        "INSERT INTO tombstones (id, purged_at) SELECT id, 1 FROM tasks WHERE seq = 1",
    ),
    (
        "history_ahead",
        "INSERT INTO history (seq, attempt, at, reason) SELECT seq, 40, 1, 'x' FROM tasks WHERE seq = 1",
    ),
    (
        "file_columns",
        "UPDATE inputs SET length = NULL WHERE file IS NOT NULL",
    ),
    ("row", "UPDATE inputs SET bytes = x'5b' WHERE file IS NULL"),
    (
        "row",
        "UPDATE tasks SET weight = weight + 1 WHERE seq = (SELECT min(seq) FROM inputs WHERE file IS NULL)",
    ),
    ("row", "UPDATE tasks SET model = 'Not A Model' WHERE seq = 1"),
    ("row", "UPDATE tasks SET metadata = x'7b' WHERE seq = 1"),
    (
        "row",
        "UPDATE outcomes SET kind = 77 WHERE seq IN (SELECT seq FROM tasks WHERE state = 3)",
    ),
    (
        "row",
        "UPDATE inputs SET file = '../../etc/passwd' WHERE file IS NOT NULL",
    ),
    (
        "payload_file",
        "UPDATE inputs SET checksum = checksum + 1 WHERE file IS NOT NULL",
    ),
    (
        "payload_file",
        "UPDATE inputs SET length = length + 1 WHERE file IS NOT NULL",
    ),
    ("unusable", "PRAGMA application_id = 1"),
    ("unusable", "PRAGMA user_version = 1000"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_breach_of_a_rule_is_told_by_its_name() {
    let house = House::build(21).await;
    let bytes = std::fs::read(house.database()).unwrap();
    for (what, breach) in BREACHES {
        std::fs::write(house.database(), &bytes).unwrap();
        let conn = Connection::open(house.database()).unwrap();
        conn.execute_batch(breach).unwrap();
        conn.close().unwrap();
        let report = check(&house.database());
        let problems: Vec<_> = report
            .findings
            .iter()
            .filter(|f| !f.to_string().starts_with("note"))
            .collect();
        assert!(
            problems.iter().any(|finding| finding.what == *what),
            "{breach}: {report:?}"
        );
        assert!(problems.iter().all(|finding| !finding.remedy.is_empty()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_only_worth_knowing_is_a_note() {
    let house = House::build(22).await;
    let folder = house.path("tasks.db.payloads");
    let shard = std::fs::read_dir(&folder)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let name = shard.file_name().unwrap().to_str().unwrap();
    let orphan = format!("00000000-0000-0000-0000-0000000000{name}.in.000000000000001f-1a");
    std::fs::write(shard.join(orphan), "left").unwrap();
    std::fs::write(folder.join("README"), "mine").unwrap();
    std::fs::create_dir(house.path("tasks.db.restore")).unwrap();
    let report = check(&house.database());
    assert!(report.is_sound(), "{report:?}");
    let mut notes: Vec<_> = report.findings.iter().map(|finding| finding.what).collect();
    notes.sort_unstable();
    assert_eq!(notes, ["draft", "leases", "not_ours", "orphans"]);
    // Of a store in use only what is so at any moment.
    let store = open(&house.database());
    let report = check(&house.database());
    assert!(report.in_use_by.unwrap().contains("this process"));
    assert!(!report.findings.iter().any(|finding| finding.what == "orphans"));
    store.close().await.unwrap();
}
