//! Dead letters: written with the end, kept beyond it, listed, replayed once, thrown away.

use std::time::Duration;

use bytes::Bytes;
use cresset_task::{
    Code, DeadLetter, EVIDENCE_LINES_MAX, Evidence, Failure, Outcome, Payload, RetryTerms, State, TaskId,
    Timestamp,
};
use tokio::task::JoinSet;

use super::world::{TICK, World, at, ended, json, model, success, task};
use crate::{Completion, Finished, Lease, LetterCursor, LetterFilter, LetterQuery, NewTask, Replayed};

fn evidence() -> Evidence {
    Evidence {
        cause: "signal".into(),
        reason: "was ended by signal 11".into(),
        tried: 3,
        resident_bytes: Some(1 << 33),
        log: vec!["loading".into(), "bad \"input\"\u{1f525}".into()],
    }
}

/// How a task is tried again that says so for itself.
fn terms() -> Option<Box<RetryTerms>> {
    Some(Box::new(RetryTerms {
        max_retries: Some(9),
        delay: Some(Duration::from_millis(1_500)),
        max_delay: None,
        on: Some(vec!["TimeoutError".into()]),
    }))
}

fn killed(lease: &Lease, died_at: Timestamp) -> Completion {
    let failure = Failure::new(
        Code::InstanceDied,
        "InstanceDied",
        "the model process was ended by signal 11",
    );
    Completion {
        evidence: Some(Box::new(evidence())),
        ..ended(lease, Outcome::Failure(failure), died_at)
    }
}

/// Submits this task and lets its process die of it.
async fn poison(world: &World, new: NewTask, died_at: Timestamp) -> TaskId {
    let name = new.model.to_string();
    let id = world.submit(new).await;
    let lease = world.lease_one(&name).await;
    assert_eq!(lease.id, id, "the queue holds nothing else");
    assert_eq!(world.finish(killed(&lease, died_at)).await, Finished::Recorded);
    id
}

async fn letter(world: &World, id: TaskId) -> DeadLetter {
    let found = world.store.letter(id).await.unwrap();
    found.unwrap_or_else(|| panic!("{id} should have left a letter"))
}

async fn input(world: &World, id: TaskId) -> Payload {
    let found = world.store.letter_input(id).await.unwrap();
    found.unwrap_or_else(|| panic!("{id} should have left its input"))
}

