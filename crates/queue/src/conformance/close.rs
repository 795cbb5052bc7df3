//! Closing: everything begun is finished, later calls say so, twice is fine.

use std::fmt::Debug;

use cresset_task::TaskId;
use tokio::task::JoinSet;

use super::world::{ALL, World, at, giving_up, model, request, success, task};
use crate::{Idempotency, QueueError, QueueErrorKind};

fn closed<T: Debug>(answer: Result<T, QueueError>) {
    assert_eq!(answer.unwrap_err().kind, QueueErrorKind::Closed);
}

pub(super) async fn a_closed_store_answers_closed(world: World) {
    let id = world.submit(task("digits")).await;
    let lease = world.lease_one("digits").await;
    let store = &world.store;
    store.close().await.unwrap();
    closed(store.submit(task("digits")).await);
    closed(store.lease(request("digits", 1)).await);
    closed(store.release(vec![giving_up(&lease)]).await);
    closed(store.finish(vec![success(&lease, at(5))]).await);
    closed(store.position(id).await);
    let idempotency = Idempotency {
        key: "k".parse().unwrap(),
        digest: [0; 32],
    };
    closed(store.recall(&model("digits"), &idempotency).await);
    closed(store.fetch(TaskId::fresh()).await);
    closed(store.purge(at(5)).await);
    closed(store.probe().await);
}

pub(super) async fn closing_twice_or_at_once_is_fine(world: World) {
    let mut closers = JoinSet::new();
    for _ in 0..8 {
        let store = world.store.clone();
        closers.spawn(async move { store.close().await.unwrap() });
    }
    closers.join_all().await;
    world.store.close().await.unwrap();
}

pub(super) async fn what_was_begun_is_finished_before_a_close(world: World) {
    let mut submits = JoinSet::new();
    for _ in 0..400 {
        let store = world.store.clone();
        submits.spawn(async move {
            let new = task("digits");
            let id = new.id;
            match store.submit(new).await {
                Ok(_) => Some(id),
                Err(error) => {
                    assert_eq!(error.kind, QueueErrorKind::Closed);
                    None
                }
            }
        });
    }
    // The first answer shows that the others are under way.
    let first = submits.join_next().await.unwrap().unwrap();
    world.store.close().await.unwrap();
    let mut accepted: Vec<TaskId> = submits.join_all().await.into_iter().flatten().collect();
    accepted.extend(first);
    drop(world.store);
    let store = world.harness.open().await;
    let world = World {
        harness: world.harness,
        store,
    };
    assert_eq!(
        world.depth("digits").tasks as usize,
        accepted.len(),
        "accepted and refused are told apart"
    );
    for id in accepted {
        world.record(id).await;
    }
}

pub(super) async fn a_closed_store_opens_again_with_everything(world: World) {
    let ids = world.submit_many("digits", 10).await;
    let lease = world.lease_one("digits").await;
    world.finish(success(&lease, at(5))).await;
    let mut before = Vec::new();
    for id in &ids {
        before.push(world.record(*id).await);
    }
    let world = world.restart().await;
    for record in before {
        assert_eq!(world.record(record.id).await, record);
    }
    assert_eq!(world.lease("digits", ALL).await.len(), 9);
}
