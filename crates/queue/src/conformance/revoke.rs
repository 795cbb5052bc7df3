//! Cancellations and expiries: final, durable, and never run.

use cresset_task::{Outcome, State, TaskId};
use tokio::task::JoinSet;

use super::world::{ALL, World, at, ids, queued, retrying, success, task};
use crate::{Cancelled, Depth, Expiries, Finished, Lookup, NewTask};

fn expiring(micros: i64) -> NewTask {
    NewTask {
        expires_at: Some(at(micros)),
        ..task("digits")
    }
}

async fn assert_revoked(world: &World, id: TaskId, reason: &str) {
    let record = world.record(id).await;
    assert_eq!(record.state, State::Revoked);
    assert_eq!(record.due_at, None);
    let Some(Outcome::Revoked { reason: told }) = record.outcome else {
        panic!("a revoked task says why: {record:?}")
    };
    assert!(told.contains(reason), "{told}");
}

pub(super) async fn a_queued_task_is_cancelled_and_never_leased(world: World) {
    let tasks = world.submit_many("digits", 2).await;
    assert_eq!(
        world.cancel(tasks[0]).await,
        Cancelled::Queued("digits".parse().unwrap())
    );
    assert_revoked(&world, tasks[0], "no longer wanted").await;
    assert_eq!(world.record(tasks[0]).await.finished_at, Some(at(3_000)));
    assert_eq!(world.depth("digits"), queued(1, 7));
    assert_eq!(ids(&world.lease("digits", ALL).await), tasks[1..]);
}

pub(super) async fn a_delayed_and_a_retried_task_can_be_cancelled(world: World) {
    if !world.store.capabilities().delays {
        eprintln!("skipped: delays are not declared");
        return;
    }
    let retried = world.submit(task("digits")).await;
    let lease = world.lease_one("digits").await;
    assert_eq!(world.retry(retrying(&lease, at(5_000))).await, Finished::Recorded);
    let delayed = world
        .submit(NewTask {
            due_at: Some(at(4_000)),
            ..task("digits")
        })
        .await;
    for id in [retried, delayed] {
        assert!(matches!(world.cancel(id).await, Cancelled::Queued(_)));
        assert_revoked(&world, id, "no longer wanted").await;
    }
    assert_eq!(world.depth("digits"), Depth::default());
    assert!(world.lease_at("digits", at(9_000)).await.is_empty());
}

pub(super) async fn a_leased_task_is_cancelled_and_its_holder_is_stale(world: World) {
    let id = world.submit(task("digits")).await;
    let lease = world.lease_one("digits").await;
    assert_eq!(
        world.cancel(id).await,
        Cancelled::Leased("digits".parse().unwrap())
    );
    assert_eq!(world.finish(success(&lease, at(5_000))).await, Finished::Stale);
    assert_eq!(world.retry(retrying(&lease, at(5_000))).await, Finished::Stale);
    world.release(&[lease]).await;
    assert_revoked(&world, id, "no longer wanted").await;
    assert_eq!(world.depth("digits"), Depth::default());
}

pub(super) async fn a_cancellation_survives_a_crash(world: World) {
    let tasks = world.submit_many("digits", 2).await;
    world.lease_one("digits").await;
    for id in &tasks {
        world.cancel(*id).await;
    }
    let world = world.crash().await;
    for id in tasks {
        assert_revoked(&world, id, "no longer wanted").await;
    }
    assert!(world.lease("digits", ALL).await.is_empty());
}

pub(super) async fn what_has_ended_cannot_be_cancelled(world: World) {
    let done = world.finished_task("digits", at(10)).await;
    assert_eq!(world.cancel(done).await, Cancelled::Ended(State::Success));
    assert_eq!(world.record(done).await.state, State::Success);
    let queued = world.submit(task("digits")).await;
    world.cancel(queued).await;
    assert_eq!(world.cancel(queued).await, Cancelled::Ended(State::Revoked));
    assert_eq!(world.cancel(TaskId::fresh()).await, Cancelled::Unknown);
    world
        .purge_all(at(3_000).plus(world.harness.ttl().results * 2))
        .await;
    assert_eq!(world.cancel(done).await, Cancelled::Expired);
    assert_eq!(world.lookup(done).await, Lookup::Expired);
}

pub(super) async fn of_a_cancellation_and_a_completion_exactly_one_wins(world: World) {
    const TASKS: usize = 60;
    world.submit_many("digits", TASKS).await;
    let mut races = JoinSet::new();
    for lease in world.lease("digits", ALL).await {
        let (store, other) = (world.store.clone(), world.store.clone());
        races.spawn(async move {
            let completion = success(&lease, at(5_000));
            let (finished, cancelled) = tokio::join!(
                store.finish(vec![completion]),
                other.cancel(lease.id, "no longer wanted", at(5_000))
            );
            (lease.id, finished.unwrap()[0], cancelled.unwrap())
        });
    }
    for (id, finished, cancelled) in races.join_all().await {
        let state = world.record(id).await.state;
        match finished {
            Finished::Recorded => {
                assert_eq!(
                    (state, cancelled),
                    (State::Success, Cancelled::Ended(State::Success))
                );
            }
            Finished::Stale => {
                assert_eq!(state, State::Revoked);
                assert!(matches!(cancelled, Cancelled::Leased(_)));
            }
        }
    }
}

