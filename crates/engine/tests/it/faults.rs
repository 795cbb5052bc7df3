//! What a bad input, a dying instance or a model that cannot start costs, and whom.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cresset_runner::{DownReason, JobEnd, PoolState, RecycleReason};
use cresset_task::{Attempt, Code, InstanceId, Outcome, State};

use crate::house::{House, LONG, config, echo, failure, text, until};

/// Raises as a whole whenever "bad" is in the batch, as PyTorch code does.
fn raises_on_bad(items: Vec<cresset_task::Payload>) -> JobEnd {
    if items.iter().any(|i| text(i).contains("bad")) {
        JobEnd::Raised(failure("boom"))
    } else {
        echo(items)
    }
}

#[tokio::test]
async fn one_bad_input_costs_one_task() {
    let house = House::automatic(config(), raises_on_bad);
    let mut ids = Vec::new();
    for i in 0..8 {
        let input = if i == 5 {
            "\"bad\"".to_owned()
        } else {
            i.to_string()
        };
        ids.push(house.submitted(&input).await);
    }
    house.pool.all_up();
    for (i, id) in ids.into_iter().enumerate() {
        let record = house.engine.wait(id, LONG).await.unwrap().record;
        if i == 5 {
            assert!(
                matches!(&record.outcome, Some(Outcome::Failure(f)) if f.message == "boom"),
                "{record:?}"
            );
        } else {
            assert_eq!(record.state, State::Success, "task {i}");
        }
    }
    assert!(
        house.pool.taken() <= 7,
        "splitting 8 takes at most 7 runs, took {}",
        house.pool.taken()
    );
    house.end().await;
}

#[tokio::test]
async fn a_bad_prediction_fails_its_caller_and_not_its_neighbour() {
    let house = House::automatic(config(), raises_on_bad);
    let (bad, good) = (house.predicting("\"bad\"").await, house.predicting("1").await);
    house.pool.all_up();
    assert_eq!(bad.await.unwrap().unwrap_err().code(), Code::ModelError);
    assert!(good.await.unwrap().is_ok());
    house.end().await;
}

#[tokio::test]
async fn a_killed_instance_costs_nobody_an_error() {
    let house = House::by_hand(config());
    house.pool.all_up();
    let id = house.submitted("1").await;
    let job = house.pool.next_job().await;
    let call = house.predicting("2").await;
    let behind = house.pool.next_job().await;
    assert_eq!((job.items.len(), behind.items.len()), (1, 1));
    house.pool.kill(InstanceId(0), DownReason::Signal(9));
    house.pool.all_up();
    for _ in 0..2 {
        let again = house.pool.next_job().await;
        assert!(house.pool.finish(again.batch, echo(again.items)));
    }
    assert!(call.await.unwrap().is_ok());
    let record = house.engine.wait(id, LONG).await.unwrap().record;
    assert_eq!((record.state, record.attempts), (State::Success, Attempt(2)));
    assert_eq!(house.engine.task(id).await.unwrap().record, record);
    let metrics = house.engine.render_metrics();
    assert!(
        metrics.contains("cresset_instance_restarts_total{model=\"echo\",reason=\"signal\"} 1"),
        "{metrics}"
    );
    house.end().await;
}

