//! Results expire, ids are remembered for a while, purges are bounded.

use cresset_task::State;
use tokio::task::JoinSet;

use super::world::{ALL, TICK, World, at, success, task};
use crate::{Finished, Lookup};

pub(super) async fn a_finished_task_is_kept_for_its_time_and_not_longer(world: World) {
    let ttl = world.harness.ttl().results;
    let id = world.finished_task("digits", at(10)).await;
    let newer = world.finished_task("digits", at(20)).await;
    assert_eq!(
        world.store.purge(at(10).plus(ttl)).await.unwrap(),
        0,
        "not older than its time yet"
    );
    assert_eq!(world.record(id).await.state, State::Success);
    assert_eq!(world.store.purge(at(10).plus(ttl + TICK)).await.unwrap(), 1);
    assert_eq!(world.lookup(id).await, Lookup::Expired);
    assert_eq!(world.record(newer).await.state, State::Success);
}

pub(super) async fn an_expired_id_is_remembered_and_then_forgotten(world: World) {
    let id = world.finished_task("digits", at(10)).await;
    let purged_at = at(10).plus(world.harness.ttl().results * 2);
    assert_eq!(world.store.purge(purged_at).await.unwrap(), 1);
    assert_eq!(world.store.purge(purged_at).await.unwrap(), 0);
    let last = purged_at.plus(world.harness.ttl().tombstones);
    assert_eq!(world.store.purge(last).await.unwrap(), 0);
    assert_eq!(world.lookup(id).await, Lookup::Expired);
    assert_eq!(world.store.purge(last.plus(TICK)).await.unwrap(), 1);
    assert_eq!(world.lookup(id).await, Lookup::Unknown);
}

pub(super) async fn an_open_task_never_expires(world: World) {
    let queued = world.submit_many("digits", 3).await;
    let leased = world.lease_one("digits").await;
    let released = world.lease_one("digits").await;
    world.release(std::slice::from_ref(&released)).await;
    let depth = world.depth("digits");
    let late = at(0).plus((world.harness.ttl().results + world.harness.ttl().tombstones) * 10);
    assert_eq!(world.store.purge(late).await.unwrap(), 0);
    for id in queued {
        assert!(!world.record(id).await.state.is_terminal());
    }
    assert_eq!(world.depth("digits"), depth);
    assert_eq!(world.finish(success(&leased, at(9))).await, Finished::Recorded);
}

pub(super) async fn a_purge_is_bounded_and_ends_with_zero(world: World) {
    let chunk = world.harness.purge_max();
    let count = 2 * chunk + 100;
    let mut submits = JoinSet::new();
    for _ in 0..count {
        let store = world.store.clone();
        submits.spawn(async move { store.submit(task("digits")).await.unwrap() });
    }
    submits.join_all().await;
    let leases = world.lease("digits", ALL).await;
    assert_eq!(leases.len(), count);
    let answers = world
        .store
        .finish(leases.iter().map(|l| success(l, at(10))).collect())
        .await
        .unwrap();
    assert!(answers.iter().all(|a| *a == Finished::Recorded));
    world.submit_many("digits", 3).await;

    let mut now = at(10).plus(world.harness.ttl().results * 2);
    // First the records, then, when their time has come, the memory of their ids.
    for _ in 0..2 {
        let mut removed = 0;
        loop {
            let step = world.store.purge(now).await.unwrap();
            assert!(step <= chunk, "{step} removed in one call");
            if step == 0 {
                break;
            }
            removed += step;
        }
        assert_eq!(removed, count);
        now = now.plus(world.harness.ttl().tombstones * 2);
    }
    for lease in [&leases[0], &leases[count - 1]] {
        assert_eq!(world.lookup(lease.id).await, Lookup::Unknown);
    }
    assert_eq!(world.depth("digits").tasks, 3, "open tasks are not touched");
}

pub(super) async fn expiry_survives_a_crash(world: World) {
    let old = world.finished_task("digits", at(10)).await;
    let late = at(10).plus(world.harness.ttl().results * 2);
    let young = world.finished_task("digits", late).await;
    assert_eq!(world.store.purge(late).await.unwrap(), 1);
    let world = world.crash().await;
    // A purge need not be on stable storage: done again, it comes to the same.
    world.purge_all(late).await;
    assert_eq!(world.lookup(old).await, Lookup::Expired);
    assert_eq!(world.record(young).await.state, State::Success);
}