pub(super) async fn an_expired_task_is_never_leased(world: World) {
    world.submit(expiring(2_000)).await;
    let alive = world.submit(expiring(2_001)).await;
    let forever = world.submit(task("digits")).await;
    assert_eq!(ids(&world.lease_at("digits", at(2_000)).await), [alive, forever]);
    let world = world.crash().await;
    assert_eq!(ids(&world.lease_at("digits", at(2_000)).await), [alive, forever]);
}

pub(super) async fn an_expired_task_is_revoked_when_asked_and_its_depth_goes(world: World) {
    let early = world.submit(expiring(2_000)).await;
    let late = world.submit(expiring(9_000)).await;
    let expiries = world.store.expire(at(1_999)).await.unwrap();
    assert_eq!((expiries.revoked.len(), expiries.next), (0, Some(at(2_000))));
    let expiries = world.store.expire(at(2_000)).await.unwrap();
    assert_eq!(expiries.revoked, [(early, "digits".parse().unwrap())]);
    assert_eq!(expiries.next, Some(at(9_000)));
    assert_revoked(&world, early, "expired").await;
    assert_eq!(world.record(late).await.expires_at, Some(at(9_000)));
    assert_eq!(world.depth("digits"), queued(1, 7));
}

pub(super) async fn a_leased_task_does_not_expire(world: World) {
    let id = world.submit(expiring(2_000)).await;
    let lease = world.lease_one("digits").await;
    let expiries = world.store.expire(at(9_000)).await.unwrap();
    assert_eq!((expiries.revoked.len(), expiries.next), (0, None));
    assert_eq!(world.finish(success(&lease, at(9_500))).await, Finished::Recorded);
    assert_eq!(world.record(id).await.state, State::Success);
}

fn with_deadline(micros: i64) -> NewTask {
    NewTask {
        deadline_at: Some(at(micros)),
        ..task("digits")
    }
}

pub(super) async fn a_leased_task_past_its_deadline_is_revoked_and_its_holder_is_stale(world: World) {
    let id = world.submit(with_deadline(2_000)).await;
    let later = world.submit(with_deadline(9_000)).await;
    let leases = world.lease("digits", ALL).await;
    let expiries = world.store.expire(at(1_999)).await.unwrap();
    assert_eq!((expiries.stopped.len(), expiries.next), (0, Some(at(2_000))));
    let expiries = world.store.expire(at(2_000)).await.unwrap();
    assert_eq!(expiries.stopped, [(id, "digits".parse().unwrap())]);
    assert_eq!((expiries.revoked.len(), expiries.next), (0, Some(at(9_000))));
    assert_revoked(&world, id, "deadline").await;
    assert_eq!(world.record(id).await.deadline_at, Some(at(2_000)));
    assert_eq!(
        world.finish(success(&leases[0], at(2_001))).await,
        Finished::Stale
    );
    assert_eq!(
        world.finish(success(&leases[1], at(2_001))).await,
        Finished::Recorded
    );
    assert_eq!(world.record(later).await.state, State::Success);
    assert_eq!(world.store.expire(at(9_000)).await.unwrap(), Expiries::default());
    assert_eq!(world.depth("digits"), Depth::default());
}

pub(super) async fn a_deadline_is_for_what_is_held_and_survives_a_crash(world: World) {
    let id = world.submit(with_deadline(2_000)).await;
    world.lease_one("digits").await;
    let world = world.crash().await;
    assert_eq!(world.store.expire(at(5_000)).await.unwrap(), Expiries::default());
    assert_eq!(world.depth("digits"), queued(1, 7));
    assert_eq!(ids(&world.lease_at("digits", at(5_000)).await), [id]);
    let expiries = world.store.expire(at(5_000)).await.unwrap();
    assert_eq!(expiries.stopped, [(id, "digits".parse().unwrap())]);
    let world = world.crash().await;
    assert_revoked(&world, id, "deadline").await;
}

pub(super) async fn expiries_are_bounded_and_tell_the_next(world: World) {
    const TASKS: usize = 2_500;
    let mut submits = JoinSet::new();
    for _ in 0..TASKS {
        let store = world.store.clone();
        submits.spawn(async move { store.submit(expiring(2_000)).await.unwrap() });
    }
    submits.join_all().await;
    let (mut revoked, mut rounds) = (0, 0);
    loop {
        let expiries = world.store.expire(at(5_000)).await.unwrap();
        revoked += expiries.revoked.len();
        rounds += 1;
        if expiries.next.is_none_or(|next| next > at(5_000)) {
            break;
        }
    }
    assert_eq!(revoked, TASKS);
    assert!(rounds > 1, "all {TASKS} in one call hold up everybody else");
    assert_eq!(world.depth("digits"), Depth::default());
}
