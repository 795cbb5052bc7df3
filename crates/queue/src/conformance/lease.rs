//! One holder; limits; attempts; releases; nothing leaks.

use std::time::Duration;

use cresset_task::{Attempt, CacheUse, RetryTerms, State, TaskId, Trace};

use super::world::{ALL, World, at, giving_up, ids, json, queued, request, retrying, success, task};
use crate::{Finished, LeaseRequest, NewTask, Release};

pub(super) async fn an_empty_queue_gives_an_empty_answer(world: World) {
    assert!(world.lease("digits", 10).await.is_empty());
    world.submit_many("digits", 1).await;
    world.lease_one("digits").await;
    assert!(world.lease("digits", 10).await.is_empty());
}

pub(super) async fn no_more_are_leased_than_asked_for(world: World) {
    world.submit_many("digits", 5).await;
    assert!(world.lease("digits", 0).await.is_empty());
    assert_eq!(world.lease("digits", 3).await.len(), 3);
    assert_eq!(world.lease("digits", 3).await.len(), 2);
}

/// Tasks of these weights, leased with this limit: how many come.
async fn leased_within(world: &World, weights: &[usize], max_bytes: usize) -> usize {
    for weight in weights {
        world
            .submit(NewTask {
                payload: json(&"1".repeat(*weight)),
                ..task("digits")
            })
            .await;
    }
    let count = world
        .store
        .lease(LeaseRequest {
            max_bytes,
            ..request("digits", ALL)
        })
        .await
        .unwrap()
        .len();
    world.lease("digits", ALL).await;
    count
}

pub(super) async fn leases_stop_before_they_weigh_too_much(world: World) {
    assert_eq!(leased_within(&world, &[10, 10, 10], 30).await, 3);
    assert_eq!(leased_within(&world, &[10, 10, 10], 29).await, 2);
    assert_eq!(
        leased_within(&world, &[10, 50, 1], 30).await,
        1,
        "the next in line is not jumped"
    );
}

pub(super) async fn the_first_is_leased_whatever_it_weighs(world: World) {
    assert_eq!(leased_within(&world, &[100, 1], 30).await, 1);
    assert_eq!(leased_within(&world, &[100, 1], 0).await, 1);
}

pub(super) async fn a_leased_task_is_started_and_not_leased_again(world: World) {
    let id = world.submit(task("digits")).await;
    let lease = world
        .store
        .lease(LeaseRequest {
            now: at(77),
            ..request("digits", 1)
        })
        .await
        .unwrap()
        .remove(0);
    assert_eq!((lease.id, lease.attempt), (id, Attempt(1)));
    let record = world.record(id).await;
    assert_eq!(record.state, State::Started);
    assert_eq!(record.started_at, Some(at(77)));
    assert_eq!(record.attempts, Attempt(1));
    assert!(world.lease("digits", 10).await.is_empty());
}

pub(super) async fn a_released_task_keeps_its_place_and_its_attempts(world: World) {
    let submitted = world.submit_many("digits", 4).await;
    for round in 1..=3 {
        let leases = world
            .store
            .lease(LeaseRequest {
                now: at(round),
                ..request("digits", 2)
            })
            .await
            .unwrap();
        assert_eq!(ids(&leases), submitted[..2]);
        assert!(
            leases.iter().all(|l| i64::from(l.attempt.0) == round),
            "each delivery is counted"
        );
        world.release(&leases).await;
        let record = world.record(submitted[0]).await;
        assert_eq!(record.state, State::Pending);
        assert_eq!(i64::from(record.attempts.0), round);
        assert_eq!(
            record.started_at,
            Some(at(round)),
            "when it was last handed out stays known"
        );
    }
    assert_eq!(ids(&world.lease("digits", ALL).await), submitted);
}

pub(super) async fn a_lease_says_what_a_cache_may_do(world: World) {
    let all = [CacheUse::Allowed, CacheUse::NoCache, CacheUse::NoStore];
    for cache in all {
        world
            .submit(NewTask {
                cache,
                ..task("digits")
            })
            .await;
    }
    let leases = world.lease("digits", ALL).await;
    assert_eq!(leases.iter().map(|lease| lease.cache).collect::<Vec<_>>(), all);
}

