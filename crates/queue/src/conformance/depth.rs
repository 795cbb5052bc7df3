//! Depth is exact: it decides who is let in.

use super::world::{World, at, client, json, queued, request, retrying, success, task};
use crate::{Depth, Finished, LeaseRequest, Load, NewTask};

pub(super) async fn depth_is_exact_through_every_operation(world: World) {
    let is = |tasks, bytes| assert_eq!(world.depth("digits"), queued(tasks, bytes));
    is(0, 0);
    let heavy = NewTask {
        payload: json("[10,20,30]"),
        ..task("digits")
    };
    world.submit(heavy.clone()).await;
    is(1, 10);
    world.submit_many("digits", 2).await;
    is(3, 24);
    world.submit_many("embed", 1).await;
    is(3, 24);
    assert!(world.store.submit(heavy).await.is_err());
    is(3, 24);
    let leases = world.lease("digits", 2).await;
    is(1, 7);
    world.release(&leases[..1]).await;
    is(2, 17);
    world.release(&leases[..1]).await;
    is(2, 17);
    assert_eq!(world.finish(success(&leases[1], at(5))).await, Finished::Recorded);
    is(2, 17);
    assert_eq!(world.finish(success(&leases[0], at(5))).await, Finished::Stale);
    is(2, 17);
    world.purge_all(at(5).plus(world.harness.ttl().results * 2)).await;
    is(2, 17);
    world.lease("digits", 10).await;
    is(0, 0);
    assert_eq!(world.depth("embed"), queued(1, 7));
}

pub(super) async fn a_probe_of_a_working_store_changes_nothing(world: World) {
    let id = world.submit(task("digits")).await;
    let before = world.record(id).await;
    for _ in 0..3 {
        world.store.probe().await.unwrap();
    }
    assert_eq!(world.depth("digits"), queued(1, 7));
    let world = world.crash().await;
    assert_eq!(world.record(id).await, before);
    assert_eq!(world.depth("digits"), queued(1, 7));
}

pub(super) async fn depth_is_exact_after_a_crash(world: World) {
    world.submit_many("digits", 5).await;
    world.submit_many("embed", 2).await;
    let leases = world.lease("digits", 3).await;
    assert_eq!(world.finish(success(&leases[0], at(5))).await, Finished::Recorded);
    let world = world.crash().await;
    // Two of the three leases are queued again, one task has ended.
    assert_eq!(world.depth("digits"), queued(4, 28));
    assert_eq!(world.depth("embed"), queued(2, 14));
    let world = world.restart().await;
    assert_eq!(world.depth("digits"), queued(4, 28));
    assert_eq!(world.depth("other"), Depth::default());
}

fn of(name: &str, model: &str) -> NewTask {
    NewTask {
        client: Some(client(name)),
        ..task(model)
    }
}

/// So many tasks of seven bytes.
fn load(tasks: u64) -> Load {
    Load {
        tasks,
        bytes: 7 * tasks,
    }
}

pub(super) async fn what_a_client_has_queued_is_counted_through_every_operation(world: World) {
    let (ada, grace) = (client("ada"), client("grace"));
    let is = |of_ada, of_grace, all| {
        assert_eq!(world.store.client_load(&ada), load(of_ada));
        assert_eq!(world.store.client_load(&grace), load(of_grace));
        assert_eq!(world.store.load(), load(all));
    };
    is(0, 0, 0);
    let first = world.submit(of("ada", "digits")).await;
    world.submit(of("ada", "digits")).await;
    let elsewhere = world.submit(of("ada", "embed")).await;
    world.submit(of("grace", "digits")).await;
    world.submit(task("digits")).await;
    is(3, 1, 5);
    assert!(world.store.submit(of("grace", "digits")).await.is_ok());
    let taken = NewTask {
        id: first,
        ..of("grace", "digits")
    };
    assert!(world.store.submit(taken).await.is_err());
    is(3, 2, 6);
    let leases = world.lease("digits", 3).await;
    is(1, 1, 3);
    world.release(&leases[..1]).await;
    is(2, 1, 4);
    world.release(&leases[..1]).await;
    is(2, 1, 4);
    assert_eq!(world.finish(success(&leases[1], at(5))).await, Finished::Recorded);
    world.cancel(elsewhere).await;
    is(1, 1, 3);
    if world.store.capabilities().delays {
        assert_eq!(
            world.retry(retrying(&leases[2], at(9_000))).await,
            Finished::Recorded
        );
        is(1, 2, 4);
        world.cancel(leases[2].id).await;
        is(1, 1, 3);
    }
    let expiring = NewTask {
        expires_at: Some(at(10_000)),
        ..of("ada", "digits")
    };
    world.submit(expiring).await;
    is(2, 1, 4);
    world.store.expire(at(10_000)).await.unwrap();
    is(1, 1, 3);
    let now = at(20_000);
    let rest = LeaseRequest {
        now,
        ..request("digits", 10)
    };
    assert_eq!(world.store.lease(rest).await.unwrap().len(), 3);
    is(0, 0, 0);
}

pub(super) async fn what_a_client_has_queued_is_counted_after_a_crash(world: World) {
    for _ in 0..3 {
        world.submit(of("ada", "digits")).await;
        world.submit(of("grace", "embed")).await;
    }
    world.submit(task("digits")).await;
    let leases = world.lease("digits", 2).await;
    assert_eq!(world.finish(success(&leases[0], at(5))).await, Finished::Recorded);
    let world = world.crash().await;
    let is_as_before = |world: &World| {
        assert_eq!(world.store.client_load(&client("ada")), load(2));
        assert_eq!(world.store.client_load(&client("grace")), load(3));
        assert_eq!(world.store.load(), load(6));
    };
    is_as_before(&world);
    is_as_before(&world.restart().await);
}
