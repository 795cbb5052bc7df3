//! A model without work is unloaded and loaded again for the next, and nothing that comes at the wrong moment is lost.

use std::time::Duration;

use cresset_config::ModelConfig;
use cresset_engine::{PoolState, ServerState};
use cresset_runner::DownReason;
use cresset_task::{Code, InstanceId, State, Timestamp};

use crate::house::{House, LONG, config, echo, json, submission, text, until};

/// How long a model may have no work in these tests; a clock that is paused makes it short.
const IDLE: Duration = Duration::from_secs(600);

fn idle_after(idle: Duration) -> ModelConfig {
    let mut config = config();
    config.instances.idle_unload = Some(idle);
    config
}

fn told(house: &House) -> (ServerState, PoolState, bool, String) {
    let health = house.engine.health();
    let model = &health.models[0];
    assert_eq!(health.ready, model.ready);
    let reason = model.reason.clone().unwrap_or_default();
    (health.state, model.state, model.ready, reason)
}

fn metric(house: &House, line: &str) -> bool {
    let line = format!("{line}\n");
    house.engine.render_metrics().contains(&line)
}

async fn up(house: &House) {
    house.pool.all_up();
    until(|| house.engine.health().models[0].state == PoolState::Ready).await;
}

/// Until it is told to unload for the `n`th time, and has.
async fn unloaded(house: &House, n: usize) {
    until(|| house.pool.unloads_and_loads().0 == n).await;
    house.pool.unloaded();
}

