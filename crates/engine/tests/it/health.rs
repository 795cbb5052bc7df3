//! Health: which of its states a model is in, why, and whether that counts as ready.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cresset_engine::{Health, ServerState};
use cresset_runner::{DownReason, ItemEnd, JobEnd, PoolState};
use cresset_task::{Code, DType, InstanceId, Payload, Tensor, TensorSet};

use crate::house::{House, config, echo, failure, json, until};

fn told(health: &Health) -> (ServerState, bool, PoolState, String) {
    let model = &health.models[0];
    assert_eq!(health.ready, model.ready);
    let reason = model.reason.clone().unwrap_or_default();
    (health.state, model.ready, model.state, reason)
}

#[tokio::test]
async fn one_process_of_two_that_is_down_degrades_and_both_are_down() {
    let house = House::several(config(), 2);
    assert_eq!(
        told(&house.engine.health()),
        (
            ServerState::Starting,
            false,
            PoolState::Starting,
            "no instance is ready yet".into()
        )
    );
    house.pool.all_up();
    until(|| house.engine.health().state == ServerState::Ready).await;
    house.pool.kill(InstanceId(0), DownReason::Exited(3));
    let why = "1 of 2 processes are down: the last one exited with status 3".to_owned();
    assert_eq!(
        told(&house.engine.health()),
        (ServerState::Degraded, true, PoolState::Degraded, why)
    );
    house.pool.kill(InstanceId(1), DownReason::Signal(9));
    assert_eq!(
        told(&house.engine.health()),
        (
            ServerState::Down,
            false,
            PoolState::Down,
            "an instance was ended by signal 9".into()
        )
    );
    house.pool.all_up();
    until(|| house.engine.health().state == ServerState::Ready).await;
    house.end().await;
}

#[tokio::test]
async fn a_crash_loop_degrades_and_is_not_ready() {
    let house = House::by_hand(config());
    house.pool.all_up();
    until(|| house.engine.health().ready).await;
    house.pool.set_degraded(true);
    let (state, ready, model, _) = told(&house.engine.health());
    assert_eq!(
        (state, ready, model),
        (ServerState::Degraded, false, PoolState::Degraded)
    );
    house.end().await;
}

#[tokio::test]
async fn a_model_that_fails_its_canary_is_not_ready_until_it_answers_it_again() {
    let mut config = config();
    config.health.interval = Duration::from_millis(10);
    let broken = Arc::new(AtomicBool::new(true));
    let is_broken = Arc::clone(&broken);
    let house = House::automatic(config.clone(), move |items| {
        match is_broken.load(Ordering::SeqCst) {
            true => JobEnd::Items(
                items
                    .iter()
                    .map(|_| ItemEnd::Failed(failure("no weights")))
                    .collect(),
            ),
            false => echo(items),
        }
    });
    house.engine.watch(&config, json("1")).unwrap();
    house.pool.all_up();
    until(|| house.engine.health().state == ServerState::Degraded).await;
    let why = "the canary failed: ValueError: no weights".to_owned();
    assert_eq!(
        told(&house.engine.health()),
        (ServerState::Degraded, false, PoolState::Degraded, why)
    );
    broken.store(false, Ordering::SeqCst);
    until(|| house.engine.health().state == ServerState::Ready).await;
    house.end().await;
}

#[tokio::test]
async fn a_canary_that_its_model_does_not_take_is_refused() {
    let house = House::by_hand(config());
    let tensor = Tensor::new(DType::Uint8, vec![1], Bytes::from_static(b"x")).unwrap();
    let wrong = Payload::Tensors(TensorSet(vec![("x".into(), tensor)]));
    let error = house.engine.watch(&config(), wrong).unwrap_err();
    assert_eq!(error.code(), Code::InvalidInput);
    house.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_model_of_which_nothing_ends_is_not_ready_until_something_does() {
    let mut config = config();
    config.limits.timeout = Duration::from_secs(5);
    config.limits.predict_timeout = Duration::from_secs(600);
    let house = House::by_hand(config);
    house.pool.all_up();
    until(|| house.engine.health().ready).await;
    let call = house.predicting("1").await;
    tokio::time::sleep(Duration::from_secs(14)).await;
    assert!(
        house.engine.health().ready,
        "it may take its time limit, and a little"
    );
    tokio::time::sleep(Duration::from_secs(4)).await;
    let (state, ready, model, why) = told(&house.engine.health());
    assert_eq!(
        (state, ready, model),
        (ServerState::Degraded, false, PoolState::Degraded)
    );
    assert!(
        why.starts_with("no batch has begun or ended for 1") && why.ends_with("and one may take 5s"),
        "{why}"
    );
    assert!(
        house
            .engine
            .render_metrics()
            .contains("cresset_model_ready{model=\"echo\"} 0\n")
    );
    let held = house.pool.held(InstanceId(0)).remove(0);
    assert!(house.pool.finish(held.batch, echo(held.items)));
    call.await.unwrap().unwrap();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(house.engine.health().state, ServerState::Ready);
    tokio::time::resume(); // the store works on threads of its own
    house.end().await;
}
