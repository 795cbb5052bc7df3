//! One key, one task.

use cresset_task::{State, TaskId};
use tokio::task::JoinSet;

use super::world::{TICK, World, at, json, model, success, task};
use crate::{Finished, Idempotency, NewTask, Submitted};

const SUBMITTERS: usize = 16;
const KEYS: usize = 20;

fn named(key: &str, digest: u8) -> Idempotency {
    Idempotency {
        key: key.parse().unwrap(),
        digest: [digest; 32],
    }
}

/// A fresh task for `digits`, submitted under a key.
fn keyed(key: &str, digest: u8) -> NewTask {
    NewTask {
        idempotency: Some(named(key, digest)),
        ..task("digits")
    }
}

impl World {
    /// Submits a fresh task under a key, and asks first: both must say the same.
    async fn again(&self, key: &str, digest: u8) -> Submitted {
        let foreseen = self.recall("digits", key, digest).await;
        let submitted = self.store.submit(keyed(key, digest)).await.unwrap();
        assert_eq!(foreseen.unwrap_or(Submitted::New), submitted);
        submitted
    }

    async fn recall(&self, name: &str, key: &str, digest: u8) -> Option<Submitted> {
        let known = self.store.recall(&model(name), &named(key, digest)).await;
        known.unwrap()
    }
}

fn replayed(id: TaskId, state: State) -> Submitted {
    Submitted::Replayed {
        id,
        state,
        created_at: at(41),
    }
}

pub(super) async fn the_same_submit_again_gives_the_same_task(world: World) {
    assert_eq!(world.recall("digits", "k", 1).await, None);
    let first = NewTask {
        created_at: at(41),
        ..keyed("k", 1)
    };
    let id = world.submit(first).await;
    let before = (world.record(id).await, world.depth("digits"));
    assert_eq!(world.again("k", 1).await, replayed(id, State::Pending));
    assert_eq!((world.record(id).await, world.depth("digits")), before);
    let lease = world.lease_one("digits").await;
    assert_eq!(world.again("k", 1).await, replayed(id, State::Started));
    assert_eq!(world.finish(success(&lease, at(50))).await, Finished::Recorded);
    assert_eq!(world.again("k", 1).await, replayed(id, State::Success));
    assert_eq!(world.depth("digits").tasks, 0);
    assert_eq!(world.again("K", 1).await, Submitted::New, "another key");
}

pub(super) async fn a_key_with_another_digest_is_refused_and_changes_nothing(world: World) {
    let id = world.submit(keyed("k", 1)).await;
    let before = (world.record(id).await, world.depth("digits"));
    let other = NewTask {
        payload: json("[9]"),
        ..keyed("k", 2)
    };
    let refused = other.id;
    assert_eq!(world.store.submit(other).await.unwrap(), Submitted::KeyReused);
    assert_eq!(world.again("k", 2).await, Submitted::KeyReused);
    assert_eq!((world.record(id).await, world.depth("digits")), before);
    assert_eq!(world.lookup(refused).await, crate::Lookup::Unknown);
    assert!(
        matches!(world.again("k", 1).await, Submitted::Replayed { id: same, .. } if same == id),
        "the first digest stays"
    );
}

pub(super) async fn of_many_submits_with_one_key_exactly_one_makes_a_task(world: World) {
    let mut submitters = JoinSet::new();
    for number in 0..SUBMITTERS {
        let store = world.store.clone();
        submitters.spawn(async move {
            let mut answers = Vec::new();
            for key in 0..KEYS {
                // Half of them say something else under the same key.
                let new = keyed(&key.to_string(), (number % 2) as u8);
                let id = new.id;
                answers.push((key, id, store.submit(new).await.unwrap()));
            }
            answers
        });
    }
    let answers = submitters.join_all().await.concat();
    for key in 0..KEYS {
        let of_key = || answers.iter().filter(|(k, ..)| *k == key);
        let made: Vec<_> = of_key().filter(|(.., a)| *a == Submitted::New).collect();
        assert_eq!(made.len(), 1, "key {key}");
        let first = made[0].1;
        let same = of_key()
            .filter(|(.., a)| matches!(a, Submitted::Replayed { id, .. } if *id == first))
            .count();
        let refused = of_key().filter(|(.., a)| *a == Submitted::KeyReused).count();
        assert_eq!((same, refused), (SUBMITTERS / 2 - 1, SUBMITTERS / 2), "key {key}");
    }
    assert_eq!(world.depth("digits").tasks, KEYS as u64);
}

pub(super) async fn a_key_is_known_after_a_crash_and_after_a_clean_stop(world: World) {
    let new = NewTask {
        created_at: at(41),
        ..keyed("k", 1)
    };
    let id = world.submit(new).await;
    let world = world.crash().await;
    assert_eq!(world.again("k", 1).await, replayed(id, State::Pending));
    let lease = world.lease_one("digits").await;
    world.finish(success(&lease, at(50))).await;
    let world = world.restart().await;
    assert_eq!(world.again("k", 1).await, replayed(id, State::Success));
    assert_eq!(world.again("k", 2).await, Submitted::KeyReused);
}

pub(super) async fn a_key_is_known_as_long_as_its_task_and_free_after_its_purge(world: World) {
    let ttl = world.harness.ttl().results;
    let first = world.submit(keyed("k", 1)).await;
    let lease = world.lease_one("digits").await;
    world.finish(success(&lease, at(50))).await;
    assert_eq!(world.purge_all(at(50).plus(ttl)).await, 0, "kept for its time");
    assert!(matches!(world.again("k", 1).await, Submitted::Replayed { id, .. } if id == first));
    assert_eq!(world.purge_all(at(50).plus(ttl + TICK)).await, 1);
    assert_eq!(
        world.again("k", 2).await,
        Submitted::New,
        "free, for another submit too"
    );
    assert_eq!(world.again("k", 1).await, Submitted::KeyReused);
    // The purge took no other key with it.
    let open = world.submit(keyed("open", 1)).await;
    world.purge_all(at(50).plus(ttl * 10)).await;
    assert!(matches!(world.again("open", 1).await, Submitted::Replayed { id, .. } if id == open));
}

pub(super) async fn each_model_has_keys_of_its_own(world: World) {
    let here = world.submit(keyed("k", 1)).await;
    assert_eq!(world.recall("embed", "k", 1).await, None);
    let there = NewTask {
        model: model("embed"),
        ..keyed("k", 2)
    };
    let there = world.submit(there).await;
    assert_ne!(here, there);
    assert!(matches!(world.again("k", 1).await, Submitted::Replayed { id, .. } if id == here));
    assert_eq!(world.recall("embed", "k", 1).await, Some(Submitted::KeyReused));
}

pub(super) async fn a_refused_submit_does_not_take_its_key(world: World) {
    let id = world.submit(task("digits")).await;
    let twin = NewTask { id, ..keyed("k", 1) };
    assert!(world.store.submit(twin).await.is_err(), "the id is taken");
    assert_eq!(world.again("k", 2).await, Submitted::New, "the key is not");
}
