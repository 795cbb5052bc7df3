//! Following a task from state to state.

use cresset_config::ModelConfig;
use cresset_engine::{EngineError, Event, Following, Place};
use cresset_runner::{ItemEnd, JobEnd};
use cresset_task::{Revision, State, TaskId};

use crate::house::{House, LONG, config, echo, failure};

fn patient() -> ModelConfig {
    let mut config = config();
    config.retry.max_retries = 1;
    config.retry.delay = std::time::Duration::from_millis(1);
    config.retry.on = vec!["*".into()];
    config
}

async fn next(following: &mut Following) -> Option<(State, Revision)> {
    let event = tokio::time::timeout(LONG, following.next()).await.unwrap();
    event.unwrap().map(|event| match event {
        Event::State(view) => (view.record.state, view.record.revision()),
        Event::Live(piece) => panic!("nobody said {piece:?}"),
    })
}

fn seen_at(revision: Revision) -> Place {
    Place {
        revision: Some(revision),
        ..Place::default()
    }
}

#[tokio::test]
async fn a_follower_sees_each_state_and_the_end() {
    let house = House::by_hand(patient());
    let id = house.submitted("1").await;
    let mut following = house.engine.follow(id, Place::default());
    let mut seen = vec![next(&mut following).await.unwrap()];
    house.pool.all_up();
    let job = house.pool.next_job().await;
    seen.push(next(&mut following).await.unwrap());
    let failed = JobEnd::Items(vec![ItemEnd::Failed(failure("busy"))]);
    house.pool.finish(job.batch, failed);
    let job = house.pool.next_job().await;
    // The wait for the next try is short: it may have been seen, or passed.
    let mut again = next(&mut following).await.unwrap();
    if again.0 == State::Retry {
        seen.push(again);
        again = next(&mut following).await.unwrap();
    }
    seen.push(again);
    house.pool.finish(job.batch, echo(job.items));
    seen.push(next(&mut following).await.unwrap());
    assert_eq!(next(&mut following).await, None);
    assert_eq!(next(&mut following).await, None, "and stays at its end");
    let states: Vec<_> = seen
        .iter()
        .map(|(state, _)| *state)
        .filter(|s| *s != State::Retry)
        .collect();
    assert_eq!(
        states,
        [State::Pending, State::Started, State::Started, State::Success]
    );
    assert!(seen.is_sorted_by(|one, other| one.1 < other.1), "{seen:?}");

    // One that comes back is shown what it has not seen.
    for (at, (_, revision)) in seen.iter().enumerate() {
        let mut back = house.engine.follow(id, seen_at(*revision));
        let rest = if at + 1 < seen.len() {
            seen.last().copied()
        } else {
            None
        };
        assert_eq!(next(&mut back).await, rest);
    }
    house.end().await;
}

#[tokio::test]
async fn a_follower_of_a_cancelled_task_sees_its_end() {
    let house = House::by_hand(config());
    house.pool.all_up();
    let id = house.submitted("1").await;
    let mut following = house.engine.follow(id, Place::default());
    let job = house.pool.next_job().await;
    while next(&mut following).await.unwrap().0 != State::Started {}
    house.engine.cancel(id).await.unwrap();
    assert_eq!(next(&mut following).await.unwrap().0, State::Revoked);
    assert_eq!(next(&mut following).await, None);
    house.pool.finish(job.batch, echo(job.items));
    house.end().await;
}

#[tokio::test]
async fn a_follower_of_nothing_is_told_so_and_a_stop_ends_them_all() {
    let house = House::by_hand(config());
    let nobody = house
        .engine
        .follow(TaskId::fresh(), Place::default())
        .next()
        .await;
    assert!(matches!(nobody, Err(EngineError::UnknownTask(_))));
    let id = house.submitted("1").await;
    let mut following = house.engine.follow(id, Place::default());
    assert_eq!(next(&mut following).await.unwrap().0, State::Pending);
    house.engine.drain();
    assert_eq!(next(&mut following).await, None);
    house.end().await;
}
