//! What goes into a batch, in which order; and what leaves the queue while one runs.

use std::time::Duration;

use cresset_config::{ModelConfig, Priorities};
use cresset_engine::{EngineError, PredictTerms, Submission};
use cresset_runner::testing::Held;
use cresset_task::{State, TaskId};

use crate::house::{House, LONG, config, echo, json, model, submission, text, until};

/// One item a batch.
fn single() -> ModelConfig {
    let mut single = config();
    single.batching.max_batch_size = 1;
    single
}

/// Nothing goes behind a running batch but a full one.
fn patient() -> ModelConfig {
    let mut patient = config();
    patient.batching.max_delay = LONG;
    patient
}

fn inputs(job: &Held) -> Vec<String> {
    job.items.iter().map(text).collect()
}

async fn submit(house: &House, text: &str, priority: i8) -> TaskId {
    let submission = Submission {
        priority,
        ..submission(text)
    };
    house.engine.submit(submission).await.unwrap().id
}

/// Waits until a task has been leased: by then the driver has done all that it could with what came before.
async fn leased(house: &House, id: TaskId) {
    while house.engine.task(id).await.unwrap().record.state != State::Started {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_caller_that_hangs_up_leaves_while_a_batch_runs() {
    let house = House::by_hand(patient());
    house.pool.all_up();
    let first = house.predicting("busy").await;
    let running = house.pool.next_job().await;
    let calls = [house.predicting("gone").await, house.predicting("gone").await];
    let stays = house.predicting("stays").await;
    assert_eq!(house.waiting(), 4);
    calls.iter().for_each(tokio::task::JoinHandle::abort);
    until(|| house.waiting() == 2).await;
    assert!(!first.is_finished(), "the batch still runs");
    house.pool.finish(running.batch, echo(running.items));
    let next = house.pool.next_job().await;
    assert_eq!(inputs(&next), ["stays"]);
    house.pool.finish(next.batch, echo(next.items));
    assert!(first.await.unwrap().is_ok() && stays.await.unwrap().is_ok());
    house.end().await;
}

#[tokio::test]
async fn a_prediction_past_its_time_leaves_while_a_batch_runs() {
    let house = House::by_hand(patient());
    house.pool.all_up();
    let first = house.predicting("busy").await;
    let running = house.pool.next_job().await;
    let limit = Duration::from_millis(20);
    let late = house
        .engine
        .predict(
            &model(),
            json("late"),
            PredictTerms {
                limit: Some(limit),
                ..PredictTerms::default()
            },
        )
        .await;
    assert!(
        matches!(late, Err(EngineError::PredictTimeout { limit: told, .. }) if told == limit),
        "{late:?}"
    );
    // Its place is free again, though nothing has ended.
    until(|| house.waiting() == 1).await;
    assert!(!first.is_finished(), "the batch still runs");
    house.pool.finish(running.batch, echo(running.items));
    assert!(first.await.unwrap().is_ok());
    let next = house.predicting("next").await;
    let job = house.pool.next_job().await;
    assert_eq!(inputs(&job), ["next"]);
    house.pool.finish(job.batch, echo(job.items));
    assert!(next.await.unwrap().is_ok());
    house.end().await;
}

#[tokio::test]
async fn behind_a_batch_that_will_take_long_items_are_held_back_beyond_the_delay() {
    let mut impatient = config();
    impatient.batching.max_delay = Duration::ZERO;
    let house = House::by_hand(impatient);
    house.pool.all_up();
    let measured = house.predicting("0").await;
    let job = house.pool.next_job().await;
    house.pool.finish_after(job.batch, echo(job.items), LONG);
    assert_eq!(measured.await.unwrap().unwrap().compute, LONG);
    let first = house.predicting("1").await;
    let running = house.pool.next_job().await;
    let call = house.predicting("2").await;
    let task = house.submitted("3").await;
    leased(&house, task).await;
    assert_eq!(
        house.pool.taken(),
        2,
        "there is a seat behind, and it is kept for more"
    );
    house.pool.finish(running.batch, echo(running.items));
    let engine = house.engine.clone();
    let all = async move {
        assert!(first.await.unwrap().is_ok() && call.await.unwrap().is_ok());
        engine.wait(task, LONG).await.unwrap()
    };
    tokio::pin!(all);
    loop {
        tokio::select! {
            job = house.pool.next_job() => assert!(house.pool.finish(job.batch, echo(job.items))),
            done = &mut all => break assert_eq!(done.record.state, State::Success),
        }
    }
    house.end().await;
}

/// The inputs of the queued tasks in the order in which they are run, which is the order of their positions.
async fn order(house: &House, tasks: &[TaskId]) -> Vec<String> {
    let mut places = Vec::new();
    for task in tasks {
        let view = house.engine.task(*task).await.unwrap();
        places.push((view.queue_position.unwrap(), *task));
    }
    places.sort();
    house.pool.all_up();
    let mut order = Vec::new();
    for (_, task) in places {
        let job = house.pool.next_job().await;
        order.extend(inputs(&job));
        house.pool.finish(job.batch, echo(job.items));
        let done = house.engine.wait(task, LONG).await.unwrap();
        assert_eq!(done.record.state, State::Success, "positions and order agree");
    }
    order
}

#[tokio::test]
async fn a_priority_is_worth_an_age() {
    let mut aged = single();
    aged.batching.priority_step = Duration::from_secs(3_600);
    let house = House::by_hand(aged);
    let mut tasks = Vec::new();
    for (text, priority) in [("last", -1), ("second", 0), ("third", 0), ("first", 1)] {
        tasks.push(submit(&house, text, priority).await);
    }
    assert_eq!(order(&house, &tasks).await, ["first", "second", "third", "last"]);
    house.end().await;
    // A step so small that whatever came first has the longer age.
    let mut aged = single();
    aged.batching.priority_step = Duration::from_nanos(1);
    let house = House::by_hand(aged);
    let mut tasks = Vec::new();
    for (text, priority) in [("first", -100), ("second", 100)] {
        tasks.push(submit(&house, text, priority).await);
    }
    assert_eq!(order(&house, &tasks).await, ["first", "second"]);
    house.end().await;
}

#[tokio::test]
async fn strict_priorities_do_not_look_at_ages() {
    let mut strict = single();
    strict.batching.priorities = Priorities::Strict;
    strict.batching.priority_step = Duration::from_nanos(1);
    let house = House::by_hand(strict);
    let mut tasks = Vec::new();
    for (text, priority) in [("last", -100), ("second", 0), ("first", 100)] {
        tasks.push(submit(&house, text, priority).await);
    }
    assert_eq!(order(&house, &tasks).await, ["first", "second", "last"]);
    house.end().await;
}

#[tokio::test]
async fn tasks_have_their_turn_though_predictions_could_fill_every_batch() {
    let house = House::by_hand(single());
    house.pool.all_up();
    // Always more of them than there are seats.
    let mut calls = tokio::task::JoinSet::new();
    let call = || {
        let engine = house.engine.clone();
        async move {
            engine
                .predict(&model(), json("call"), PredictTerms::default())
                .await
                .map(drop)
        }
    };
    (0..6).for_each(|_| drop(calls.spawn(call())));
    until(|| house.waiting() == 6).await;
    let task = house.submitted("task").await;
    loop {
        let job = house.pool.next_job().await;
        let is_task = inputs(&job) == ["task"];
        house.pool.finish(job.batch, echo(job.items));
        if is_task {
            break;
        }
        calls.spawn(call());
        until(|| house.waiting() >= 5).await;
    }
    let done = house.engine.wait(task, LONG).await.unwrap();
    assert_eq!(done.record.state, State::Success);
    drop(calls);
    house.engine.stop(Duration::ZERO).await;
}
