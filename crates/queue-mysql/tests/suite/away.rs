//! The connection goes, and another server comes.
#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::time::Duration;

use bytes::Bytes;
use cresset_queue::{
    Broker, Completion, Finished, Lease, LeaseRequest, Lookup, NewTask, QueueErrorKind, ResultStore,
    Submitted, Turn,
};
use cresset_queue_mysql::MysqlStore;
use cresset_task::{ModelName, Outcome, Payload, TaskId, Timestamp};
use mysql_async::prelude::Queryable as _;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::common::Database;
use crate::proxy::Proxy;

/// Nothing here takes longer.
const LONG: Duration = Duration::from_secs(60);

const SUBMITTERS: usize = 8;
const SUBMITS: usize = 40;
/// Ends of the connection while they submit.
const ENDS: usize = 6;

fn digits() -> ModelName {
    "digits".parse().unwrap()
}

fn task() -> NewTask {
    let now = Timestamp::now();
    NewTask {
        id: TaskId::fresh(),
        model: digits(),
        payload: Payload::Json(Bytes::from_static(b"[1,2,3]")),
        priority: 0,
        turn: Turn::of(now, 0, Duration::ZERO),
        metadata: None,
        created_at: now,
        due_at: None,
        expires_at: None,
        deadline_at: None,
        started_at: None,
        idempotency: None,
        client: None,
        cache: Default::default(),
        retry: None,
        trace: None,
        tenant: None,
        callback: None,
    }
}

fn all() -> LeaseRequest {
    LeaseRequest {
        model: digits(),
        max_tasks: 10_000,
        max_bytes: usize::MAX,
        now: Timestamp::now(),
    }
}

fn ended(lease: &Lease) -> Completion {
    Completion {
        id: lease.id,
        attempt: lease.attempt,
        redeliveries: 0,
        history: Vec::new(),
        outcome: Outcome::Success(Payload::Json(Bytes::from_static(b"7"))),
        version: None,
        finished_at: Timestamp::now(),
        evidence: None,
        cached: false,
    }
}

