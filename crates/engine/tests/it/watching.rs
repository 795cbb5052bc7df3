//! What becomes of all tasks, for those who watch.

use cresset_engine::{WatchPlace, Watched, Watching};
use cresset_task::State;

use crate::house::{House, LONG, config, echo, model};

async fn next(watching: &mut Watching) -> Option<Watched> {
    tokio::time::timeout(LONG, watching.next())
        .await
        .expect("something comes")
}

async fn state(watching: &mut Watching) -> State {
    match next(watching).await {
        Some(Watched::Change(change)) => change.state,
        other => panic!("not a change but {other:?}"),
    }
}

#[tokio::test]
async fn who_watches_sees_what_becomes_of_each_task_and_who_comes_back_misses_nothing() {
    let house = House::automatic(config(), echo);
    house.submitted("0").await;
    let mut all = house.engine.watch_tasks(None, None, None);
    let mut ends = house
        .engine
        .watch_tasks(Some(model()), Some(State::Success), None);
    let mut others = house
        .engine
        .watch_tasks(Some("other".parse().unwrap()), None, None);
    let id = house.submitted("1").await;
    let Some(Watched::Change(change)) = next(&mut all).await else {
        panic!("it was submitted")
    };
    assert_eq!((change.id, change.state), (id, State::Pending));
    let was_here = all.place();
    house.pool.all_up();
    let mut states = Vec::new();
    while states.iter().filter(|state| **state == State::Success).count() < 2 {
        states.push(state(&mut all).await);
    }
    assert_eq!(states.iter().filter(|state| **state == State::Started).count(), 2);
    assert_eq!(state(&mut ends).await, State::Success);
    drop((all, ends));
    let mut back = house.engine.watch_tasks(None, None, Some(was_here));
    for wanted in states {
        assert_eq!(state(&mut back).await, wanted);
    }
    let elsewhere = WatchPlace {
        server: was_here.server - 1,
        ..was_here
    };
    let mut lost = house.engine.watch_tasks(None, None, Some(elsewhere));
    assert_eq!(next(&mut lost).await, Some(Watched::Gap(None)));
    house.engine.drain();
    assert_eq!(next(&mut others).await, None, "nothing was of that model");
    assert_eq!(next(&mut lost).await, None);
    drop((back, lost, others));
    assert_eq!(house.engine.residue().watchers, 0);
    house.end().await;
}