#[tokio::test]
async fn a_replaced_instance_costs_nobody_a_wait_and_is_counted() {
    let house = House::by_hand(config());
    house.pool.all_up();
    let slow = house.predicting("1").await;
    let old = house.pool.next_job().await;
    let quick = house.predicting("2").await;
    let new = house.pool.next_job().await;
    // The fresh process has the second job, and is done with it first.
    assert!(house.pool.finish(new.batch, echo(new.items)));
    assert!(quick.await.unwrap().is_ok());
    house.pool.fail_to_replace(InstanceId(0), DownReason::Exited(1));
    house
        .pool
        .recycle(InstanceId(0), RecycleReason::Tasks(9), DownReason::Signal(6));
    let third = house.predicting("3").await;
    let behind = house.pool.next_job().await;
    assert!(house.pool.finish(old.batch, echo(old.items)));
    assert!(slow.await.unwrap().is_ok());
    assert!(house.pool.finish(behind.batch, echo(behind.items)));
    assert!(third.await.unwrap().is_ok());
    let metrics = house.engine.render_metrics();
    for counted in [
        "cresset_instances_recycled_total{model=\"echo\",reason=\"max_tasks\"} 1",
        "cresset_instances_not_replaced_total{model=\"echo\",reason=\"exit\"} 1",
        "cresset_instance_restarts_total{model=\"echo\",reason=\"signal\"} 1",
    ] {
        assert!(metrics.contains(counted), "{counted} is not in\n{metrics}");
    }
    house.end().await;
}

#[tokio::test]
async fn an_input_that_kills_its_instance_is_found_and_the_others_succeed() {
    let house = House::by_hand(config());
    let mut ids = Vec::new();
    for i in 0..4 {
        ids.push(house.submitted(if i == 2 { "\"poison\"" } else { "1" }).await);
    }
    house.pool.all_up();
    let deaths = Arc::new(AtomicUsize::new(0));
    let (pool, died) = (house.pool.clone(), Arc::clone(&deaths));
    #[expect(clippy::disallowed_methods, reason = "aborted below")]
    let driver = tokio::spawn(async move {
        loop {
            let job = pool.next_job().await;
            if pool.held(job.instance).first().map(|h| h.batch) != Some(job.batch) {
                continue; // behind another one: it is looked at once that one has ended
            }
            let mut job = Some(job);
            while let Some(held) = job {
                if held.items.iter().any(|i| text(i).contains("poison")) {
                    died.fetch_add(1, Ordering::SeqCst);
                    pool.kill(held.instance, DownReason::Exited(3));
                    pool.all_up();
                    break;
                }
                pool.finish(held.batch, echo(held.items));
                job = pool.held(held.instance).into_iter().next();
            }
        }
    });
    for (i, id) in ids.into_iter().enumerate() {
        let record = house.engine.wait(id, LONG).await.unwrap().record;
        match &record.outcome {
            Some(Outcome::Failure(f)) if i == 2 => {
                assert_eq!(f.code, Code::InstanceDied);
                assert!(f.message.contains("exited with status 3"), "{}", f.message);
            }
            Some(Outcome::Success(_)) if i != 2 => {}
            other => panic!("task {i}: {other:?}"),
        }
    }
    assert!(
        deaths.load(Ordering::SeqCst) <= 4,
        "{deaths:?} deaths for one poison in four"
    );
    driver.abort();
    house.end().await;
}

#[tokio::test]
async fn a_model_that_never_came_up_refuses_with_its_reason_and_its_callers_are_told() {
    let house = House::by_hand(config());
    let call = house.predicting("1").await;
    house
        .pool
        .kill(InstanceId(0), DownReason::Spawn("no interpreter".into()));
    let error = call.await.unwrap().unwrap_err();
    assert_eq!(error.code(), Code::ModelUnavailable);
    assert!(error.to_string().contains("no interpreter"), "{error}");
    assert_eq!(
        house.submit("1").await.unwrap_err().code(),
        Code::ModelUnavailable
    );
    let health = house.engine.health();
    assert!(!health.ready);
    assert_eq!(health.models[0].state, PoolState::Failed);
    assert!(
        health.models[0]
            .reason
            .as_ref()
            .unwrap()
            .contains("no interpreter")
    );
    house.pool.all_up();
    until(|| house.engine.health().ready).await;
    let mut accepted = house.submit("1").await;
    while accepted.is_err() {
        tokio::task::yield_now().await; // the driver has yet to see the news
        accepted = house.submit("1").await;
    }
    house.engine.stop(std::time::Duration::ZERO).await;
}
