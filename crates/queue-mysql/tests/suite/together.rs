//! What many ask at once is answered as if each had asked alone.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use cresset_queue::conformance::{ALL, at, request, success, task};
use cresset_queue::{Broker, Completion, Lookup, ResultStore};
use cresset_queue_mysql::MysqlStore;
use cresset_task::{Outcome, Payload, TaskId};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::common::Database;

/// More than go together in one question.
const TASKS: usize = 150;

/// Nothing here takes longer.
const LONG: Duration = Duration::from_secs(60);

/// Asks for all of these at once.
async fn all(store: &MysqlStore, ids: &[TaskId]) -> HashMap<TaskId, (Lookup, Option<u64>)> {
    let mut asking = JoinSet::new();
    for id in ids.iter().copied() {
        let store = store.clone();
        asking.spawn(async move {
            let (found, place) = tokio::join!(store.fetch(id), store.position(id));
            (id, (found.unwrap(), place.unwrap()))
        });
    }
    let answers = timeout(LONG, asking.join_all()).await.unwrap();
    answers.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_many_ask_at_once_is_what_each_would_be_told() {
    let Some(database) = Database::or_skip().await else {
        return;
    };
    let store = MysqlStore::open(database.options()).await.unwrap();
    let mut ids = Vec::new();
    for number in 0..TASKS {
        let sent = task(["digits", "words"][number % 2]);
        ids.push(sent.id);
        store.submit(sent).await.unwrap();
    }
    let unknown = TaskId::fresh();
    let asked: Vec<TaskId> = ids.iter().copied().chain([unknown]).collect();
    let answers = all(&store, &asked).await;
    for (number, id) in ids.iter().enumerate() {
        let (found, place) = &answers[id];
        assert!(matches!(found, Lookup::Found(record) if record.id == *id));
        assert_eq!(*place, Some(number as u64 / 2), "the {number}th");
    }
    assert_eq!(answers[&unknown], (Lookup::Unknown, None));

    // Of outcomes some are too large to be read together.
    let leases = store.lease(request("digits", ALL)).await.unwrap();
    let outcome = |number: usize| {
        let large = if number.is_multiple_of(7) { 100_000 } else { 10 };
        Outcome::Success(Payload::Json(Bytes::from(format!(
            "\"{number}{}\"",
            "x".repeat(large)
        ))))
    };
    let ends = leases.iter().enumerate().map(|(number, lease)| Completion {
        outcome: outcome(number),
        ..success(lease, at(5))
    });
    store.finish(ends.collect()).await.unwrap();
    let answers = all(&store, &ids).await;
    for (number, lease) in leases.iter().enumerate() {
        let (Lookup::Found(record), None) = &answers[&lease.id] else {
            panic!("it has ended");
        };
        assert!(record.outcome == Some(outcome(number)), "the {number}th");
    }
    let places: Vec<_> = ids.iter().skip(1).step_by(2).map(|id| answers[id].1).collect();
    let expected: Vec<_> = (0..places.len()).map(|place| Some(place as u64)).collect();
    assert_eq!(places, expected);
    store.close().await.unwrap();
}

/// Who gives up leaves nobody without an answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gives_up_while_it_asks_leaves_the_others_to_ask_again() {
    let Some(database) = Database::or_skip().await else {
        return;
    };
    let store = MysqlStore::open(database.options()).await.unwrap();
    let sent = task("digits");
    let id = sent.id;
    store.submit(sent).await.unwrap();
    for round in 0..20 {
        let mut asking = JoinSet::new();
        for _ in 0..TASKS {
            let store = store.clone();
            asking.spawn(async move { store.fetch(id).await.unwrap() });
        }
        let mut giving_up = JoinSet::new();
        for _ in 0..TASKS {
            let store = store.clone();
            giving_up.spawn(async move { store.fetch(id).await.unwrap() });
        }
        for _ in 0..round {
            tokio::task::yield_now().await;
        }
        giving_up.abort_all();
        let found = timeout(LONG, asking.join_all()).await.unwrap();
        assert!(found.iter().all(|found| matches!(found, Lookup::Found(_))));
    }
    store.close().await.unwrap();
}
