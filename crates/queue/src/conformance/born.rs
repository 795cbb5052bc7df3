//! Tasks that are born leased: their submitter runs them already.

use cresset_task::{Attempt, Event, Events, State};

use super::outbox::{due, later, telling};
use super::world::{ALL, World, at, because, client, giving_up, ids, model, queued, retrying, success, task};
use crate::{Cancelled, Depth, Finished, Idempotency, Lease, Load, NewTask, Retry, Submitted};

/// One that has run since `at(70)`.
fn born(name: &str) -> NewTask {
    NewTask {
        started_at: Some(at(70)),
        ..task(name)
    }
}

/// The lease that its submitter has.
fn held(new: &NewTask) -> Lease {
    Lease {
        id: new.id,
        attempt: Attempt(1),
        payload: Ok(new.payload.clone()),
        priority: new.priority,
        turn: new.turn,
        created_at: new.created_at,
        retries: 0,
        cache: new.cache,
        retry: new.retry.clone(),
        trace: new.trace.clone(),
    }
}

/// Submits one, and gives its lease.
async fn submitted(world: &World, new: NewTask) -> Lease {
    let lease = held(&new);
    world.submit(new).await;
    lease
}

pub(super) async fn a_task_that_is_born_leased_is_started_and_not_leased_to_another(world: World) {
    let lease = submitted(&world, born("digits")).await;
    let record = world.record(lease.id).await;
    assert_eq!((record.state, record.attempts), (State::Started, Attempt(1)));
    assert_eq!((record.created_at, record.started_at), (at(0), Some(at(70))));
    assert!(record.history.is_empty());
    assert!(world.lease("digits", ALL).await.is_empty());
    assert_eq!(world.store.position(lease.id).await.unwrap(), None);
}

pub(super) async fn a_task_that_is_born_leased_is_not_counted_until_it_is_queued(world: World) {
    let whose = client("somebody");
    let owned = |new| NewTask {
        client: Some(whose.clone()),
        ..new
    };
    let counts = |tasks, bytes| {
        assert_eq!(world.depth("digits"), queued(tasks, bytes));
        let load = Load { tasks, bytes };
        assert_eq!(
            (world.store.load(), world.store.client_load(&whose)),
            (load, load)
        );
    };
    let lease = submitted(&world, owned(born("digits"))).await;
    counts(0, 0);
    world.submit(owned(task("digits"))).await;
    counts(1, 7);
    world.release(std::slice::from_ref(&lease)).await;
    counts(2, 14);
    let again = world.lease("digits", ALL).await;
    assert_eq!(ids(&again)[0], lease.id, "it was accepted first");
    counts(0, 0);
    for lease in &again {
        assert_eq!(world.finish(success(lease, at(90))).await, Finished::Recorded);
    }
    counts(0, 0);
}

pub(super) async fn the_end_of_a_task_that_was_born_leased_is_fenced(world: World) {
    let lease = submitted(&world, born("digits")).await;
    let next = Lease {
        attempt: Attempt(2),
        ..lease.clone()
    };
    assert_eq!(world.finish(success(&next, at(80))).await, Finished::Stale);
    assert_eq!(world.finish(success(&lease, at(90))).await, Finished::Recorded);
    assert_eq!(world.finish(success(&lease, at(95))).await, Finished::Stale);
    let world = world.crash().await;
    let record = world.record(lease.id).await;
    assert_eq!((record.state, record.finished_at), (State::Success, Some(at(90))));
}

pub(super) async fn a_task_that_was_born_leased_comes_back_when_its_holder_dies(world: World) {
    let lease = submitted(&world, born("digits")).await;
    let world = world.crash().await;
    let record = world.record(lease.id).await;
    assert_eq!((record.state, record.attempts), (State::Pending, Attempt(1)));
    assert_eq!((record.history.len(), record.history[0].attempt), (1, Attempt(1)));
    assert_eq!(world.depth("digits"), queued(1, 7));
    let again = world.lease_one("digits").await;
    assert_eq!((again.id, again.attempt), (lease.id, Attempt(2)));
    assert_eq!(again.payload, lease.payload);
    assert_eq!(world.finish(success(&lease, at(80))).await, Finished::Stale);
    assert_eq!(world.finish(success(&again, at(90))).await, Finished::Recorded);
}

pub(super) async fn a_task_that_was_born_leased_comes_back_after_a_clean_stop(world: World) {
    let lease = submitted(&world, born("digits")).await;
    let world = world.restart().await;
    assert_eq!(world.depth("digits"), queued(1, 7));
    let again = world.lease_one("digits").await;
    assert_eq!((again.id, again.attempt), (lease.id, Attempt(2)));
}

pub(super) async fn a_task_that_was_born_leased_is_tried_again_and_stopped_as_any_other(world: World) {
    let failed = submitted(&world, born("digits")).await;
    let retry = Retry {
        redeliveries: 2,
        history: vec![because(&failed, at(80), "ValueError: not yet")],
        ..retrying(&failed, at(500))
    };
    assert_eq!(world.retry(retry).await, Finished::Recorded);
    let record = world.record(failed.id).await;
    assert_eq!((record.state, record.attempts), (State::Retry, Attempt(3)));
    assert_eq!(world.lease_one("digits").await.attempt, Attempt(4));

    let cancelled = submitted(&world, born("digits")).await;
    assert_eq!(
        world.cancel(cancelled.id).await,
        Cancelled::Leased(model("digits"))
    );
    assert_eq!(world.finish(success(&cancelled, at(90))).await, Finished::Stale);

    let overdue = NewTask {
        deadline_at: Some(at(2_000)),
        expires_at: Some(at(2_000)),
        ..born("digits")
    };
    let overdue = submitted(&world, overdue).await;
    let expiries = world.store.expire(at(2_500)).await.unwrap();
    assert_eq!(expiries.stopped, [(overdue.id, model("digits"))]);
    assert_eq!(world.record(overdue.id).await.state, State::Revoked);
    assert_eq!(world.depth("digits"), Depth::default());
}

pub(super) async fn a_task_that_is_born_leased_has_its_key(world: World) {
    let keyed = |digest| NewTask {
        idempotency: Some(Idempotency {
            key: "k".parse().unwrap(),
            digest: [digest; 32],
        }),
        ..born("digits")
    };
    let lease = submitted(&world, keyed(1)).await;
    let replayed = Submitted::Replayed {
        id: lease.id,
        state: State::Started,
        created_at: at(0),
    };
    assert_eq!(world.store.submit(keyed(1)).await.unwrap(), replayed);
    assert_eq!(world.store.submit(keyed(2)).await.unwrap(), Submitted::KeyReused);
    let taken = NewTask {
        id: lease.id,
        ..born("digits")
    };
    assert!(world.store.submit(taken).await.is_err(), "the id is taken");
    assert_eq!(world.finish(success(&lease, at(90))).await, Finished::Recorded);
    world.store.release(vec![giving_up(&lease)]).await.unwrap();
    assert_eq!(world.depth("digits"), Depth::default());
}

pub(super) async fn that_a_task_was_born_leased_is_told_as_a_start(world: World) {
    let told = telling("hooks.example.com", Events::of([Event::Started]).unwrap());
    let new = NewTask {
        started_at: Some(at(70)),
        ..told
    };
    let lease = submitted(&world, new).await;
    let sendings = due(&world, later()).await;
    let [sending] = sendings.as_slice() else {
        panic!("one delivery, not {sendings:?}")
    };
    assert_eq!(
        (sending.id.task, sending.id.event, sending.id.attempt),
        (lease.id, Event::Started, 1)
    );
}
