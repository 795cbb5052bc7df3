//! What the database is, and what it is asked to hold.

use std::time::Duration;

use bytes::Bytes;
use cresset_queue::conformance::{ALL, at, request, success, task};
use cresset_queue::{Broker, Completion, Finished, Lookup, QueueErrorKind, ResultStore};
use cresset_queue_mysql::MysqlStore;
use cresset_task::{Outcome, Payload};
use mysql_async::prelude::Queryable as _;
use tokio::time::timeout;

use crate::common::Database;

/// Nothing here takes longer.
const LONG: Duration = Duration::from_secs(60);

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
    let (held, free) = (task("digits"), task("digits"));
    let free_id = free.id;
    store.submit(held).await.unwrap();
    store.submit(free).await.unwrap();
    let mut holder = database.client().await;
    holder.query_drop("START TRANSACTION").await.unwrap();
    holder
        .query_drop("SELECT 1 FROM tasks WHERE seq = (SELECT MIN(seq) FROM tasks) FOR UPDATE")
        .await
        .unwrap();
    let leases = timeout(LONG, store.lease(request("digits", ALL)))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(leases.iter().map(|lease| lease.id).collect::<Vec<_>>(), [free_id]);
    holder.query_drop("ROLLBACK").await.unwrap();
    assert_eq!(store.lease(request("digits", ALL)).await.unwrap().len(), 1);
    store.close().await.unwrap();
}

/// What fails among the statements that go along with a commit is no commit.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_just_before_a_commit_is_told_and_nothing_of_its_group_is_kept() {
    let Some(database) = Database::or_skip().await else {
        return;
    };
    let store = MysqlStore::open(database.options()).await.unwrap();
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON inputs FOR EACH ROW \
                  SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'somebody says no'";
    database.run(refuse).await;
    let refused = store.submit(task("digits")).await.unwrap_err();
    assert_eq!(refused.kind, QueueErrorKind::Internal, "{refused}");
    assert!(refused.to_string().contains("cannot keep a payload"), "{refused}");
    let cause = std::error::Error::source(&refused).map(ToString::to_string);
    assert!(
        cause.unwrap_or_default().contains("somebody says no"),
        "{refused:?}"
    );
    assert_eq!(database.number("SELECT COUNT(*) FROM tasks").await, 0);
    assert_eq!(store.load().tasks, 0);

    database.run("DROP TRIGGER refuse").await;
    store.submit(task("digits")).await.unwrap();
    let looked = cresset_queue_mysql::look(&database.options().target, true)
        .await
        .unwrap();
    assert_eq!((looked.open, &looked.problems[..]), (1, &[][..]));
    assert_eq!(store.lease(request("digits", ALL)).await.unwrap().len(), 1);
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
    let mut sent = task("digits");
    sent.payload = large.clone();
    let id = sent.id;
    store.submit(sent).await.unwrap();
    let leases = store.lease(request("digits", ALL)).await.unwrap();
    assert!(leases[0].payload == Ok(large.clone()));
    let end = Completion {
        outcome: Outcome::Success(large.clone()),
        ..success(&leases[0], at(5))
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
    store.submit(task("digits")).await.unwrap();
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