/// The whole list, in pages of so many.
async fn list(world: &World, name: Option<&str>, limit: usize) -> Vec<TaskId> {
    let mut all = Vec::new();
    let mut after = None;
    loop {
        let query = LetterQuery {
            model: name.map(model),
            tenant: None,
            after,
            limit,
        };
        let page = world.store.letters(query).await.unwrap();
        assert!(page.letters.len() <= limit);
        all.extend(page.letters.iter().map(|letter| letter.id));
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}

async fn replay(world: &World, id: TaskId, new: NewTask) -> Replayed {
    world.store.replay(id, new).await.unwrap()
}

async fn discard_all(world: &World, filter: LetterFilter) -> usize {
    world.store.discard_all(filter).await.unwrap()
}

pub(super) async fn a_guilty_task_leaves_a_letter_with_its_evidence_and_its_input(world: World) {
    let new = NewTask {
        payload: json("{\"poison\": true}"),
        priority: 7,
        metadata: Some(Bytes::from_static(b"{\"order\":17}")),
        retry: terms(),
        created_at: at(5),
        ..task("digits")
    };
    let wanted_input = new.payload.clone();
    let id = poison(&world, new, at(99)).await;
    let record = world.record(id).await;
    assert_eq!(record.state, State::Failure);
    assert_eq!(record.replay_of, None);
    let found = letter(&world, id).await;
    let wanted = DeadLetter {
        id,
        model: model("digits"),
        version: Some("3".into()),
        created_at: at(5),
        died_at: at(99),
        evidence: evidence(),
        priority: 7,
        metadata: Some(Bytes::from_static(b"{\"order\":17}")),
        retry: terms(),
        input_bytes: wanted_input.encode().len() as u64,
        replayed_as: None,
        tenant: None,
    };
    assert_eq!(found, wanted);
    assert_eq!(input(&world, id).await, wanted_input);
    let nobody = TaskId::fresh();
    assert_eq!(world.store.letter(nobody).await.unwrap(), None);
    assert_eq!(world.store.letter_input(nobody).await.unwrap(), None);
}

pub(super) async fn an_end_without_evidence_or_too_late_leaves_no_letter(world: World) {
    let done = world.finished_task("digits", at(9)).await;
    let id = world.submit(task("digits")).await;
    let lease = world.lease_one("digits").await;
    assert_eq!(world.finish(success(&lease, at(9))).await, Finished::Recorded);
    assert_eq!(world.finish(killed(&lease, at(10))).await, Finished::Stale);
    let cancelled = world.submit(task("digits")).await;
    let lease = world.lease_one("digits").await;
    world.cancel(cancelled).await;
    assert_eq!(world.finish(killed(&lease, at(10))).await, Finished::Stale);
    for id in [done, id, cancelled] {
        assert_eq!(world.store.letter(id).await.unwrap(), None);
    }
    assert!(list(&world, None, 10).await.is_empty());
}

pub(super) async fn a_letter_and_its_input_survive_a_crash(world: World) {
    let inputs: Vec<Payload> = [0, 3, 9, 10, 11, 200, 200_000]
        .map(|size| json(&format!("\"{}\"", "x".repeat(size))))
        .into();
    let mut left = Vec::new();
    for payload in &inputs {
        let new = NewTask {
            payload: payload.clone(),
            ..task("digits")
        };
        let id = poison(&world, new, at(99)).await;
        left.push((letter(&world, id).await, payload));
    }
    let world = world.crash().await;
    for (was, payload) in left {
        assert_eq!(letter(&world, was.id).await, was);
        assert_eq!(input(&world, was.id).await, *payload);
    }
}

pub(super) async fn a_letter_outlives_its_task_for_its_own_time(world: World) {
    let large = json(&format!("\"{}\"", "x".repeat(200_000)));
    let new = NewTask {
        payload: large.clone(),
        ..task("digits")
    };
    let id = poison(&world, new, at(99)).await;
    let died = letter(&world, id).await;
    let gone = at(99).plus(world.harness.ttl().results + TICK);
    assert_eq!(world.purge_all(gone).await, 1);
    assert_eq!(world.lookup(id).await, crate::Lookup::Expired);
    // Whatever the store keeps under the numbers that the task had is not the letter's.
    let next = world.submit(task("digits")).await;
    assert_eq!(letter(&world, id).await, died);
    assert_eq!(input(&world, id).await, large);
    assert_eq!(world.lease_one("digits").await.id, next);

    let last = at(99).plus(world.harness.ttl().letters);
    world.purge_all(last).await;
    assert_eq!(letter(&world, id).await, died);
    world.purge_all(last.plus(TICK)).await;
    assert_eq!(world.store.letter(id).await.unwrap(), None);
    assert_eq!(world.store.letter_input(id).await.unwrap(), None);
}

pub(super) async fn letters_are_listed_newest_first_page_by_page(world: World) {
    let mut died = Vec::new();
    for n in 0..7 {
        let name = if n % 3 == 0 { "embed" } else { "digits" };
        // The order is that of dying, whatever the clock says.
        died.push(poison(&world, task(name), at(100 - n)).await);
    }
    died.reverse();
    for limit in [1, 2, 3, 6, 7, 8] {
        assert_eq!(list(&world, None, limit).await, died, "in pages of {limit}");
    }
    let embed = [died[0], died[3], died[6]];
    assert_eq!(list(&world, Some("embed"), 2).await, embed);
    assert!(list(&world, Some("nobody"), 2).await.is_empty());
    let page = |after| {
        let query = LetterQuery {
            model: None,
            tenant: None,
            after,
            limit: 3,
        };
        world.store.letters(query)
    };
    let first = page(None).await.unwrap();
    // What dies between two pages does not move the second one, nor does what is thrown away.
    poison(&world, task("digits"), at(1)).await;
    assert!(world.store.discard(died[2]).await.unwrap());
    let second = page(first.next).await.unwrap();
    let shown: Vec<_> = second.letters.iter().map(|letter| letter.id).collect();
    assert_eq!(shown, died[3..6]);
    let beyond = page(Some(LetterCursor(u64::MAX))).await.unwrap();
    assert_eq!(beyond.letters.len(), 3);
}

pub(super) async fn a_replay_is_a_new_task_that_says_what_it_replays(world: World) {
    let id = poison(&world, task("digits"), at(99)).await;
    let again = NewTask {
        payload: input(&world, id).await,
        created_at: at(200),
        ..task("digits")
    };
    let fresh = again.id;
    assert_eq!(replay(&world, id, again).await, Replayed::New);
    assert_eq!(world.depth("digits").tasks, 1);
    assert_eq!(letter(&world, id).await.replayed_as, Some(fresh));
    let world = world.crash().await;
    let record = world.record(fresh).await;
    assert_eq!(
        (record.state, record.replay_of),
        (State::Pending, Some(id)),
        "it is accepted as any other"
    );
    assert_eq!(letter(&world, id).await.replayed_as, Some(fresh));
    assert_eq!(
        input(&world, id).await,
        json("[1,2,3]"),
        "the letter keeps its own"
    );
    let lease = world.lease_one("digits").await;
    assert_eq!((lease.id, lease.payload.clone()), (fresh, Ok(json("[1,2,3]"))));
    assert_eq!(world.record(id).await.state, State::Failure, "its end stays");
    // It may die again, and leaves a letter of its own then.
    assert_eq!(world.finish(killed(&lease, at(300))).await, Finished::Recorded);
    assert_eq!(list(&world, None, 10).await, [fresh, id]);
}

pub(super) async fn of_many_replays_exactly_one_makes_a_task(world: World) {
    for size in [3, 200_000] {
        let payload = json(&format!("\"{}\"", "x".repeat(size)));
        let new = NewTask {
            payload: payload.clone(),
            ..task("digits")
        };
        let id = poison(&world, new, at(99)).await;
        let mut replays = JoinSet::new();
        for _ in 0..16 {
            let store = world.store.clone();
            let again = NewTask {
                payload: payload.clone(),
                ..task("digits")
            };
            replays.spawn(async move { (again.id, store.replay(id, again).await.unwrap()) });
        }
        let answers = replays.join_all().await;
        let made: Vec<_> = answers
            .iter()
            .filter(|(_, answer)| *answer == Replayed::New)
            .map(|(id, _)| *id)
            .collect();
        assert_eq!(made.len(), 1, "{answers:?}");
        for (own, answer) in &answers {
            let wanted = if *own == made[0] {
                Replayed::New
            } else {
                Replayed::Before(made[0])
            };
            assert_eq!(*answer, wanted);
        }
        assert_eq!(world.depth("digits").tasks, 1);
        let lease = world.lease_one("digits").await;
        assert_eq!((lease.id, lease.payload.clone()), (made[0], Ok(payload)));
        assert_eq!(world.finish(success(&lease, at(100))).await, Finished::Recorded);
    }
}

pub(super) async fn a_replayed_letter_answers_with_its_task_for_ever(world: World) {
    let id = poison(&world, task("digits"), at(99)).await;
    let again = task("digits");
    let fresh = again.id;
    assert_eq!(replay(&world, id, again).await, Replayed::New);
    let lease = world.lease_one("digits").await;
    assert_eq!(world.finish(success(&lease, at(100))).await, Finished::Recorded);
    let world = world.crash().await;
    assert_eq!(replay(&world, id, task("digits")).await, Replayed::Before(fresh));
    world
        .purge_all(at(100).plus(world.harness.ttl().results + TICK))
        .await;
    assert_eq!(world.lookup(fresh).await, crate::Lookup::Expired);
    assert_eq!(replay(&world, id, task("digits")).await, Replayed::Before(fresh));
    assert_eq!(world.depth("digits").tasks, 0);
}

pub(super) async fn what_is_no_letter_is_not_replayed(world: World) {
    let done = world.finished_task("digits", at(9)).await;
    for id in [done, TaskId::fresh()] {
        let again = task("digits");
        let fresh = again.id;
        assert_eq!(replay(&world, id, again).await, Replayed::Unknown);
        assert_eq!(world.lookup(fresh).await, crate::Lookup::Unknown);
    }
    assert_eq!(world.depth("digits").tasks, 0);
    // Nor is one under an id that is taken.
    let id = poison(&world, task("digits"), at(99)).await;
    let taken = NewTask {
        id: done,
        ..task("digits")
    };
    world.store.replay(id, taken).await.unwrap_err();
    assert_eq!(letter(&world, id).await.replayed_as, None);
    assert_eq!(world.depth("digits").tasks, 0);
}

pub(super) async fn letters_are_thrown_away_by_id_by_model_and_by_age(world: World) {
    let mut died = Vec::new();
    for (n, name) in ["digits", "embed", "digits", "embed", "digits"]
        .into_iter()
        .enumerate()
    {
        died.push(poison(&world, task(name), at(100 + n as i64)).await);
    }
    assert!(world.store.discard(died[0]).await.unwrap());
    assert!(!world.store.discard(died[0]).await.unwrap());
    assert_eq!(world.store.letter_input(died[0]).await.unwrap(), None);
    let by = |name: Option<&str>, before| LetterFilter {
        model: name.map(model),
        tenant: None,
        before,
    };
    assert_eq!(discard_all(&world, by(Some("embed"), Some(at(101)))).await, 0);
    assert_eq!(discard_all(&world, by(Some("embed"), Some(at(102)))).await, 1);
    assert_eq!(list(&world, None, 10).await, [died[4], died[3], died[2]]);
    assert_eq!(discard_all(&world, by(None, Some(at(103)))).await, 1);
    let world = world.crash().await;
    assert_eq!(list(&world, None, 10).await, [died[4], died[3]]);
    assert_eq!(discard_all(&world, by(Some("digits"), None)).await, 1);
    assert_eq!(discard_all(&world, by(None, None)).await, 1);
    assert_eq!(discard_all(&world, by(None, None)).await, 0);
    for id in died {
        assert_eq!(
            world.record(id).await.state,
            State::Failure,
            "their tasks are not touched"
        );
    }
}

pub(super) async fn a_letter_thrown_away_leaves_its_replay(world: World) {
    let payload = json(&format!("\"{}\"", "x".repeat(200_000)));
    let new = || NewTask {
        payload: payload.clone(),
        ..task("digits")
    };
    let id = poison(&world, new(), at(99)).await;
    assert_eq!(replay(&world, id, new()).await, Replayed::New);
    assert!(world.store.discard(id).await.unwrap());
    assert_eq!(replay(&world, id, new()).await, Replayed::Unknown);
    let lease = world.lease_one("digits").await;
    assert_eq!(lease.payload, Ok(payload));
    assert_eq!(world.record(lease.id).await.replay_of, Some(id));
}

pub(super) async fn what_a_letter_keeps_of_a_log_is_bounded(world: World) {
    let id = world.submit(task("digits")).await;
    let lease = world.lease_one("digits").await;
    let log: Vec<String> = (0..10 * EVIDENCE_LINES_MAX).map(|n| n.to_string()).collect();
    let last = log[9 * EVIDENCE_LINES_MAX..].to_vec();
    let wordy = Completion {
        evidence: Some(Box::new(Evidence { log, ..evidence() })),
        ..killed(&lease, at(99))
    };
    assert_eq!(world.finish(wordy).await, Finished::Recorded);
    assert_eq!(letter(&world, id).await.evidence.log, last);
}

pub(super) async fn a_discard_is_bounded_and_ends_with_zero(world: World) {
    let chunk = world.harness.purge_max();
    let count = chunk + 10;
    let mut submits = JoinSet::new();
    for _ in 0..count {
        let store = world.store.clone();
        submits.spawn(async move { store.submit(task("digits")).await.unwrap() });
    }
    submits.join_all().await;
    let leases = world.lease("digits", count).await;
    let ends = leases.iter().map(|lease| killed(lease, at(99))).collect();
    world.store.finish(ends).await.unwrap();
    let first = discard_all(&world, LetterFilter::default()).await;
    assert!(first <= chunk, "{first} removed in one call");
    let mut removed = first;
    while removed < count {
        let step = discard_all(&world, LetterFilter::default()).await;
        assert!(step > 0 && step <= chunk);
        removed += step;
    }
    assert_eq!(discard_all(&world, LetterFilter::default()).await, 0);
    assert_eq!(
        world.purge_all(at(99).plus(Duration::from_micros(1))).await,
        0,
        "their tasks are not touched"
    );
}
