//! Depth is exact: it decides who is let in.

use super::world::{World, at, json, queued, success, task};
use crate::{Depth, Finished, NewTask};

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
    world.purge_all(at(5).plus(world.harness.result_ttl() * 2)).await;
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
