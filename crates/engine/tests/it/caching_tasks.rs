//! Tasks of a model with a result cache: accepted, leased and recorded as any other, but not run where a result is there.

use std::sync::Arc;
use std::time::Duration;

use cresset_engine::{CacheStatus, Engine, EngineOptions, Submission, TaskView};
use cresset_runner::testing::{FakePool, Held};
use cresset_runner::{ItemEnd, JobEnd};
use cresset_task::{Attempt, CacheUse, InstanceId, Outcome, State, TaskId};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::caching::caching;
use crate::house::{House, LONG, echo, failure, json, store, submission, text, until};

const FIRST: InstanceId = InstanceId(0);

async fn ended(house: &House, id: TaskId) -> TaskView {
    house.engine.wait(id, LONG).await.unwrap()
}

async fn state(house: &House, id: TaskId) -> State {
    ended(house, id).await.record.state
}

fn inputs(held: &Held) -> Vec<String> {
    held.items.iter().map(text).collect()
}

fn result(view: &TaskView) -> String {
    match &view.record.outcome {
        Some(Outcome::Success(output)) => text(output),
        other => panic!("it should have succeeded: {other:?}"),
    }
}

/// The driver has taken in whatever was submitted before this: it has begun something that was submitted after.
async fn taken_in(house: &House) {
    house.submitted("\"later\"").await;
    let later = house.pool.next_job().await;
    assert_eq!(inputs(&later), ["\"later\""]);
    house.pool.finish(later.batch, echo(later.items));
}

/// A task in an instance, and others of the same input that wait for it.
async fn led_and_followed(house: &House, input: &str, followers: usize) -> (TaskId, Held, Vec<TaskId>) {
    house.pool.all_up();
    let first = house.submitted(input).await;
    let held = house.pool.next_job().await;
    let mut others = Vec::new();
    for _ in 0..followers {
        others.push(house.submitted(input).await);
    }
    taken_in(house).await;
    (first, held, others)
}

#[tokio::test]
async fn a_task_whose_result_is_kept_ends_without_running() {
    let house = House::automatic(caching(), echo);
    house.pool.all_up();
    house.predict("1").await.unwrap();
    let waited = house.submitted("1").await;
    let waited = ended(&house, waited).await;
    let read = house.engine.task(waited.record.id).await.unwrap();
    assert_eq!(read, waited);
    assert_eq!(result(&read), "1");
    let record = read.record;
    assert_eq!((record.state, record.cached), (State::Success, true));
    assert_eq!((record.attempts, record.history), (Attempt(1), vec![]));
    assert_eq!(record.version.as_deref(), Some("7"));
    assert!(record.started_at.is_some() && record.finished_at.is_some());
    assert_eq!(house.pool.taken(), 1);
    house.end().await;
}

#[tokio::test]
async fn what_a_task_computed_is_kept_for_predictions() {
    let house = House::automatic(caching(), echo);
    house.pool.all_up();
    let id = house.submitted("1").await;
    assert!(!ended(&house, id).await.record.cached);
    assert_eq!(house.predict("1").await.unwrap().cache, Some(CacheStatus::Hit));
    house.end().await;
}

#[tokio::test]
async fn a_submitter_may_want_it_anew_or_not_kept() {
    let house = House::automatic(caching(), echo);
    house.pool.all_up();
    house.predict("1").await.unwrap();
    for cache in [CacheUse::NoCache, CacheUse::NoStore] {
        let submission = Submission {
            cache,
            ..submission("1")
        };
        let id = house.engine.submit(submission).await.unwrap().id;
        assert!(!ended(&house, id).await.record.cached);
    }
    assert_eq!(house.pool.taken(), 3);
    let unkept = Submission {
        cache: CacheUse::NoStore,
        ..submission("2")
    };
    let id = house.engine.submit(unkept).await.unwrap().id;
    ended(&house, id).await;
    assert_eq!(house.predict("2").await.unwrap().cache, Some(CacheStatus::Miss));
    house.end().await;
}

#[tokio::test]
async fn equal_tasks_share_one_computation_and_each_has_its_end() {
    let house = House::by_hand(caching());
    let (first, held, others) = led_and_followed(&house, "1", 3).await;
    let follows = house.predicting("1").await;
    house.pool.finish(held.batch, echo(held.items));
    assert!(!ended(&house, first).await.record.cached);
    for id in others {
        let view = ended(&house, id).await;
        assert_eq!((result(&view), view.record.cached), ("1".into(), true));
        assert_eq!(view.record.attempts, Attempt(1));
    }
    assert_eq!(
        follows.await.unwrap().unwrap().cache,
        Some(CacheStatus::Coalesced)
    );
    assert_eq!(house.pool.taken(), 2, "that of them all, and what came later");
    house.end().await;
}

#[tokio::test]
async fn a_task_fails_only_by_its_own_run() {
    let house = House::by_hand(caching());
    let (first, held, others) = led_and_followed(&house, "1", 2).await;
    house.pool.finish(held.batch, JobEnd::Raised(failure("boom")));
    assert_eq!(state(&house, first).await, State::Failure);
    let own = house.pool.next_job().await;
    house.pool.finish(own.batch, echo(own.items.clone()));
    let mut runs = own.items.len();
    while runs < 2 {
        let more = house.pool.next_job().await;
        runs += more.items.len();
        house.pool.finish(more.batch, echo(more.items));
    }
    for id in others {
        let view = ended(&house, id).await;
        assert_eq!((result(&view), view.record.cached), ("1".into(), false));
    }
    house.end().await;
}

