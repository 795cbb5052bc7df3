//! Promise 8: a stop loses nothing.

use std::sync::Arc;
use std::time::Duration;

use cresset_engine::{Engine, EngineOptions};
use cresset_runner::testing::FakePool;
use cresset_task::{Code, State};
use tokio::sync::mpsc;

use crate::house::{House, LONG, config, echo, store};

#[tokio::test]
async fn a_drain_finishes_what_runs_and_gives_the_rest_back() {
    let mut one = config();
    one.batching.max_batch_size = 1;
    let house = House::by_hand(one.clone());
    house.pool.all_up();
    let mut ids = Vec::new();
    for i in 0..5 {
        ids.push(house.submitted(&i.to_string()).await);
    }
    let job = house.pool.next_job().await;
    house.engine.drain();
    assert_eq!(house.submit("6").await.unwrap_err().code(), Code::ShuttingDown);
    assert!(house.engine.health().stopping);
    let (engine, pool) = (house.engine.clone(), house.pool.clone());
    let stop = engine.stop(LONG);
    let finish = async {
        pool.finish(job.batch, echo(job.items));
        while let Some(held) = pool.held(job.instance).into_iter().next() {
            pool.finish(held.batch, echo(held.items));
            tokio::task::yield_now().await;
        }
    };
    tokio::join!(stop, finish);
    drop(engine);

    // A new server on the same folder goes on with all that is left.
    let engine = Engine::start(Arc::new(store(house.dir.path())), &EngineOptions::default());
    let (events, news) = mpsc::channel(16);
    let pool = FakePool::automatic(1, 2, events, echo);
    engine.serve(Arc::new(one), pool.clone(), news);
    pool.all_up();
    for id in ids {
        assert_eq!(engine.wait(id, LONG).await.unwrap().record.state, State::Success);
    }
    engine.stop(LONG).await;
}

#[tokio::test]
async fn a_stop_past_its_deadline_puts_running_work_back_and_answers_callers() {
    let house = House::by_hand(config());
    house.pool.all_up();
    let call = house.predicting("1").await;
    let _held = house.pool.next_job().await;
    let id = house.submitted("2").await;
    let _behind = house.pool.next_job().await;
    house.engine.stop(Duration::from_millis(20)).await;
    assert_eq!(call.await.unwrap().unwrap_err().code(), Code::ShuttingDown);
    let engine = Engine::start(Arc::new(store(house.dir.path())), &EngineOptions::default());
    assert_eq!(engine.task(id).await.unwrap().record.state, State::Pending);
    engine.stop(LONG).await;
}

#[tokio::test]
async fn a_second_stop_does_no_harm() {
    let house = House::automatic(config(), echo);
    house.engine.stop(LONG).await;
    house.end().await;
}

#[tokio::test]
async fn a_stop_answers_long_polls_with_the_state_as_it_is() {
    let house = House::by_hand(config());
    let id = house.submitted("1").await;
    let poll = house.engine.wait(id, LONG);
    let drain = async { house.engine.drain() };
    let (view, ()) = tokio::join!(poll, drain);
    assert_eq!(view.unwrap().record.state, State::Pending);
    house.end().await;
}