#[tokio::test(start_paused = true)]
async fn a_model_whose_kept_results_are_asked_for_is_in_use_and_forgets_them_when_it_is_not() {
    let mut config = idle_after(IDLE);
    config.cache.enabled = true;
    config.cache.ttl = 100 * IDLE;
    let house = House::automatic(config, echo);
    up(&house).await;
    for _ in 0..4 {
        house.predict("1").await.unwrap();
        tokio::time::sleep(IDLE - Duration::from_millis(10)).await;
    }
    assert_eq!((house.pool.taken(), house.pool.unloads_and_loads()), (1, (0, 0)));
    tokio::time::sleep(Duration::from_millis(20)).await;
    unloaded(&house, 1).await;
    until(|| metric(&house, "cresset_cache_entries{model=\"echo\"} 0")).await;
    tokio::time::resume(); // the store works on threads of its own
    house.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_model_without_work_is_unloaded_in_its_time_and_loaded_for_the_next() {
    let house = House::automatic(idle_after(IDLE), echo);
    up(&house).await;
    assert!(metric(&house, "cresset_model_loaded{model=\"echo\"} 1"));
    tokio::time::sleep(IDLE / 2).await;
    assert_eq!(text(&house.predict("1").await.unwrap().output), "1");
    tokio::time::sleep(IDLE - Duration::from_millis(10)).await;
    assert_eq!(
        house.pool.unloads_and_loads(),
        (0, 0),
        "its time runs from the last work"
    );
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert_eq!(house.pool.unloads_and_loads(), (1, 0));
    house.pool.unloaded();
    tokio::time::sleep(10 * IDLE).await;
    let (state, model, ready, why) = told(&house);
    assert_eq!(
        (state, model, ready),
        (ServerState::Ready, PoolState::Unloaded, true)
    );
    assert!(why.contains("no work and is unloaded"), "{why}");
    for line in [
        "cresset_model_ready{model=\"echo\"} 1",
        "cresset_model_loaded{model=\"echo\"} 0",
        "cresset_instances_unloaded_total{model=\"echo\"} 1",
    ] {
        assert!(metric(&house, line), "{line}");
    }
    assert!(
        !house.engine.render_metrics().contains("instance_restarts_total{"),
        "nothing died"
    );

    let call = house.predicting("2").await;
    until(|| house.pool.unloads_and_loads() == (1, 1)).await;
    // It loads longer than a model may stand still, or have no work.
    for _ in 0..3 {
        tokio::time::sleep(LONG / 4).await;
        let (state, model, ready, why) = told(&house);
        assert_eq!(
            (state, model, ready),
            (ServerState::Ready, PoolState::Loading, true)
        );
        assert!(why.contains("is being loaded again"), "{why}");
    }
    house.pool.all_up();
    assert_eq!(text(&call.await.unwrap().unwrap().output), "2");
    assert_eq!(
        told(&house),
        (ServerState::Ready, PoolState::Ready, true, String::new())
    );
    tokio::time::sleep(IDLE - Duration::from_secs(1)).await;
    assert_eq!(
        house.pool.unloads_and_loads(),
        (1, 1),
        "it is not unloaded sooner than before"
    );
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(house.pool.unloads_and_loads(), (2, 1));
    tokio::time::resume(); // the store works on threads of its own
    house.end().await;
}

#[tokio::test(start_paused = true)]
async fn without_the_setting_it_stays() {
    let house = House::automatic(config(), echo);
    up(&house).await;
    tokio::time::sleep(1000 * IDLE).await;
    assert_eq!(house.pool.unloads_and_loads(), (0, 0));
    tokio::time::resume();
    house.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_works_or_is_not_up_is_not_idle() {
    let mut config = idle_after(IDLE);
    config.limits.predict_timeout = 10 * IDLE;
    let house = House::by_hand(config);
    tokio::time::sleep(3 * IDLE).await;
    assert_eq!(house.pool.unloads_and_loads(), (0, 0), "it loads");
    up(&house).await;
    let call = house.predicting("1").await;
    tokio::time::sleep(3 * IDLE).await;
    assert_eq!(house.pool.unloads_and_loads(), (0, 0), "it works");
    let held = house.pool.held(InstanceId(0)).remove(0);
    assert!(house.pool.finish(held.batch, echo(held.items)));
    call.await.unwrap().unwrap();
    house.pool.kill(InstanceId(0), DownReason::Exited(1));
    tokio::time::sleep(3 * IDLE).await;
    assert_eq!(
        house.pool.unloads_and_loads(),
        (0, 0),
        "it is down, and that is told"
    );
    up(&house).await;
    tokio::time::sleep(IDLE / 2).await;
    assert_eq!(house.pool.unloads_and_loads(), (0, 0), "it has just come up");
    tokio::time::sleep(IDLE).await;
    assert_eq!(house.pool.unloads_and_loads(), (1, 0));
    tokio::time::resume();
    house.end().await;
}

#[tokio::test]
async fn a_task_loads_it_and_a_delayed_one_when_it_is_due() {
    let house = House::automatic(idle_after(Duration::from_millis(30)), echo);
    up(&house).await;
    for round in 1..=3 {
        unloaded(&house, round).await;
        let id = house.submitted("1").await;
        until(|| house.pool.unloads_and_loads() == (round, round)).await;
        house.pool.all_up();
        let task = house.engine.wait(id, LONG).await.unwrap().record;
        assert_eq!((task.state, task.attempts.0), (State::Success, 1));
    }
    unloaded(&house, 4).await;
    let due = Timestamp::now().plus(Duration::from_millis(300));
    let mut later = submission("2");
    later.due_at = Some(due);
    let id = house.engine.submit(later).await.unwrap().id;
    until(|| house.pool.unloads_and_loads() == (4, 4)).await;
    assert!(
        Timestamp::now() >= due,
        "a task that waits for its time is no work yet"
    );
    house.pool.all_up();
    assert_eq!(
        house.engine.wait(id, LONG).await.unwrap().record.state,
        State::Success
    );
    house.end().await;
}

/// Work comes when it has been told to unload, and its processes have not gone yet: they take none.
#[tokio::test]
async fn what_comes_while_it_is_being_unloaded_waits_and_runs_once() {
    let house = House::automatic(idle_after(Duration::from_millis(30)), echo);
    up(&house).await;
    until(|| house.pool.unloads_and_loads() == (1, 0)).await;
    let taken = house.pool.taken();
    let id = house.submitted("1").await;
    let call = house.predicting("2").await;
    until(|| house.pool.unloads_and_loads() == (1, 1)).await;
    let (_, model, ready, _) = told(&house);
    assert!(ready, "{model:?}");
    // In truth they may have noticed, and go; or not, and serve on. Here they go.
    house.pool.unloaded();
    house.pool.all_up();
    assert_eq!(text(&call.await.unwrap().unwrap().output), "2");
    let task = house.engine.wait(id, LONG).await.unwrap().record;
    assert_eq!(task.state, State::Success);
    assert!(house.pool.taken() - taken <= 2, "nothing ran twice");
    assert_eq!(house.pool.unloads_and_loads().1, 1, "nor was it loaded twice");
    house.end().await;
}

#[tokio::test]
async fn a_load_that_fails_is_told_and_callers_are_refused() {
    let house = House::automatic(idle_after(Duration::from_millis(30)), echo);
    up(&house).await;
    unloaded(&house, 1).await;
    let id = house.submitted("1").await;
    let call = house.predicting("2").await;
    until(|| house.pool.unloads_and_loads() == (1, 1)).await;
    house.pool.kill(InstanceId(0), DownReason::Exited(7));
    let refused = call.await.unwrap().unwrap_err();
    assert_eq!(refused.code(), Code::ModelUnavailable);
    assert!(refused.to_string().contains("exited with status 7"), "{refused}");
    let (state, model, ready, why) = told(&house);
    assert_eq!(
        (state, model, ready),
        (ServerState::Down, PoolState::Failed, false)
    );
    assert_eq!(why, "an instance exited with status 7");
    assert_eq!(
        house.predict("3").await.unwrap_err().code(),
        Code::ModelUnavailable
    );
    assert_eq!(house.engine.task(id).await.unwrap().record.state, State::Pending);
    house.pool.all_up();
    assert_eq!(
        house.engine.wait(id, LONG).await.unwrap().record.state,
        State::Success
    );
    house.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_prediction_that_waits_too_long_for_the_load_is_told_why() {
    let house = House::automatic(idle_after(IDLE), echo);
    up(&house).await;
    tokio::time::sleep(IDLE + Duration::from_secs(1)).await;
    house.pool.unloaded();
    let late = house.predict("1").await.unwrap_err();
    assert_eq!(late.code(), Code::ModelUnavailable);
    assert!(late.retry_after().is_some());
    assert!(late.to_string().contains("is being loaded again"), "{late}");
    tokio::time::resume();
    house.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_canary_neither_keeps_a_model_loaded_nor_loads_it() {
    let mut config = idle_after(IDLE);
    config.health.interval = Duration::from_secs(7);
    let house = House::automatic(config.clone(), echo);
    house.engine.watch(&config, json("1")).unwrap();
    up(&house).await;
    tokio::time::sleep(IDLE - Duration::from_secs(1)).await;
    let tried = house.pool.taken();
    assert!(tried > 80, "{tried}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(house.pool.unloads_and_loads(), (1, 0));
    house.pool.unloaded();
    tokio::time::sleep(3 * IDLE).await;
    assert_eq!(house.pool.unloads_and_loads(), (1, 0));
    assert!(house.pool.taken() <= tried + 1, "none while it is unloaded");
    let call = house.predicting("2").await;
    until(|| house.pool.unloads_and_loads() == (1, 1)).await;
    house.pool.all_up();
    call.await.unwrap().unwrap();
    let tried = house.pool.taken();
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert!(house.pool.taken() > tried, "and again once it is loaded");
    tokio::time::resume();
    house.end().await;
}

#[tokio::test]
async fn a_stop_while_it_is_unloaded_or_loads_keeps_what_waits() {
    for work in [false, true] {
        let house = House::automatic(idle_after(Duration::from_millis(30)), echo);
        up(&house).await;
        unloaded(&house, 1).await;
        let mut id = None;
        if work {
            id = Some(house.submitted("1").await);
            until(|| house.pool.unloads_and_loads() == (1, 1)).await;
        }
        house.engine.stop(LONG).await;
        if let Some(id) = id {
            let store = crate::house::store(house.dir.path());
            let engine = cresset_engine::Engine::start(
                std::sync::Arc::new(store),
                &cresset_engine::EngineOptions::default(),
            );
            assert_eq!(engine.task(id).await.unwrap().record.state, State::Pending);
            engine.stop(LONG).await;
        }
    }
}
