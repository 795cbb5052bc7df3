//! Payloads of every size: a store may keep large ones in another way, and nobody must be able to tell.

use bytes::Bytes;
use cresset_task::{DType, Outcome, Payload, State, Tensor, TensorSet};
use tokio::task::JoinSet;

use super::world::{ALL, World, at, ended, ids, request, success, task};
use crate::{Finished, LeaseRequest, NewTask};

/// Played in any case, besides the store's turning points.
const SIZES: [usize; 4] = [1, 4_096, 65_537, 300_000];

/// Sizes on both sides of wherever the store may do things differently, smallest first.
pub(super) fn sizes(world: &World) -> Vec<usize> {
    let mut sizes = SIZES.to_vec();
    for point in world.harness.turning_points() {
        sizes.extend([point.saturating_sub(1), point, point + 1, 2 * point]);
    }
    sizes.retain(|size| *size > 0);
    sizes.sort();
    sizes.dedup();
    sizes
}

pub(super) fn largest(world: &World) -> usize {
    *sizes(world).last().unwrap()
}

/// A JSON number of so many bytes, unlike that of another `number`.
pub(super) fn text(size: usize, number: usize) -> Payload {
    // Not all bytes alike, so that bytes in the wrong place show; the first is no zero.
    let digits: Vec<u8> = (0..size)
        .map(|at| b'1' + ((number + at % 251) % 9) as u8)
        .collect();
    Payload::Json(digits.into())
}

/// Two tensors that have so many bytes together.
fn tensors(size: usize) -> Payload {
    let tensor = |size: usize, byte: u8| {
        let data = Bytes::from(vec![byte; size]);
        Tensor::new(DType::Uint8, vec![size], data).unwrap()
    };
    let (first, second) = (tensor(size / 3, 3), tensor(size - size / 3, 5));
    Payload::Tensors(TensorSet(vec![("x".into(), first), ("y".into(), second)]))
}

fn payloads(world: &World) -> Vec<Payload> {
    let sizes = sizes(world).into_iter().enumerate();
    sizes
        .flat_map(|(number, size)| [text(size, number), tensors(size)])
        .collect()
}

fn of(payload: &Payload) -> NewTask {
    NewTask {
        payload: payload.clone(),
        ..task("digits")
    }
}

/// `assert_eq!` would print megabytes.
fn assert_same<T: PartialEq>(is: &T, wanted: &T, what: &str, payload: &Payload) {
    assert!(
        is == wanted,
        "{what} of {} bytes is not as it was",
        payload.weight()
    );
}

pub(super) async fn payloads_of_every_size_come_back_as_they_were(world: World) {
    for payload in payloads(&world) {
        let id = world.submit(of(&payload)).await;
        assert_eq!(world.depth("digits").bytes, payload.weight() as u64);
        let lease = world.lease_one("digits").await;
        assert_same(&lease.payload, &Ok(payload.clone()), "an input", &payload);
        // Given back and leased again, it is the same.
        world.release(std::slice::from_ref(&lease)).await;
        let lease = world.lease_one("digits").await;
        assert_same(
            &lease.payload,
            &Ok(payload.clone()),
            "an input leased again",
            &payload,
        );
        let outcome = Outcome::Success(payload.clone());
        assert_eq!(
            world.finish(ended(&lease, outcome.clone(), at(9))).await,
            Finished::Recorded
        );
        let record = world.record(id).await;
        assert_same(&record.outcome, &Some(outcome), "an outcome", &payload);
        assert_eq!(record.state, State::Success);
    }
    // The other kinds of outcome may be large too.
    let reason = "no ".repeat(largest(&world) / 3);
    let id = world.submit(task("digits")).await;
    let lease = world.lease_one("digits").await;
    let outcome = Outcome::Revoked { reason };
    world.finish(ended(&lease, outcome.clone(), at(9))).await;
    assert!(world.record(id).await.outcome == Some(outcome));
}

