//! The ordinary life of tasks and predictions.

use std::time::Duration;

use cresset_engine::{EngineError, PredictTerms, Submission};
use cresset_task::{Attempt, Code, Outcome, State, TaskId};

use crate::house::{House, LONG, config, echo, json, model, submission, text, until};

/// So often a race may be lost.
const TRIES: usize = 20;

#[tokio::test]
async fn a_task_goes_from_pending_through_started_to_success() {
    let house = House::by_hand(config());
    let first = house.submitted("1").await;
    let second = house.submitted("2").await;
    let queued = house.engine.task(second).await.unwrap();
    assert_eq!(
        (queued.record.state, queued.queue_position),
        (State::Pending, Some(1))
    );
    house.pool.all_up();
    let job = house.pool.next_job().await;
    assert_eq!(
        house.engine.task(first).await.unwrap().record.state,
        State::Started
    );
    house.pool.finish(job.batch, echo(job.items));
    let done = house.engine.wait(first, LONG).await.unwrap();
    assert_eq!(done.record.state, State::Success);
    assert_eq!(done.record.attempts, Attempt(1));
    assert_eq!(done.record.version.as_deref(), Some("7"));
    assert!(matches!(&done.record.outcome, Some(Outcome::Success(output)) if text(output) == "1"));
    let record = done.record;
    assert!(record.created_at <= record.started_at.unwrap() && record.started_at <= record.finished_at);
    // What a waiter was told is what the store says.
    assert_eq!(house.engine.task(first).await.unwrap().record, record);
    house.end().await;
}

#[tokio::test]
async fn a_waiter_is_woken_by_the_result_and_leaves_with_the_state_when_its_time_is_over() {
    let house = House::by_hand(config());
    house.pool.all_up();
    let id = house.submitted("1").await;
    let job = house.pool.next_job().await;
    let early = house.engine.wait(id, Duration::from_millis(5)).await.unwrap();
    assert_eq!(early.record.state, State::Started);
    let waiter = house.engine.wait(id, LONG);
    let finish = async { assert!(house.pool.finish(job.batch, echo(job.items.clone()))) };
    let (late, ()) = tokio::join!(waiter, finish);
    assert_eq!(late.unwrap().record.state, State::Success);
    house.end().await;
}

#[tokio::test]
async fn predictions_and_tasks_share_a_batch() {
    let mut patient = config();
    patient.batching.max_delay = LONG;
    let house = House::by_hand(patient);
    house.pool.all_up();
    // A task that the store has just leased may not be in the driver's hands yet: then each has a batch of its own.
    for _ in 0..TRIES {
        let first = house.predicting("0").await;
        let running = house.pool.next_job().await;
        let call = house.predicting("1").await;
        let id = house.submitted("2").await;
        while house.engine.task(id).await.unwrap().record.state != State::Started {
            tokio::task::yield_now().await;
        }
        house.pool.finish(running.batch, echo(running.items));
        let (mut batches, mut inputs) = (0, Vec::new());
        while inputs.len() < 2 {
            let job = house.pool.next_job().await;
            (batches, inputs) = (
                batches + 1,
                [inputs, job.items.iter().map(text).collect()].concat(),
            );
            house.pool.finish(job.batch, echo(job.items));
        }
        inputs.sort();
        assert_eq!(inputs, ["1", "2"]);
        assert_eq!(text(&first.await.unwrap().unwrap().output), "0");
        let prediction = call.await.unwrap().unwrap();
        assert_eq!(
            (text(&prediction.output).as_str(), prediction.version.as_str()),
            ("1", "7")
        );
        let ended = house.engine.wait(id, LONG).await.unwrap().record;
        assert_eq!(ended.state, State::Success);
        if batches == 1 {
            return house.end().await;
        }
    }
    panic!("no batch of {TRIES} was shared");
}