#[tokio::test]
async fn those_who_waited_for_a_cancelled_task_do_not_need_it() {
    let house = House::by_hand(caching());
    let (first, held, others) = led_and_followed(&house, "1", 2).await;
    house.engine.cancel(first).await.unwrap();
    let anew = house.pool.next_job().await;
    // Whoever is told first leads; one who has its turn before that leads too.
    let runs = anew.items.len();
    assert!((1..=2).contains(&runs), "{:?}", inputs(&anew));
    // Nothing of what was cancelled is kept or told, though it was not skipped.
    house.pool.finish(
        held.batch,
        JobEnd::Items(vec![ItemEnd::Done(json("\"cancelled\""))]),
    );
    house.pool.finish(anew.batch, echo(anew.items));
    let mut ran = 0;
    for id in others {
        let view = ended(&house, id).await;
        assert_eq!(result(&view), "1");
        ran += usize::from(!view.record.cached);
    }
    assert_eq!(ran, runs);
    assert_eq!(state(&house, first).await, State::Revoked);
    let kept = house.predict("1").await.unwrap();
    assert_eq!(
        (text(&kept.output), kept.cache),
        ("1".into(), Some(CacheStatus::Hit))
    );
    house.end().await;
}

#[tokio::test]
async fn a_task_that_waits_for_another_can_be_cancelled_alone() {
    let house = House::by_hand(caching());
    let (first, held, others) = led_and_followed(&house, "1", 1).await;
    house.engine.cancel(others[0]).await.unwrap();
    assert_eq!(state(&house, others[0]).await, State::Revoked);
    assert_eq!(house.pool.cancelled(), []);
    house.pool.finish(held.batch, echo(held.items));
    assert_eq!(state(&house, first).await, State::Success);
    assert_eq!(state(&house, others[0]).await, State::Revoked);
    house.end().await;
}

#[tokio::test]
async fn a_task_runs_though_the_prediction_it_waited_for_has_gone() {
    let house = House::by_hand(caching());
    let (leads, held) = {
        house.pool.all_up();
        let call = house.predicting("1").await;
        (call, house.pool.next_job().await)
    };
    let id = house.submitted("1").await;
    taken_in(&house).await;
    leads.abort();
    until(|| leads.is_finished()).await;
    house.pool.finish(held.batch, echo(held.items));
    let view = ended(&house, id).await;
    assert_eq!((view.record.state, view.record.cached), (State::Success, true));
    assert_eq!(house.pool.taken(), 2, "that of both, and what came later");
    house.end().await;
}

#[tokio::test]
async fn large_inputs_are_looked_up_too() {
    let house = House::automatic(caching(), echo);
    house.pool.all_up();
    let large = format!("\"{}\"", "x".repeat(600_000));
    assert_eq!(
        house.predict(&large).await.unwrap().cache,
        Some(CacheStatus::Miss)
    );
    assert_eq!(house.predict(&large).await.unwrap().cache, Some(CacheStatus::Hit));
    let id = house.submitted(&large).await;
    assert!(ended(&house, id).await.record.cached);
    assert_eq!(house.pool.taken(), 1);
    house.end().await;
}

#[tokio::test]
async fn however_many_equal_tasks_are_queued_those_behind_them_are_run() {
    let house = Arc::new(House::by_hand(caching()));
    house.pool.all_up();
    house.submitted("1").await;
    let held = house.pool.next_job().await;
    // More than may wait aside.
    let mut submits = JoinSet::new();
    for _ in 0..1_100 {
        let house = Arc::clone(&house);
        submits.spawn(async move { house.submitted("1").await });
    }
    let ids = submits.join_all().await;
    house.submitted("2").await;
    // The second seat is used for what is too much to wait aside, and then for what is behind it.
    loop {
        let job = house.pool.next_job().await;
        let found = inputs(&job).contains(&"2".to_owned());
        house.pool.finish(job.batch, echo(job.items));
        if found {
            break;
        }
    }
    assert_eq!(house.pool.held(FIRST).len(), 1);
    house.pool.finish(held.batch, echo(held.items));
    for id in ids {
        assert_eq!(state(&house, id).await, State::Success);
    }
    house.engine.stop(LONG).await;
}

#[tokio::test]
async fn what_waits_for_another_goes_back_to_the_queue_at_a_stop() {
    let house = House::by_hand(caching());
    let (first, _held, others) = led_and_followed(&house, "1", 2).await;
    house.engine.stop(Duration::from_millis(20)).await;
    let House { engine, dir, .. } = house;
    drop(engine);

    let engine = Engine::start(Arc::new(store(dir.path())), &EngineOptions::default());
    for id in others.iter().chain([&first]) {
        assert_eq!(engine.task(*id).await.unwrap().record.state, State::Pending);
    }
    let (events, news) = mpsc::channel(16);
    let pool = FakePool::automatic(1, 2, events, echo);
    engine.serve(Arc::new(caching()), pool.clone(), news);
    pool.all_up();
    for id in others {
        assert_eq!(engine.wait(id, LONG).await.unwrap().record.state, State::Success);
    }
    engine.stop(LONG).await;
}
