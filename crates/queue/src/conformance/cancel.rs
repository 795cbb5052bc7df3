//! Dropping a future never loses a task.

use std::collections::HashMap;
use std::pin::pin;
use std::task::Poll;

use cresset_task::{Outcome, State};

use super::sizes::{largest, text};
use super::world::{ALL, World, at, ended, request, success, task};
use crate::{Finished, Lookup, NewTask};

/// Polls so often, then drops; what it gave, if it was done by then.
async fn poll_then_drop<F: Future>(future: F, polls: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    for _ in 0..polls {
        let polled = std::future::poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await;
        if let Poll::Ready(output) = polled {
            return Some(output);
        }
        tokio::task::yield_now().await;
    }
    None
}

/// From "never begun" to "surely done": each drop finds the operation at another point.
fn polls() -> impl Iterator<Item = usize> {
    (0..60).chain((60..4_000).step_by(131))
}

pub(super) async fn a_dropped_lease_is_given_back(world: World) {
    const TASKS: usize = 4;
    world.submit_many("digits", TASKS).await;
    drop_leases(world, TASKS, polls()).await;
}

pub(super) async fn a_dropped_lease_of_large_inputs_is_given_back(world: World) {
    const TASKS: usize = 4;
    for number in 0..TASKS {
        let payload = text(largest(&world), number);
        world
            .submit(NewTask {
                payload,
                ..task("digits")
            })
            .await;
    }
    drop_leases(world, TASKS, polls().step_by(4)).await;
}

async fn drop_leases(world: World, tasks: usize, polls: impl Iterator<Item = usize>) {
    for count in polls {
        if let Some(answered) = poll_then_drop(world.store.lease(request("digits", ALL)), count).await {
            world.release(&answered.unwrap()).await;
        }
    }
    // Each is leased again, sooner or later, and once.
    let mut leases = HashMap::new();
    while leases.len() < tasks {
        for lease in world.lease("digits", ALL).await {
            assert!(leases.insert(lease.id, lease).is_none(), "a task has two holders");
        }
    }
    assert_eq!(world.depth("digits").tasks, 0);
    for lease in leases.values() {
        assert_eq!(world.finish(success(lease, at(5))).await, Finished::Recorded);
    }
}

pub(super) async fn a_dropped_submit_happened_whole_or_not_at_all(world: World) {
    let mut submitted = Vec::new();
    for count in polls() {
        let new = task("digits");
        let answered = poll_then_drop(world.store.submit(new.clone()), count).await;
        submitted.push((new.id, answered.is_some()));
    }
    // What was dropped may still be under way; a close finishes what was begun.
    let world = world.restart().await;
    let mut found = 0;
    for (id, answered) in submitted {
        match world.lookup(id).await {
            Lookup::Found(record) => {
                assert_eq!(record.state, State::Pending);
                found += 1;
            }
            other => assert!(!answered, "an accepted task is {other:?}"),
        }
    }
    assert_eq!(world.depth("digits").tasks, found);
    assert_eq!(
        world.lease("digits", ALL).await.len() as u64,
        found,
        "each has its input"
    );
}

pub(super) async fn a_dropped_submit_of_a_large_input_happened_whole_or_not_at_all(world: World) {
    let size = largest(&world);
    let mut submitted = Vec::new();
    for (number, count) in polls().step_by(4).enumerate() {
        let new = NewTask {
            payload: text(size, number),
            ..task("digits")
        };
        let answered = poll_then_drop(world.store.submit(new.clone()), count).await;
        submitted.push((new, answered.is_some()));
    }
    let world = world.restart().await;
    let leases = world.lease("digits", ALL).await;
    for (new, answered) in submitted {
        match leases.iter().find(|lease| lease.id == new.id) {
            Some(lease) => assert_eq!(lease.payload, Ok(new.payload), "the whole input, and its own"),
            None => {
                assert!(!answered, "an accepted task is gone");
                assert_eq!(world.lookup(new.id).await, Lookup::Unknown);
            }
        }
    }
    assert_eq!(world.depth("digits").tasks, 0);
}

pub(super) async fn a_dropped_finish_with_a_large_outcome_happened_whole_or_not_at_all(world: World) {
    let size = largest(&world);
    for (number, count) in polls().step_by(8).enumerate() {
        let id = world.submit(task("digits")).await;
        let lease = world.lease_one("digits").await;
        let first = Outcome::Success(text(size, number));
        let second = Outcome::Success(text(size, number + 1));
        let answered = poll_then_drop(
            world.store.finish(vec![ended(&lease, first.clone(), at(5))]),
            count,
        )
        .await;
        let answer = world.finish(ended(&lease, second.clone(), at(6))).await;
        let record = world.record(id).await;
        let (outcome, finished_at) = match answer {
            Finished::Recorded => (second, at(6)),
            Finished::Stale => (first, at(5)),
        };
        assert!(answered.is_none() || answer == Finished::Stale);
        assert_eq!(
            (record.outcome, record.finished_at),
            (Some(outcome), Some(finished_at))
        );
    }
}