#[tokio::test]
async fn two_thousand_concurrent_tasks_all_succeed_and_form_batches() {
    let house = House::automatic(config(), echo);
    house.pool.all_up();
    let calls = (0..2_000).map(|i| {
        let engine = house.engine.clone();
        async move {
            let input = i.to_string();
            let id = engine.submit(submission(&input)).await.unwrap().id;
            let view = engine.wait(id, LONG).await.unwrap();
            assert!(matches!(&view.record.outcome, Some(Outcome::Success(o)) if text(o) == input));
        }
    });
    let mut all = tokio::task::JoinSet::new();
    calls.for_each(|call| {
        all.spawn(call);
    });
    all.join_all().await;
    assert!(
        house.pool.taken() < 1_500,
        "{} batches for 2000 tasks",
        house.pool.taken()
    );
    let metrics = house.engine.render_metrics();
    assert!(
        metrics.contains("cresset_tasks_total{model=\"echo\",status=\"SUCCESS\"} 2000"),
        "{metrics}"
    );
    house.end().await;
}

#[tokio::test]
async fn unknown_names_and_ids_are_errors_that_help() {
    let house = House::automatic(config(), echo);
    let error = house
        .engine
        .submit(Submission {
            model: "ecko".parse().unwrap(),
            ..submission("1")
        })
        .await;
    let error = error.unwrap_err();
    assert_eq!(
        error.to_string(),
        "no model is called `ecko`; did you mean `echo`?"
    );
    assert_eq!(error.code(), Code::UnknownModel);
    let id = TaskId::fresh();
    assert_eq!(house.engine.task(id).await.unwrap_err().code(), Code::UnknownTask);
    assert_eq!(
        house.engine.wait(id, LONG).await.unwrap_err().code(),
        Code::UnknownTask
    );
    house.end().await;
}

#[tokio::test]
async fn a_full_queue_refuses_and_says_when_to_come_back() {
    let mut small = config();
    small.limits.max_queue = 3;
    let house = House::by_hand(small);
    for _ in 0..3 {
        house.submitted("1").await;
    }
    let error = house.submit("1").await.unwrap_err();
    assert_eq!(error.code(), Code::QueueFull);
    assert!(error.retry_after().unwrap() >= Duration::from_secs(1));
    house.pool.all_up();
    let job = house.pool.next_job().await;
    house.submitted("again").await;
    drop(job);
    house.engine.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn too_many_waiting_predictions_are_refused_at_once() {
    let mut small = config();
    small.limits.max_waiting = 2;
    let house = House::by_hand(small);
    let calls = [house.predicting("1").await, house.predicting("2").await];
    let error = house.predict("3").await.unwrap_err();
    assert_eq!(error.code(), Code::Overloaded);
    assert!(error.retry_after().is_some());
    calls.iter().for_each(tokio::task::JoinHandle::abort);
    house.engine.stop(Duration::ZERO).await;
}

#[tokio::test]
async fn a_caller_that_hangs_up_leaves_the_queue() {
    let house = House::by_hand(config());
    house.pool.all_up();
    let first = house.predicting("busy").await;
    let running = house.pool.next_job().await;
    let gone = house.predicting("gone").await;
    gone.abort();
    until(|| gone.is_finished()).await;
    let stays = house.predicting("stays").await;
    house.pool.finish(running.batch, echo(running.items));
    let next = house.pool.next_job().await;
    let inputs: Vec<_> = next.items.iter().map(text).collect();
    assert_eq!(inputs, ["stays"]);
    house.pool.finish(next.batch, echo(next.items));
    assert!(first.await.unwrap().is_ok() && stays.await.unwrap().is_ok());
    until(|| house.waiting() == 0).await;
    house.end().await;
}

#[tokio::test]
async fn a_prediction_that_is_too_slow_says_so() {
    let house = House::by_hand(config());
    house.pool.all_up();
    let slow = house
        .engine
        .predict(
            &model(),
            json("1"),
            PredictTerms {
                limit: Some(Duration::from_millis(10)),
                ..PredictTerms::default()
            },
        )
        .await;
    assert!(
        matches!(slow, Err(EngineError::PredictTimeout { .. })),
        "{slow:?}"
    );
    house.engine.stop(Duration::ZERO).await;
}