/// Until the store works again.
async fn recovered(store: &MysqlStore) {
    let works = async {
        while store.probe().await.is_err() {
            // Only keeps the asking civil.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(LONG, works).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_that_end_under_load_cost_nobody_an_error_and_nothing_is_lost() {
    let Some(database) = Database::or_skip().await else {
        return;
    };
    let store = MysqlStore::open(database.options()).await.unwrap();
    let mut submitters = JoinSet::new();
    for _ in 0..SUBMITTERS {
        let store = store.clone();
        submitters.spawn(async move {
            let mut ids = Vec::new();
            for _ in 0..SUBMITS {
                let task = task();
                ids.push(task.id);
                assert_eq!(store.submit(task).await.unwrap(), Submitted::New);
            }
            ids
        });
    }
    for _ in 0..ENDS {
        database.end_session().await;
        recovered(&store).await;
    }
    let ids: Vec<TaskId> = submitters.join_all().await.into_iter().flatten().collect();
    assert_eq!(store.depth(&digits()).tasks as usize, ids.len());
    let leases = store.lease(all()).await.unwrap();
    assert_eq!(leases.len(), ids.len());
    database.end_session().await;
    // A lease outlives its connection, as its holder does.
    assert_eq!(
        store.finish(vec![ended(&leases[0])]).await.unwrap(),
        [Finished::Recorded]
    );
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_nobody_heard_of_is_answered_as_what_it_is() {
    let Some(database) = Database::or_skip().await else {
        return;
    };
    let proxy = Proxy::to(database.address()).await;
    let store = MysqlStore::open(database.options_at(proxy.port)).await.unwrap();
    for _ in 0..3 {
        proxy.cut_after_commit(false);
        let task = task();
        let id = task.id;
        assert_eq!(store.submit(task).await.unwrap(), Submitted::New);
        assert!(matches!(store.fetch(id).await.unwrap(), Lookup::Found(_)));
    }
    proxy.cut_after_commit(false);
    let leases = store.lease(all()).await.unwrap();
    assert_eq!(leases.len(), 3);
    assert!(
        leases.iter().all(|lease| lease.attempt.0 == 1),
        "each was leased once"
    );
    assert_eq!(database.number("SELECT count(*) FROM tasks").await, 3);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_refused_though_it_was_committed_is_undone() {
    let Some(database) = Database::or_skip().await else {
        return;
    };
    let proxy = Proxy::to(database.address()).await;
    let store = MysqlStore::open(database.options_at(proxy.port)).await.unwrap();
    let kept = task();
    let kept_id = kept.id;
    store.submit(kept).await.unwrap();

    proxy.cut_after_commit(true);
    let lost = task();
    let lost_id = lost.id;
    let refused = store.submit(lost).await.unwrap_err();
    assert_eq!(refused.kind, QueueErrorKind::Unavailable, "{refused}");
    let meanwhile = store.submit(task()).await.unwrap_err();
    assert_eq!(meanwhile.kind, QueueErrorKind::Unavailable, "{meanwhile}");
    assert_eq!(
        database.number("SELECT count(*) FROM tasks").await,
        2,
        "it was committed"
    );

    proxy.open();
    recovered(&store).await;
    assert_eq!(store.fetch(lost_id).await.unwrap(), Lookup::Unknown);
    assert!(matches!(store.fetch(kept_id).await.unwrap(), Lookup::Found(_)));
    assert_eq!(store.depth(&digits()).tasks, 1);

    proxy.cut_after_commit(true);
    let refused = store.lease(all()).await.unwrap_err();
    assert_eq!(refused.kind, QueueErrorKind::Unavailable, "{refused}");
    proxy.open();
    recovered(&store).await;
    let leases = store.lease(all()).await.unwrap();
    assert_eq!(
        leases
            .iter()
            .map(|lease| (lease.id, lease.attempt.0))
            .collect::<Vec<_>>(),
        [(kept_id, 2)]
    );
    store.close().await.unwrap();
}

/// However often the connection goes while that is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_refused_is_undone_before_anything_else_however_long_that_takes() {
    let Some(database) = Database::or_skip().await else {
        return;
    };
    let proxy = Proxy::to(database.address()).await;
    let store = MysqlStore::open(database.options_at(proxy.port)).await.unwrap();
    proxy.cut_after_commit(true);
    let refused = store.submit(task()).await.unwrap_err();
    assert_eq!(refused.kind, QueueErrorKind::Unavailable, "{refused}");
    assert_eq!(database.number("SELECT count(*) FROM tasks").await, 1);
    proxy.cut_at(b"DELETE FROM tasks", 3);
    proxy.open();
    recovered(&store).await;
    assert_eq!(proxy.cuts_left(), 0);
    assert_eq!(store.depth(&digits()).tasks, 0);
    assert_eq!(store.lease(all()).await.unwrap(), []);
    assert_eq!(database.number("SELECT count(*) FROM tasks").await, 0);
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_is_refused_in_words() {
    let Some(database) = Database::or_skip().await else {
        return;
    };
    let first = MysqlStore::open(database.options()).await.unwrap();
    let refused = MysqlStore::open(database.options()).await.unwrap_err();
    assert_eq!(refused.kind, QueueErrorKind::Unavailable);
    assert!(
        refused
            .to_string()
            .contains("one server at a time owns a database of MySQL or MariaDB"),
        "{refused}"
    );
    first.close().await.unwrap();
    MysqlStore::open(database.options())
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
}

/// Another server has the store for a while: this one writes nothing, says so, and takes it back when that one is gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_lost_the_store_writes_nothing_until_it_is_free() {
    let Some(database) = Database::or_skip().await else {
        return;
    };
    let store = MysqlStore::open(database.options()).await.unwrap();
    store.submit(task()).await.unwrap();
    let held = store.lease(all()).await.unwrap();
    database.end_session().await;
    let mut thief = database.client().await;
    let lock = "SELECT GET_LOCK(CONCAT('cresset.', MD5(DATABASE())), 10)";
    assert_eq!(thief.query_first::<i64, _>(lock).await.unwrap(), Some(1));
    database
        .run("UPDATE server SET epoch = epoch + 1, owner = UNHEX(REPLACE(UUID(), '-', '')), who = 'a thief'")
        .await;
    database.run("UPDATE tasks SET state = 0 WHERE state = 1").await;
    let refused = store.submit(task()).await.unwrap_err();
    assert_eq!(refused.kind, QueueErrorKind::Unavailable);
    assert!(refused.to_string().contains("a thief"), "{refused}");
    assert_eq!(database.number("SELECT count(*) FROM tasks").await, 1);
    drop(thief);
    recovered(&store).await;
    assert_eq!(database.number("SELECT epoch FROM server").await, 3);
    let stale = cresset_queue::Release {
        id: held[0].id,
        attempt: held[0].attempt,
    };
    store.release(vec![stale]).await.unwrap();
    let again = store.lease(all()).await.unwrap();
    assert_eq!((again.len(), again[0].attempt.0), (1, 2));
    store.close().await.unwrap();
}

/// The database forgets what it had confirmed: no number of a lease is given twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_that_the_database_forgot_are_not_given_again() {
    let Some(database) = Database::or_skip().await else {
        return;
    };
    let store = MysqlStore::open(database.options()).await.unwrap();
    store.submit(task()).await.unwrap();
    let held = store.lease(all()).await.unwrap();
    assert_eq!(held[0].attempt.0, 1);
    // As a copy would have it that lacks the last group.
    database.run("UPDATE server SET commits = commits - 1").await;
    database.run("UPDATE tasks SET state = 0, attempts = 0").await;
    database.end_session().await;
    recovered(&store).await;
    let again = store.lease(all()).await.unwrap();
    assert!(again[0].attempt.0 > held[0].attempt.0, "{:?}", again[0].attempt);
    store.close().await.unwrap();
}

/// It may have forgotten that a task was given back: none stays leased to nobody.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_that_the_database_remembers_end_when_it_forgot_others() {
    let Some(database) = Database::or_skip().await else {
        return;
    };
    let store = MysqlStore::open(database.options()).await.unwrap();
    store.submit(task()).await.unwrap();
    let held = store.lease(all()).await.unwrap();
    database.run("UPDATE server SET commits = commits - 1").await;
    database.end_session().await;
    recovered(&store).await;
    assert_eq!(store.depth(&digits()).tasks, 1);
    assert_eq!(
        store.finish(vec![ended(&held[0])]).await.unwrap(),
        [Finished::Stale]
    );
    let again = store.lease(all()).await.unwrap();
    assert_eq!(again.len(), 1);
    assert!(again[0].attempt.0 > held[0].attempt.0, "{:?}", again[0].attempt);
    assert_eq!(
        store.finish(vec![ended(&again[0])]).await.unwrap(),
        [Finished::Recorded]
    );
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_connection_is_in_tls_where_that_is_asked_or_there_is_none() {
    let Some(database) = Database::or_skip().await else {
        return;
    };
    let store = MysqlStore::open(database.options_with("prefer")).await.unwrap();
    store.close().await.unwrap();
    let has_tls = database.number("SELECT @@have_ssl = 'YES'").await == 1;
    let asked = MysqlStore::open(database.options_with("require")).await;
    assert_eq!(asked.is_ok(), has_tls);
    if let Err(refused) = asked {
        assert!(refused.to_string().contains("cannot connect"), "{refused}");
        let cause = std::error::Error::source(&refused).map(ToString::to_string);
        assert!(cause.unwrap_or_default().contains("SSL"), "{refused:?}");
    }
}

/// A transaction that holds a row, as somebody's by hand would, makes no lease wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_somebody_holds_is_passed_over() {
    let Some(database) = Database::or_skip().await else {
        return;
    };
    let store = MysqlStore::open(database.options()).await.unwrap();
    let (held, free) = (task(), task());
    let free_id = free.id;
    store.submit(held).await.unwrap();
    store.submit(free).await.unwrap();
    let mut holder = database.client().await;
    holder.query_drop("START TRANSACTION").await.unwrap();
    holder
        .query_drop("SELECT 1 FROM tasks WHERE seq = (SELECT MIN(seq) FROM tasks) FOR UPDATE")
        .await
        .unwrap();
    let leases = timeout(LONG, store.lease(all())).await.unwrap().unwrap();
    assert_eq!(leases.iter().map(|lease| lease.id).collect::<Vec<_>>(), [free_id]);
    holder.query_drop("ROLLBACK").await.unwrap();
    assert_eq!(store.lease(all()).await.unwrap().len(), 1);
    store.close().await.unwrap();
}

/// More than a packet of the database can hold.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payload_is_as_large_as_it_is() {
    let Some(database) = Database::or_skip().await else {
        return;
    };
    let store = MysqlStore::open(database.options()).await.unwrap();
    let packet = usize::try_from(database.number("SELECT @@max_allowed_packet").await).unwrap();
    let large = Payload::Json(Bytes::from(format!("\"{}\"", "x".repeat(packet + 1))));
    let mut sent = task();
    sent.payload = large.clone();
    let id = sent.id;
    store.submit(sent).await.unwrap();
    let leases = store.lease(all()).await.unwrap();
    assert!(leases[0].payload == Ok(large.clone()));
    let end = Completion {
        outcome: Outcome::Success(large.clone()),
        ..ended(&leases[0])
    };
    assert_eq!(store.finish(vec![end]).await.unwrap(), [Finished::Recorded]);
    let Lookup::Found(found) = store.fetch(id).await.unwrap() else {
        panic!("it is there");
    };
    assert!(found.outcome == Some(Outcome::Success(large)));
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_somebody_elses_is_left_alone_and_one_that_is_half_made_is_made() {
    let Some(database) = Database::or_skip().await else {
        return;
    };
    database.run("CREATE TABLE orders (id INT)").await;
    let refused = MysqlStore::open(database.options()).await.unwrap_err();
    assert_eq!(refused.kind, QueueErrorKind::Corrupt, "{refused}");
    assert!(refused.to_string().contains("a database of its own"), "{refused}");
    let tables = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = DATABASE()";
    assert_eq!(database.number(tables).await, 1);

    database.run("DROP TABLE orders").await;
    let store = MysqlStore::open(database.options()).await.unwrap();
    assert!(store.opened().created);
    store.close().await.unwrap();
    // As a start would leave it that died in the middle of making it.
    database.run("DELETE FROM cresset_migrations").await;
    database.run("DROP TABLE tombstones, letters, bulks").await;
    let store = MysqlStore::open(database.options()).await.unwrap();
    store.submit(task()).await.unwrap();
    let looked = cresset_queue_mysql::look(&database.options().target, true)
        .await
        .unwrap();
    assert_eq!(
        (looked.schema, looked.open, &looked.problems[..]),
        (Some(1), 1, &[][..])
    );
    assert!(looked.in_use_by.unwrap().contains("the server with process"));
    database.run("DELETE FROM inputs").await;
    let looked = cresset_queue_mysql::look(&database.options().target, true)
        .await
        .unwrap();
    assert_eq!(looked.problems, ["open tasks without an input: 1"]);
    store.close().await.unwrap();
}
