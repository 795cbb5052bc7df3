//! Health: which of its states a model is in, why, and whether that counts as ready.

use std::time::Duration;

use cresset_engine::{Health, ServerState};
use cresset_runner::{DownReason, PoolState};
use cresset_task::InstanceId;

use crate::house::{House, config, echo, until};

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
