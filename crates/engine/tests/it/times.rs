//! Delayed starts, expiry and cancellation.

use std::time::Duration;

use cresset_engine::{EngineError, Stopped, Submission};
use cresset_queue::{Broker, Lookup, ResultStore};
use cresset_runner::{DownReason, JobEnd, Unwanted};
use cresset_task::{Outcome, State, TaskId, Timestamp};

use crate::house::{House, LONG, config, echo, store, submission, text, until};

fn is_revoked(outcome: Option<&Outcome>, why: &str) -> bool {
    matches!(outcome, Some(Outcome::Revoked { reason }) if reason.contains(why))
}

#[tokio::test]
async fn a_delayed_task_starts_when_its_time_has_come_and_not_before() {
    let house = House::automatic(config(), echo);
    house.pool.all_up();
    let due = Timestamp::now().plus(Duration::from_millis(300));
    let accepted = house
        .engine
        .submit(Submission {
            due_at: Some(due),
            ..submission("1")
        })
        .await
        .unwrap();
    let at_once = house.submitted("2").await;
    assert_eq!(
        house.engine.wait(at_once, LONG).await.unwrap().record.state,
        State::Success
    );
    let waiting = house.engine.task(accepted.id).await.unwrap();
    assert_eq!(
        (waiting.record.state, waiting.record.due_at),
        (State::Pending, Some(due))
    );
    assert_eq!(waiting.queue_position, None);
    let done = house.engine.wait(accepted.id, LONG).await.unwrap().record;
    assert_eq!(done.state, State::Success);
    assert!(
        done.started_at.unwrap() >= due,
        "{:?} is before {due}",
        done.started_at
    );
    house.end().await;
}

#[tokio::test]
async fn a_task_of_a_model_that_is_down_expires_and_its_waiter_is_told() {
    let house = House::by_hand(config());
    let accepted = house
        .engine
        .submit(Submission {
            expires_at: Some(Timestamp::now().plus(Duration::from_millis(50))),
            ..submission("1")
        })
        .await
        .unwrap();
    let ended = house.engine.wait(accepted.id, LONG).await.unwrap().record;
    assert_eq!(ended.state, State::Revoked);
    assert!(
        is_revoked(ended.outcome.as_ref(), "expired"),
        "{:?}",
        ended.outcome
    );
    assert_eq!(house.engine.model("echo").unwrap().depth.tasks, 0);
    house.end().await;
}

fn within(millis: u64) -> Submission {
    Submission {
        deadline_at: Some(Timestamp::now().plus(Duration::from_millis(millis))),
        ..submission("1")
    }
}

#[tokio::test]
async fn a_task_that_runs_past_its_deadline_is_revoked_and_its_process_told() {
    let house = House::by_hand(config());
    house.pool.all_up();
    let accepted = house.engine.submit(within(300)).await.unwrap();
    let held = house.pool.next_job().await;
    let ended = house.engine.wait(accepted.id, LONG).await.unwrap().record;
    assert_eq!((ended.state, ended.attempts.0), (State::Revoked, 1));
    assert!(
        is_revoked(ended.outcome.as_ref(), "its deadline passed"),
        "{ended:?}"
    );
    assert_eq!(
        (ended.deadline_at, ended.expires_at),
        (ended.expires_at, ended.deadline_at)
    );
    until(|| house.pool.cancelled() == [(held.batch, 0, Unwanted::Cancelled)]).await;
    assert!(house.pool.finish(held.batch, echo(held.items)));
    house.end().await;
}

#[tokio::test]
async fn a_task_is_not_begun_after_its_deadline() {
    let house = House::by_hand(config());
    let accepted = house.engine.submit(within(50)).await.unwrap();
    let ended = house.engine.wait(accepted.id, LONG).await.unwrap().record;
    assert_eq!((ended.state, ended.attempts.0), (State::Revoked, 0));
    assert!(is_revoked(ended.outcome.as_ref(), "expired"), "{ended:?}");
    house.end().await;
}

#[tokio::test]
async fn a_queued_task_is_cancelled_before_it_runs() {
    let house = House::by_hand(config());
    let id = house.submitted("1").await;
    let waiter = house.engine.wait(id, LONG);
    let cancel = async { house.engine.cancel(id).await.unwrap() };
    let (told, cancelled) = tokio::join!(waiter, cancel);
    assert_eq!(
        (cancelled.state, cancelled.stopped),
        (State::Revoked, Stopped::Before)
    );
    let record = told.unwrap().record;
    assert!(is_revoked(record.outcome.as_ref(), "cancelled"), "{record:?}");
    let again = house.engine.cancel(id).await.unwrap();
    assert_eq!((again.state, again.stopped), (State::Revoked, Stopped::TooLate));
    house.end().await;
}

