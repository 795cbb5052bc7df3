//! Cancelled while it runs: who is told of it, and what it costs the others.

use std::time::Duration;

use cresset_runner::testing::Held;
use cresset_runner::{DownReason, ItemEnd, JobEnd, Unwanted};
use cresset_task::{Code, InstanceId, Outcome, State, TaskId};

use crate::house::{House, LONG, config, echo, failure, text, until};

const FIRST: InstanceId = InstanceId(0);

/// Tasks with these inputs in one batch that an instance has.
async fn one_batch(house: &House, inputs: [&str; 3]) -> ([TaskId; 3], Held) {
    let mut ids = Vec::new();
    for input in inputs {
        ids.push(house.submitted(input).await);
    }
    house.pool.all_up();
    let held = house.pool.next_job().await;
    assert_eq!(held.items.iter().map(text).collect::<Vec<_>>(), inputs);
    (ids.try_into().unwrap(), held)
}

async fn state(house: &House, id: TaskId) -> State {
    house.engine.wait(id, LONG).await.unwrap().record.state
}

fn skip_second(held: Held) -> JobEnd {
    let ends = held.items.into_iter().enumerate().map(|(at, item)| match at {
        1 => ItemEnd::Skipped,
        _ => ItemEnd::Done(item),
    });
    JobEnd::Items(ends.collect())
}

#[tokio::test]
async fn the_process_is_told_of_the_right_item_once_and_what_it_skips_is_not_recorded() {
    let house = House::by_hand(config());
    let (ids, held) = one_batch(&house, ["1", "2", "3"]).await;
    let cancelled = house.engine.cancel(ids[1]).await.unwrap();
    assert_eq!(cancelled.grace, config().limits.cancel_grace);
    house.engine.cancel(ids[1]).await.unwrap();
    until(|| !house.pool.cancelled().is_empty()).await;
    assert_eq!(house.pool.cancelled(), [(held.batch, 1, Unwanted::Cancelled)]);
    house.pool.finish(held.batch, skip_second(held));
    assert_eq!(state(&house, ids[0]).await, State::Success);
    assert_eq!(state(&house, ids[2]).await, State::Success);
    assert_eq!(state(&house, ids[1]).await, State::Revoked);
    assert_eq!(house.pool.cancelled().len(), 1);
    let metrics = house.engine.render_metrics();
    assert!(
        metrics.contains("cresset_stale_completions_total{model=\"echo\"} 0"),
        "{metrics}"
    );
    house.end().await;
}

#[tokio::test]
async fn a_caller_who_hangs_up_is_told_to_the_process_that_computes_for_them() {
    let house = House::by_hand(config());
    house.pool.all_up();
    let call = house.predicting("1").await;
    let held = house.pool.next_job().await;
    call.abort();
    until(|| !house.pool.cancelled().is_empty()).await;
    assert_eq!(house.pool.cancelled(), [(held.batch, 0, Unwanted::HungUp)]);
    house
        .pool
        .finish(held.batch, JobEnd::Items(vec![ItemEnd::Skipped]));
    until(|| house.waiting() == 0).await;
    house.end().await;
}

#[tokio::test]
async fn a_runner_that_skips_what_nobody_cancelled_is_not_believed() {
    let house = House::by_hand(config());
    let (ids, held) = one_batch(&house, ["1", "2", "3"]).await;
    house.pool.finish(held.batch, skip_second(held));
    // In halves, as any batch whose results are wrong.
    for size in [1, 2] {
        let held = house.pool.next_job().await;
        assert_eq!(held.items.len(), size);
        let ends = match size {
            1 => echo(held.items.clone()),
            _ => skip_second(held.clone()),
        };
        house.pool.finish(held.batch, ends);
    }
    let good = house.pool.next_job().await;
    house.pool.finish(good.batch, echo(good.items));
    let bad = house.pool.next_job().await;
    house
        .pool
        .finish(bad.batch, JobEnd::Items(vec![ItemEnd::Skipped]));
    let record = house.engine.wait(ids[2], LONG).await.unwrap().record;
    assert!(
        matches!(&record.outcome, Some(Outcome::Failure(f)) if f.code == Code::Internal && f.message.contains("skipped")),
        "{record:?}"
    );
    assert_eq!(state(&house, ids[0]).await, State::Success);
    assert_eq!(state(&house, ids[1]).await, State::Success);
    house.end().await;
}

#[tokio::test]
async fn a_batch_that_is_given_up_runs_again_without_what_was_cancelled() {
    let house = House::by_hand(config());
    let (ids, held) = one_batch(&house, ["1", "2", "3"]).await;
    house.engine.cancel(ids[1]).await.unwrap();
    until(|| !house.pool.cancelled().is_empty()).await;
    house
        .pool
        .finish(held.batch, JobEnd::GivenUp(failure("the work was cancelled")));
    let again = house.pool.next_job().await;
    assert_eq!(again.items.iter().map(text).collect::<Vec<_>>(), ["1", "3"]);
    house.pool.finish(again.batch, echo(again.items));
    let record = house.engine.wait(ids[2], LONG).await.unwrap().record;
    assert_eq!((record.state, record.attempts.0), (State::Success, 2));
    assert_eq!(
        record.history[0].reason,
        "others of its batch were cancelled, and the model gave the batch up"
    );
    house.end().await;
}

#[tokio::test]
async fn a_killed_process_costs_the_others_no_blame_however_often() {
    let mut config = config();
    config.limits.max_attempts = 1;
    let house = House::by_hand(config);
    let (ids, _) = one_batch(&house, ["1", "2", "3"]).await;
    let behind = house.predicting("4").await;
    house.pool.next_job().await;
    let mut last = None;
    for (round, id) in ids[..2].iter().enumerate() {
        house.engine.cancel(*id).await.unwrap();
        until(|| house.pool.cancelled().len() == round + 1).await;
        house
            .pool
            .kill(FIRST, DownReason::Cancelled(Duration::from_secs(30)));
        house.pool.all_up();
        let both = [house.pool.next_job().await, house.pool.next_job().await];
        last = both
            .into_iter()
            .find(|held| held.items.iter().any(|item| text(item) == "3"));
    }
    let held = last.unwrap();
    assert_eq!(held.items.iter().map(text).collect::<Vec<_>>(), ["3"]);
    for held in house.pool.held(FIRST) {
        house.pool.finish(held.batch, echo(held.items));
    }
    let record = house.engine.wait(ids[2], LONG).await.unwrap().record;
    assert_eq!((record.state, record.attempts.0), (State::Success, 3));
    assert_eq!(
        record.history[1].reason,
        "the model process did not let go of a cancelled task within 30s and was killed"
    );
    assert!(behind.await.unwrap().is_ok());
    let metrics = house.engine.render_metrics();
    for counted in [
        "cresset_instance_restarts_total{model=\"echo\",reason=\"cancelled\"} 2",
        "cresset_dead_letters_total{model=\"echo\"} 0",
    ] {
        assert!(metrics.contains(counted), "{counted} is not in\n{metrics}");
    }
    house.end().await;
}