pub(super) async fn how_a_task_is_tried_again_goes_with_its_leases_and_is_shown(world: World) {
    let all = RetryTerms {
        max_retries: Some(7),
        delay: Some(Duration::from_millis(1_500)),
        max_delay: Some(Duration::from_secs(86_400)),
        on: Some(vec!["ValueError".into(), "*".into()]),
    };
    let none = RetryTerms {
        on: Some(Vec::new()),
        ..RetryTerms::default()
    };
    let said = [Some(Box::new(all)), None, Some(Box::new(none))];
    let mut submitted = Vec::new();
    for retry in said.clone() {
        let new = NewTask {
            retry,
            ..task("digits")
        };
        submitted.push(world.submit(new).await);
    }
    let world = world.crash().await;
    let leases = world.lease("digits", ALL).await;
    let leased: Vec<_> = leases.iter().map(|lease| lease.retry.clone()).collect();
    assert_eq!(leased, said);
    // A retry changes nothing of it.
    assert_eq!(
        world.retry(retrying(&leases[0], at(5_000))).await,
        Finished::Recorded
    );
    let again = world.lease_at("digits", at(5_000)).await;
    assert_eq!((again[0].id, &again[0].retry), (submitted[0], &said[0]));
    for (id, retry) in submitted.into_iter().zip(said) {
        assert_eq!(world.record(id).await.retry, retry);
    }
}

pub(super) async fn the_trace_of_a_task_goes_with_its_leases_and_is_shown(world: World) {
    let plain: Trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
        .parse()
        .unwrap();
    let stated: Trace =
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00 rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
            .parse()
            .unwrap();
    let said = [Some(Box::new(plain)), None, Some(Box::new(stated))];
    let mut submitted = Vec::new();
    for trace in said.clone() {
        let new = NewTask {
            trace,
            ..task("digits")
        };
        submitted.push(world.submit(new).await);
    }
    let world = world.crash().await;
    let leases = world.lease("digits", ALL).await;
    let leased: Vec<_> = leases.iter().map(|lease| lease.trace.clone()).collect();
    assert_eq!(leased, said);
    // A retry changes nothing of it, and neither does the end.
    assert_eq!(
        world.retry(retrying(&leases[0], at(5_000))).await,
        Finished::Recorded
    );
    let again = world.lease_at("digits", at(5_000)).await;
    assert_eq!((again[0].id, &again[0].trace), (submitted[0], &said[0]));
    world.finish(success(&again[0], at(6_000))).await;
    for (id, trace) in submitted.into_iter().zip(said) {
        assert_eq!(world.record(id).await.trace, trace);
    }
}

pub(super) async fn a_stale_release_changes_nothing(world: World) {
    world.submit_many("digits", 2).await;
    let old = world.lease_one("digits").await;
    world.release(std::slice::from_ref(&old)).await;
    let new = world.lease_one("digits").await;
    assert_eq!((new.id, new.attempt), (old.id, Attempt(2)));
    let before = (world.record(new.id).await, world.depth("digits"));
    let stale = vec![
        giving_up(&old),
        Release {
            id: new.id,
            attempt: Attempt(3),
        },
        Release {
            id: new.id,
            attempt: Attempt(0),
        },
        Release {
            id: TaskId::fresh(),
            attempt: Attempt(1),
        },
    ];
    world.store.release(stale).await.unwrap();
    assert_eq!((world.record(new.id).await, world.depth("digits")), before);

    // Twice in one call, and of a task that ended: the first counts, the others do not.
    world
        .store
        .release(vec![giving_up(&new), giving_up(&new)])
        .await
        .unwrap();
    assert_eq!(world.depth("digits"), queued(2, 14));
    let lease = world.lease_one("digits").await;
    assert_eq!(world.finish(success(&lease, at(9))).await, Finished::Recorded);
    world.release(std::slice::from_ref(&lease)).await;
    assert_eq!(world.record(lease.id).await.state, State::Success);
    assert_eq!(world.depth("digits"), queued(1, 7));
    world.store.release(Vec::new()).await.unwrap();
}

pub(super) async fn leases_end_with_their_process(world: World) {
    let submitted = world.submit_many("digits", 3).await;
    let first = world.lease("digits", 2).await;
    world.release(&first[..1]).await;
    world.lease_one("digits").await;
    let world = world.crash().await;
    for id in &submitted {
        assert_eq!(world.record(*id).await.state, State::Pending);
    }
    let attempts: Vec<_> = world
        .lease("digits", ALL)
        .await
        .iter()
        .map(|l| (l.id, l.attempt.0))
        .collect();
    assert_eq!(
        attempts,
        [(submitted[0], 3), (submitted[1], 2), (submitted[2], 1)],
        "attempts stay counted"
    );
}

pub(super) async fn leases_end_with_a_clean_stop(world: World) {
    let submitted = world.submit_many("digits", 2).await;
    world.lease_one("digits").await;
    let world = world.restart().await;
    let leases = world.lease("digits", ALL).await;
    assert_eq!(ids(&leases), submitted);
    assert_eq!(leases[0].attempt, Attempt(2));
}
