//! Several servers on one database: what is MySQL's own about that. The promises are in the conformance suite.

use std::time::Duration;

use cresset_queue::conformance::{model, task};
use cresset_queue::{Broker, Neighbours, News};
use cresset_queue_mysql::MysqlStore;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::common::Database;

/// Nothing here takes longer.
const LONG: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_find_no_store_one_makes_it_and_all_are_on_it() {
    let Some(database) = Database::or_skip().await else {
        return;
    };
    let mut opening = JoinSet::new();
    for _ in 0..6 {
        opening.spawn(MysqlStore::open(database.options()));
    }
    let opened = opening.join_all().await;
    let stores: Vec<MysqlStore> = opened.into_iter().map(Result::unwrap).collect();
    assert_eq!(stores.iter().filter(|store| store.opened().created).count(), 1);
    let there = "SELECT COUNT(*) FROM servers WHERE ended_at IS NULL";
    assert_eq!(database.number(there).await, 6);
    assert!(stores.iter().all(|store| store.opened().requeued == 0));
    for store in stores {
        store.close().await.unwrap();
    }
    assert_eq!(database.number(there).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_alone_tells_nobody_anything_and_who_has_missed_something_counts_everything() {
    let Some(database) = Database::or_skip().await else {
        return;
    };
    let first = MysqlStore::open(database.options()).await.unwrap();
    first.submit(task("digits")).await.unwrap();
    let told = "SELECT COUNT(*) + (SELECT SUM(told) FROM servers) FROM news";
    assert_eq!(database.number(told).await, 0);
    let second = MysqlStore::open(database.options()).await.unwrap();
    assert_eq!(second.depth(&model("digits")).tasks, 1);
    // A task that the second has not been told of, as it would be if the note were removed before it looked.
    database
        .run(
            "INSERT INTO tasks (id, model, state, priority, turn, weight, created_at, cache) \
             VALUES (UNHEX(REPLACE(UUID(), '-', '')), 'digits', 0, 0, 0, 7, 0, 0); \
             UPDATE servers SET told = told + 3 WHERE id = 1",
        )
        .await;
    let again = async { while !second.news().await.contains(&News::LookAgain) {} };
    timeout(LONG, again).await.unwrap();
    assert_eq!(second.depth(&model("digits")).tasks, 2);
    // And what is told from then on is heard as ever.
    first.submit(task("digits")).await.unwrap();
    let heard = async {
        while second.depth(&model("digits")).tasks != 3 {
            sleep(Duration::from_millis(2)).await; // only keeps the asking civil
        }
    };
    timeout(LONG, heard).await.unwrap();
    first.close().await.unwrap();
    second.close().await.unwrap();
}

/// A session that the database's own server does not know belongs to another of its cluster: such a one has gone when it is
/// silent, and not before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_on_another_node_of_a_cluster_has_gone_when_it_is_silent() {
    let Some(database) = Database::or_skip().await else {
        return;
    };
    let store = MysqlStore::open(database.options()).await.unwrap();
    let appear = "INSERT INTO servers (id, number, commits, told, session, node, who, about, since, seen_at) \
                  SELECT 77, UNHEX(REPLACE(UUID(), '-', '')), 0, 0, 1, 'elsewhere:3306', 'a neighbour', '{}', 0, seen_at \
                  FROM servers WHERE ended_at IS NULL";
    database.run(appear).await;
    let third = MysqlStore::open(database.options()).await.unwrap();
    let ended = "SELECT COUNT(*) FROM servers WHERE id = 77 AND ended_at IS NOT NULL";
    assert_eq!(database.number(ended).await, 0);
    third.close().await.unwrap();
    database
        .run("UPDATE servers SET seen_at = seen_at - 91000000 WHERE id = 77")
        .await;
    let gone = async {
        while database.number(ended).await == 0 {
            sleep(Duration::from_millis(20)).await; // only keeps the asking civil
        }
    };
    timeout(LONG, gone).await.unwrap();
    store.close().await.unwrap();
}
