//! Delayed tasks, retries, and the history that they leave.

use cresset_task::{Attempt, HISTORY_MAX, State};

use super::world::{TICK, World, at, because, ids, queued, retrying, success, task};
use crate::{Completion, Depth, Finished, NewTask, Retry};

fn delays(world: &World) -> bool {
    let capabilities = world.store.capabilities();
    if !capabilities.delays {
        eprintln!("skipped: {} does not declare `delays`", capabilities.name);
    }
    capabilities.delays
}

fn due(micros: i64) -> NewTask {
    NewTask {
        due_at: Some(at(micros)),
        ..task("digits")
    }
}

pub(super) async fn a_delayed_task_is_not_leased_before_its_time(world: World) {
    if !delays(&world) {
        return;
    }
    let id = world.submit(due(5_000)).await;
    let record = world.record(id).await;
    assert_eq!((record.state, record.due_at), (State::Pending, Some(at(5_000))));
    assert!(world.lease_at("digits", at(4_999)).await.is_empty());
    assert_eq!(world.store.position(id).await.unwrap(), None);
    assert_eq!(ids(&world.lease_at("digits", at(5_000)).await), [id]);
    assert_eq!(world.record(id).await.due_at, None);
}

pub(super) async fn a_delayed_task_takes_its_place_when_it_is_due(world: World) {
    if !delays(&world) {
        return;
    }
    let first = world.submit(due(5_000)).await;
    let second = world.submit(task("digits")).await;
    let third = world.submit(due(4_000)).await;
    assert_eq!(
        ids(&world.lease_at("digits", at(5_000)).await),
        [first, second, third]
    );
}

pub(super) async fn a_delay_survives_a_crash(world: World) {
    if !delays(&world) {
        return;
    }
    let id = world.submit(due(5_000)).await;
    let world = world.crash().await;
    assert_eq!(world.depth("digits").next_due, Some(at(5_000)));
    assert!(world.lease_at("digits", at(4_999)).await.is_empty());
    assert_eq!(ids(&world.lease_at("digits", at(5_000)).await), [id]);
}

pub(super) async fn depth_tells_what_waits_for_its_time(world: World) {
    if !delays(&world) {
        return;
    }
    world.submit(due(9_000)).await;
    world.submit(due(5_000)).await;
    world.submit(task("digits")).await;
    let depth = Depth {
        delayed: 2,
        next_due: Some(at(5_000)),
        ..queued(3, 21)
    };
    assert_eq!(world.depth("digits"), depth);
    assert!(depth.has_work(at(0)));
    assert_eq!(world.lease_at("digits", at(1_000)).await.len(), 1);
    let depth = world.depth("digits");
    assert!(!depth.has_work(at(4_999)) && depth.has_work(at(5_000)));
    assert_eq!(world.lease_at("digits", at(6_000)).await.len(), 1);
    let depth = Depth {
        delayed: 1,
        next_due: Some(at(9_000)),
        ..queued(1, 7)
    };
    assert_eq!(world.depth("digits"), depth);
    let world = world.restart().await;
    assert_eq!(world.depth("digits").tasks, 3, "both leases went back");
    assert_eq!(world.depth("digits").delayed, 1);
}

pub(super) async fn a_retried_task_runs_again_when_it_is_due(world: World) {
    if !delays(&world) {
        return;
    }
    let id = world.submit(task("digits")).await;
    let lease = world.lease_one("digits").await;
    assert_eq!(lease.retries, 0);
    assert_eq!(world.retry(retrying(&lease, at(5_000))).await, Finished::Recorded);
    let record = world.record(id).await;
    assert_eq!((record.state, record.retries), (State::Retry, 1));
    assert_eq!(record.due_at, Some(at(5_000)));
    assert_eq!(
        record.history,
        [because(&lease, at(2_000), "ValueError: not yet")]
    );
    assert!(world.lease_at("digits", at(4_999)).await.is_empty());
    let again = world.lease_at("digits", at(5_000)).await.remove(0);
    assert_eq!((again.id, again.attempt, again.retries), (id, Attempt(2), 1));
    assert_eq!(world.finish(success(&again, at(6_000))).await, Finished::Recorded);
    let record = world.record(id).await;
    assert_eq!(
        (record.state, record.retries, record.history.len()),
        (State::Success, 1, 1)
    );
}

pub(super) async fn a_retry_survives_a_crash(world: World) {
    if !delays(&world) {
        return;
    }
    let id = world.submit(task("digits")).await;
    let lease = world.lease_one("digits").await;
    assert_eq!(world.retry(retrying(&lease, at(5_000))).await, Finished::Recorded);
    let world = world.crash().await;
    assert_eq!(world.record(id).await.state, State::Retry);
    assert!(world.lease_at("digits", at(4_999)).await.is_empty());
    assert_eq!(ids(&world.lease_at("digits", at(5_000)).await), [id]);
}

pub(super) async fn a_stale_retry_changes_nothing(world: World) {
    let id = world.submit(task("digits")).await;
    let lease = world.lease_one("digits").await;
    let stale = Retry {
        attempt: lease.attempt.next(),
        ..retrying(&lease, at(5_000))
    };
    let before = world.record(id).await;
    assert_eq!(world.retry(stale).await, Finished::Stale);
    assert_eq!(world.record(id).await, before);
    assert_eq!(world.finish(success(&lease, at(6_000))).await, Finished::Recorded);
    assert_eq!(world.retry(retrying(&lease, at(7_000))).await, Finished::Stale);
    assert_eq!(world.record(id).await.state, State::Success);
    assert_eq!(world.depth("digits"), Depth::default());
}

pub(super) async fn a_history_is_shown_and_kept_short(world: World) {
    let id = world.submit(task("digits")).await;
    let lease = world.lease_one("digits").await;
    let count = HISTORY_MAX as u32 + 5;
    let history: Vec<_> = (0..count)
        .map(|i| cresset_task::Redelivery {
            attempt: Attempt(1 + i),
            at: at(2_000).plus(TICK * i),
            reason: format!("the instance died, time {i}"),
        })
        .collect();
    let completion = Completion {
        redeliveries: count,
        history: history.clone(),
        ..success(&lease, at(9_000))
    };
    assert_eq!(world.finish(completion).await, Finished::Recorded);
    let record = world.record(id).await;
    assert_eq!(record.history, history[5..]);
    assert_eq!(record.attempts, Attempt(1 + count));
}

pub(super) async fn the_end_of_a_process_is_part_of_the_history(world: World) {
    let id = world.submit(task("digits")).await;
    world.lease_one("digits").await;
    let world = world.crash().await;
    let record = world.record(id).await;
    assert_eq!(record.state, State::Pending);
    assert_eq!(record.history.len(), 1, "{:?}", record.history);
    assert_eq!(record.history[0].attempt, Attempt(1));
}
