//! Accepted means durable; ids are unique.

use bytes::Bytes;
use cresset_task::{Attempt, DType, Payload, State, TaskId, Tensor, TensorSet};

use super::world::{World, at, json, success, task};
use crate::{Finished, Lookup, NewTask, QueueErrorKind};

pub(super) async fn a_submitted_task_is_pending_with_all_that_was_said_of_it(world: World) {
    let new = NewTask {
        priority: -7,
        metadata: Some(Bytes::from_static(b"{ \"order\" : 17 }")),
        created_at: at(41),
        ..task("digits")
    };
    let id = world.submit(new.clone()).await;
    let record = world.record(id).await;
    assert_eq!(record.id, id);
    assert_eq!(record.model, new.model);
    assert_eq!(record.state, State::Pending);
    assert_eq!(record.created_at, at(41));
    assert_eq!(record.started_at, None);
    assert_eq!(record.finished_at, None);
    assert_eq!(record.attempts, Attempt(0));
    assert_eq!(record.priority, -7);
    assert_eq!(record.metadata, new.metadata, "metadata comes back byte for byte");
    assert_eq!(record.version, None);
    assert_eq!(record.outcome, None);
}

pub(super) async fn an_accepted_task_survives_a_crash(world: World) {
    let mut before = Vec::new();
    for number in 0..50 {
        let new = NewTask {
            created_at: at(number),
            metadata: Some(Bytes::from_static(b"{}")),
            ..task("digits")
        };
        let id = world.submit(new).await;
        before.push(world.record(id).await);
    }
    let world = world.crash().await;
    for record in before {
        assert_eq!(world.record(record.id).await, record);
    }
    assert_eq!(world.lease("digits", 100).await.len(), 50);
}

pub(super) async fn every_kind_of_payload_comes_back_as_it_was(world: World) {
    let tensor = Tensor::new(DType::Float32, vec![2, 2], Bytes::from_static(&[7; 16])).unwrap();
    let scalar = Tensor::new(DType::Int64, vec![], Bytes::from_static(&[1; 8])).unwrap();
    let large = format!("\"{}\"", "x".repeat(3_000_000));
    for payload in [
        json("{\"text\": \"\u{e9}\\u00e9 \\n\"}"),
        json("null"),
        json(&large),
        Payload::Tensors(TensorSet(vec![("x".into(), tensor), ("s".into(), scalar)])),
        Payload::Tensors(TensorSet::default()),
    ] {
        let new = NewTask {
            payload,
            ..task("digits")
        };
        let id = world.submit(new.clone()).await;
        let lease = world.lease_one("digits").await;
        assert_eq!(lease.id, id);
        assert_eq!(lease.payload, Ok(new.payload));
        assert_eq!(lease.created_at, new.created_at);
        assert_eq!(lease.priority, new.priority);
    }
}

pub(super) async fn a_taken_id_is_refused_and_changes_nothing(world: World) {
    let first = task("digits");
    world.submit(first.clone()).await;
    let before = (world.record(first.id).await, world.depth("digits"));
    let second = NewTask {
        id: first.id,
        payload: json("[9]"),
        priority: 9,
        ..task("digits")
    };
    let elsewhere = NewTask {
        id: first.id,
        ..task("embed")
    };
    for twin in [second, elsewhere, first.clone()] {
        let refused = world.store.submit(twin).await.unwrap_err();
        assert_eq!(refused.kind, QueueErrorKind::Internal);
    }
    assert_eq!((world.record(first.id).await, world.depth("digits")), before);
    assert_eq!(world.depth("embed").tasks, 0);
    let leases = world.lease("digits", 10).await;
    assert_eq!(leases.len(), 1);
    assert_eq!(leases[0].payload, Ok(first.payload));
}

pub(super) async fn a_taken_id_is_refused_after_a_crash_and_after_its_end(world: World) {
    let new = task("digits");
    world.submit(new.clone()).await;
    let world = world.crash().await;
    assert!(world.store.submit(new.clone()).await.is_err(), "queued");
    let lease = world.lease_one("digits").await;
    assert!(world.store.submit(new.clone()).await.is_err(), "leased");
    assert_eq!(world.finish(success(&lease, at(5))).await, Finished::Recorded);
    assert!(world.store.submit(new.clone()).await.is_err(), "finished");
    let late = at(5).plus(world.harness.ttl().results * 2);
    assert_eq!(world.purge_all(late).await, 1);
    assert!(
        world.store.submit(new.clone()).await.is_err(),
        "purged, but remembered"
    );
    assert_eq!(world.lookup(new.id).await, Lookup::Expired);
    assert_eq!(world.depth("digits").tasks, 0);
}

pub(super) async fn an_id_never_seen_is_unknown(world: World) {
    world.submit(task("digits")).await;
    assert_eq!(world.lookup(TaskId::fresh()).await, Lookup::Unknown);
    assert_eq!(world.store.position(TaskId::fresh()).await.unwrap(), None);
}
