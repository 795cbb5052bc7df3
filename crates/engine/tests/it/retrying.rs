//! Failed tasks that are tried again: as their model says, or as they say themselves.

use std::time::Duration;

use cresset_config::{ModelConfig, Retry};
use cresset_engine::{EngineError, Stopped, Submission};
use cresset_queue::{Lookup, ResultStore};
use cresset_runner::{ItemEnd, JobEnd};
use cresset_task::{RetryTerms, State, Timestamp};

use crate::house::{House, LONG, config, echo, failure, store, submission};

fn patient(on: &[&str]) -> ModelConfig {
    let mut config = config();
    config.retry = Retry {
        max_retries: 2,
        delay: Duration::from_millis(20),
        max_delay: Duration::from_secs(1),
        on: on.iter().map(|class| (*class).to_owned()).collect(),
    };
    config
}

#[tokio::test]
async fn a_task_that_failed_is_tried_again_as_the_policy_says() {
    let house = House::by_hand(patient(&["ValueError"]));
    house.pool.all_up();
    let id = house.submitted("1").await;
    let job = house.pool.next_job().await;
    house
        .pool
        .finish(job.batch, JobEnd::Items(vec![ItemEnd::Failed(failure("busy"))]));
    let job = house.pool.next_job().await;
    let started = house.engine.task(id).await.unwrap().record;
    assert_eq!((started.state, started.retries), (State::Started, 1));
    house.pool.finish(job.batch, echo(job.items));
    let record = house.engine.wait(id, LONG).await.unwrap().record;
    assert_eq!(
        (record.state, record.retries, record.attempts.0),
        (State::Success, 1, 2)
    );
    assert_eq!(record.history[0].reason, "ValueError: busy");
    house.end().await;
}

#[tokio::test]
async fn the_last_try_decides() {
    let house = House::automatic(patient(&["*"]), |items| {
        JobEnd::Items(items.iter().map(|_| ItemEnd::Failed(failure("never"))).collect())
    });
    house.pool.all_up();
    let id = house.submitted("1").await;
    let record = house.engine.wait(id, LONG).await.unwrap().record;
    assert_eq!(
        (record.state, record.retries, record.attempts.0),
        (State::Failure, 2, 3)
    );
    assert_eq!(record.history.len(), 2);
    assert_eq!(house.engine.task(id).await.unwrap().record, record);
    house.end().await;
}

#[tokio::test]
async fn a_task_that_waits_to_be_tried_again_can_be_cancelled() {
    let mut config = patient(&["*"]);
    config.retry.delay = LONG;
    config.retry.max_delay = LONG;
    let house = House::by_hand(config);
    house.pool.all_up();
    let id = house.submitted("1").await;
    let job = house.pool.next_job().await;
    house
        .pool
        .finish(job.batch, JobEnd::Items(vec![ItemEnd::Failed(failure("busy"))]));
    while house.engine.task(id).await.unwrap().record.state != State::Retry {
        tokio::task::yield_now().await;
    }
    let cancelled = house.engine.cancel(id).await.unwrap();
    assert_eq!(
        (cancelled.state, cancelled.stopped),
        (State::Revoked, Stopped::Before)
    );
    house.end().await;
}

#[tokio::test]
async fn a_prediction_is_not_tried_again() {
    let house = House::automatic(patient(&["*"]), |items| {
        JobEnd::Items(items.iter().map(|_| ItemEnd::Failed(failure("no"))).collect())
    });
    house.pool.all_up();
    let answer = house.predict("1").await;
    assert!(matches!(answer, Err(EngineError::Failed(f)) if f.message == "no"));
    house.end().await;
}

/// A submit that says so of its retries.
fn saying(terms: RetryTerms) -> Submission {
    Submission {
        retry: Some(Box::new(terms)),
        ..submission("1")
    }
}

fn always_failing(config: ModelConfig) -> House {
    let house = House::automatic(config, |items| {
        JobEnd::Items(items.iter().map(|_| ItemEnd::Failed(failure("never"))).collect())
    });
    house.pool.all_up();
    house
}

#[tokio::test]
async fn a_task_is_tried_again_as_often_as_it_says_itself() {
    let house = always_failing(patient(&["*"]));
    for (max_retries, retries) in [(Some(0), 0), (Some(4), 4), (None, 2)] {
        let terms = RetryTerms {
            max_retries,
            delay: Some(Duration::from_millis(1)),
            ..RetryTerms::default()
        };
        let id = house.engine.submit(saying(terms.clone())).await.unwrap().id;
        let record = house.engine.wait(id, LONG).await.unwrap().record;
        assert_eq!(
            (record.state, record.retries, record.attempts.0),
            (State::Failure, retries, retries + 1)
        );
        assert_eq!(record.retry.as_deref(), Some(&terms));
    }
    house.end().await;
}

#[tokio::test]
async fn a_task_says_which_exceptions_are_tried_again() {
    let none_of_the_model = always_failing(patient(&[]));
    let on = |classes: &[&str]| RetryTerms {
        on: Some(classes.iter().map(|class| (*class).to_owned()).collect()),
        ..RetryTerms::default()
    };
    for (terms, retries) in [(on(&["ValueError"]), 2), (on(&["OSError"]), 0), (on(&["*"]), 2)] {
        let id = none_of_the_model.engine.submit(saying(terms)).await.unwrap().id;
        let record = none_of_the_model.engine.wait(id, LONG).await.unwrap().record;
        assert_eq!((record.state, record.retries), (State::Failure, retries));
    }
    none_of_the_model.end().await;
    let all_of_the_model = always_failing(patient(&["*"]));
    let id = all_of_the_model.engine.submit(saying(on(&[]))).await.unwrap().id;
    let record = all_of_the_model.engine.wait(id, LONG).await.unwrap().record;
    assert_eq!((record.state, record.retries), (State::Failure, 0));
    all_of_the_model.end().await;
}

#[tokio::test]
async fn a_task_waits_for_its_next_try_as_long_as_it_says_also_after_a_restart() {
    let house = always_failing(patient(&["*"]));
    let terms = RetryTerms {
        delay: Some(LONG * 10),
        max_delay: Some(LONG * 10),
        ..RetryTerms::default()
    };
    let id = house.engine.submit(saying(terms.clone())).await.unwrap().id;
    while house.engine.task(id).await.unwrap().record.state != State::Retry {
        tokio::task::yield_now().await;
    }
    let due = house.engine.task(id).await.unwrap().record.due_at.unwrap();
    // A wait is spread by a fifth.
    assert!(due > Timestamp::now().plus(LONG * 7), "{due}");
    house.engine.stop(LONG).await;
    let again = store(house.dir.path());
    let Lookup::Found(record) = again.fetch(id).await.unwrap() else {
        panic!("it was accepted")
    };
    assert_eq!(
        (record.state, record.due_at, record.retry.as_deref()),
        (State::Retry, Some(due), Some(&terms))
    );
    cresset_queue::Broker::close(&again).await.unwrap();
}