pub(super) async fn payloads_of_every_size_survive_a_crash(world: World) {
    let payloads = payloads(&world);
    let mut finished = Vec::new();
    for payload in &payloads {
        let id = world.submit(of(payload)).await;
        let lease = world.lease_one("digits").await;
        world
            .finish(ended(&lease, Outcome::Success(payload.clone()), at(9)))
            .await;
        finished.push(id);
    }
    for payload in &payloads {
        world.submit(of(payload)).await;
    }
    let held = world.lease_one("digits").await;
    let world = world.crash().await;
    for (id, payload) in finished.iter().zip(&payloads) {
        let record = world.record(*id).await;
        let outcome = Some(Outcome::Success(payload.clone()));
        assert_same(&record.outcome, &outcome, "an outcome", payload);
    }
    let leases = world.lease("digits", ALL).await;
    assert_eq!((leases[0].id, leases.len()), (held.id, payloads.len()));
    for (lease, payload) in leases.iter().zip(&payloads) {
        assert_same(&lease.payload, &Ok(payload.clone()), "an input", payload);
    }
}

pub(super) async fn large_and_small_wait_in_one_line(world: World) {
    let (size, mut wanted) = (largest(&world), Vec::new());
    for number in 0..8 {
        let payload = text(if number % 2 == 0 { size } else { 1 }, number);
        wanted.push(world.submit(of(&payload)).await);
    }
    // One large and one small go below this; the second large one does not.
    let within = LeaseRequest {
        max_bytes: 2 * size,
        ..request("digits", ALL)
    };
    let first = world.store.lease(within).await.unwrap();
    assert_eq!(ids(&first), wanted[..2]);
    world.release(&first).await;
    assert_eq!(ids(&world.lease("digits", ALL).await), wanted);
}

pub(super) async fn a_refused_submit_does_not_touch_a_large_input(world: World) {
    let size = largest(&world);
    let first = of(&text(size, 1));
    world.submit(first.clone()).await;
    for number in 2..6 {
        let twin = NewTask {
            payload: text(size, number),
            ..first.clone()
        };
        assert!(world.store.submit(twin).await.is_err());
    }
    let world = world.restart().await;
    let lease = world.lease_one("digits").await;
    assert_same(
        &lease.payload,
        &Ok(first.payload.clone()),
        "the input",
        &first.payload,
    );
}

pub(super) async fn of_many_finishers_with_large_outcomes_exactly_one_is_recorded(world: World) {
    let size = largest(&world);
    let id = world.submit(task("digits")).await;
    let lease = world.lease_one("digits").await;
    let mut finishers = JoinSet::new();
    for number in 0..9 {
        let store = world.store.clone();
        let completion = ended(&lease, Outcome::Success(text(size, number)), at(number as i64));
        finishers.spawn(async move { (number, store.finish(vec![completion]).await.unwrap()[0]) });
    }
    let answers = finishers.join_all().await;
    let recorded: Vec<_> = (answers.iter().filter(|(_, a)| *a == Finished::Recorded))
        .map(|(number, _)| *number)
        .collect();
    assert_eq!(recorded.len(), 1, "{answers:?}");
    // Whatever is cleared away of the others, before the stop or after the start, it is not this one's.
    let world = world.restart().await;
    let record = world.record(id).await;
    let wanted = text(size, recorded[0]);
    assert_same(
        &record.outcome,
        &Some(Outcome::Success(wanted.clone())),
        "the outcome",
        &wanted,
    );
    assert_eq!(record.finished_at, Some(at(recorded[0] as i64)));
}

pub(super) async fn a_large_outcome_that_comes_too_late_changes_nothing(world: World) {
    let size = largest(&world);
    let id = world.submit(task("digits")).await;
    let first = world.lease_one("digits").await;
    world.release(std::slice::from_ref(&first)).await;
    let second = world.lease_one("digits").await;
    let late = |number| ended(&first, Outcome::Success(text(size, number)), at(3));
    assert_eq!(world.finish(late(1)).await, Finished::Stale);
    let (small, large) = (success(&second, at(5)), Outcome::Success(text(size, 7)));
    let answers = world.store.finish(vec![
        late(2),
        ended(&second, large.clone(), at(4)),
        small,
        late(3),
    ]);
    use Finished::{Recorded, Stale};
    assert_eq!(answers.await.unwrap(), [Stale, Recorded, Stale, Stale]);
    assert_eq!(world.finish(late(4)).await, Stale);
    let world = world.restart().await;
    let record = world.record(id).await;
    assert!(record.outcome == Some(large));
    assert_eq!(record.finished_at, Some(at(4)));
}