#[tokio::test]
async fn a_running_task_is_revoked_at_once_and_its_result_thrown_away() {
    let house = House::by_hand(config());
    house.pool.all_up();
    let id = house.submitted("1").await;
    let job = house.pool.next_job().await;
    let cancelled = house.engine.cancel(id).await.unwrap();
    assert_eq!(
        (cancelled.state, cancelled.stopped),
        (State::Revoked, Stopped::During)
    );
    house.pool.finish(job.batch, echo(job.items));
    let next = house.submitted("2").await;
    let job = house.pool.next_job().await;
    house.pool.finish(job.batch, echo(job.items));
    assert_eq!(
        house.engine.wait(next, LONG).await.unwrap().record.state,
        State::Success
    );
    assert_eq!(house.engine.task(id).await.unwrap().record.state, State::Revoked);
    house.end().await;
}

#[tokio::test]
async fn a_cancelled_task_does_not_run_again_when_its_process_dies() {
    let house = House::by_hand(config());
    house.pool.all_up();
    let id = house.submitted("1").await;
    let job = house.pool.next_job().await;
    house.engine.cancel(id).await.unwrap();
    let other = house.submitted("2").await;
    house.pool.finish(
        job.batch,
        JobEnd::Lost {
            reason: DownReason::Exited(3),
            suspect: true,
            scene: None,
        },
    );
    let job = house.pool.next_job().await;
    let inputs: Vec<_> = job.items.iter().map(text).collect();
    assert_eq!(inputs, ["2"], "the cancelled one must not run again");
    house.pool.finish(job.batch, echo(job.items));
    assert_eq!(
        house.engine.wait(other, LONG).await.unwrap().record.state,
        State::Success
    );
    house.end().await;
}

#[tokio::test]
async fn what_has_ended_or_never_was_cannot_be_cancelled() {
    let house = House::automatic(config(), echo);
    house.pool.all_up();
    let id = house.submitted("1").await;
    house.engine.wait(id, LONG).await.unwrap();
    let late = house.engine.cancel(id).await.unwrap();
    assert_eq!((late.state, late.stopped), (State::Success, Stopped::TooLate));
    let nobody = house.engine.cancel(TaskId::fresh()).await;
    assert!(matches!(nobody, Err(EngineError::UnknownTask(_))));
    house.end().await;
}

#[tokio::test]
async fn cancellation_and_delays_outlive_the_server() {
    let house = House::by_hand(config());
    let cancelled = house.submitted("1").await;
    house.engine.cancel(cancelled).await.unwrap();
    let due = Timestamp::now().plus(LONG);
    let delayed = house
        .engine
        .submit(Submission {
            due_at: Some(due),
            ..submission("2")
        })
        .await
        .unwrap()
        .id;
    house.engine.stop(LONG).await;
    let again = store(house.dir.path());
    let Lookup::Found(record) = again.fetch(cancelled).await.unwrap() else {
        panic!("it was accepted")
    };
    assert_eq!(record.state, State::Revoked);
    let Lookup::Found(record) = again.fetch(delayed).await.unwrap() else {
        panic!("it was accepted")
    };
    assert_eq!((record.state, record.due_at), (State::Pending, Some(due)));
    again.close().await.unwrap();
}

#[tokio::test]
async fn why_a_task_ran_more_than_once_is_kept_with_it() {
    let house = House::by_hand(config());
    house.pool.all_up();
    let id = house.submitted("1").await;
    let job = house.pool.next_job().await;
    house.pool.finish(
        job.batch,
        JobEnd::Lost {
            reason: DownReason::Exited(3),
            suspect: true,
            scene: None,
        },
    );
    let job = house.pool.next_job().await;
    house.pool.finish(job.batch, echo(job.items));
    let record = house.engine.wait(id, LONG).await.unwrap().record;
    let reasons: Vec<_> = record
        .history
        .iter()
        .map(|h| (h.attempt.0, h.reason.as_str()))
        .collect();
    assert_eq!(
        reasons,
        [(1, "the model process exited with status 3 while running it")]
    );
    assert_eq!(record.attempts.0, 2);
    assert_eq!(house.engine.task(id).await.unwrap().record, record);
    house.end().await;
}
