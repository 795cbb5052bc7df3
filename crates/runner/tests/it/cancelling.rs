//! Items that nobody wants any more: the process can see which, and is killed when it does not let go of a cancelled task.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::time::Duration;

use crate::support::*;
use cresset_runner::{DownReason, Executor, ItemEnd, JobEnd, PoolEvent, PoolState, Unwanted};
use cresset_task::{BatchId, Payload};

const GRACE: Duration = Duration::from_millis(200);
const UNTIL_MARKED: &str = r#"{"do":"until_marked"}"#;
const MARKS: &str = r#"{"do":"marks"}"#;

fn with_grace(grace: Option<Duration>) -> Fixture {
    Fixture::new(move |dir| {
        let mut config = object_model(dir);
        config.limits.cancel_grace = grace;
        config
    })
}

/// A batch of one order and as many plain items as make it so large.
fn order_among(it: &Fixture, order: &str, size: usize) -> BatchId {
    let plain = (1..size).map(|_| json("0"));
    it.run([json(order)].into_iter().chain(plain).collect())
}

/// Waits until the order is being followed.
async fn running(it: &Fixture) {
    let file = it.model.join("running");
    while !file.exists() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    std::fs::remove_file(file).unwrap();
}

/// The next event is this job's end; what the order's item gave.
async fn first_result(it: &mut Fixture, batch: BatchId) -> String {
    let (ended, end, _) = it.ended().await;
    assert_eq!(ended, batch);
    match end {
        JobEnd::Items(ends) => match &ends[0] {
            ItemEnd::Done(Payload::Json(text)) => String::from_utf8(text.to_vec()).unwrap(),
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_running_process_sees_which_items_are_not_wanted_and_the_next_batch_begins_clean() {
    let mut it = with_grace(None);
    it.up().await;
    for round in 0..3 {
        let batch = order_among(&it, UNTIL_MARKED, 3);
        running(&it).await;
        it.pool.cancel(FIRST, batch, 2, Unwanted::Cancelled);
        assert_eq!(first_result(&mut it, batch).await, "[0, 0, 1]", "round {round}");
        it.pool.cancel(FIRST, batch, 0, Unwanted::Cancelled);
        let batch = order_among(&it, MARKS, 3);
        assert_eq!(first_result(&mut it, batch).await, "[0, 0, 0]", "round {round}");
    }
    it.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn what_is_cancelled_before_it_is_sent_is_marked_when_it_is() {
    let mut it = with_grace(None);
    it.up().await;
    let before = it.order(r#"{"do":"sleep","seconds":0.2}"#);
    let batch = order_among(&it, MARKS, 3);
    it.pool.cancel(FIRST, batch, 1, Unwanted::HungUp);
    assert_eq!(first_result(&mut it, before).await, "\"sleep\"");
    assert_eq!(first_result(&mut it, batch).await, "[0, 1, 0]");
    it.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_tensor_model_has_a_board_too() {
    let mut it = Fixture::new(|dir| tensor_model(dir, &[4]));
    it.up().await;
    let batch = it.run(vec![floats("x", &[1.0; 4]); 2]);
    it.pool.cancel(FIRST, batch, 1, Unwanted::HungUp);
    let (ended, end, _) = it.ended().await;
    assert_eq!(ended, batch);
    assert!(matches!(end, JobEnd::Items(ends) if ends.len() == 2));
    it.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn skipped_items_and_batches_that_are_given_up_are_told_as_such() {
    let mut it = with_grace(None);
    it.up().await;
    it.run(vec![json(r#"{"do":"skip"}"#), json("1")]);
    let (_, end, _) = it.ended().await;
    assert!(
        matches!(&end, JobEnd::Items(ends) if matches!(&ends[..], [ItemEnd::Skipped, ItemEnd::Done(_)])),
        "{end:?}"
    );
    it.order(r#"{"do":"give_up"}"#);
    let (_, end, _) = it.ended().await;
    assert!(
        matches!(&end, JobEnd::GivenUp(failure) if failure.type_ == "Cancelled"),
        "{end:?}"
    );
    assert_eq!(it.answer("1").await, "1");
    it.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_process_that_does_not_let_go_is_killed_and_nobody_is_blamed_however_often() {
    let mut it = with_grace(Some(GRACE));
    for _ in 0..6 {
        it.up().await;
        let deaf = order_among(&it, r#"{"do":"hang"}"#, 2);
        let behind = it.order("2");
        it.pool.cancel(FIRST, deaf, 1, Unwanted::Cancelled);
        for batch in [deaf, behind] {
            let (ended, end, _) = it.ended().await;
            assert_eq!(ended, batch);
            let JobEnd::Lost {
                reason: DownReason::Cancelled(GRACE),
                suspect: false,
                scene: None,
            } = &end
            else {
                panic!("{end:?}")
            };
            assert_eq!(
                end.redelivery(),
                "the model process did not let go of a cancelled task within 200ms and was killed"
            );
        }
        assert_eq!(it.down().await, DownReason::Cancelled(GRACE));
    }
    it.up().await;
    let status = it.pool.status();
    assert_eq!((status.state, status.last_failure), (PoolState::Ready, None));
    assert_eq!(status.instances[0].restarts, 6);
    assert_eq!(it.answer("3").await, "3");
    it.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn callers_who_hang_up_kill_nothing_unless_nobody_is_left() {
    let mut it = with_grace(Some(GRACE));
    it.up().await;
    let batch = order_among(&it, r#"{"do":"sleep","seconds":0.6}"#, 2);
    it.pool.cancel(FIRST, batch, 1, Unwanted::HungUp);
    assert_eq!(first_result(&mut it, batch).await, "\"sleep\"");
    let batch = order_among(&it, r#"{"do":"hang"}"#, 2);
    it.pool.cancel(FIRST, batch, 1, Unwanted::HungUp);
    it.pool.cancel(FIRST, batch, 0, Unwanted::HungUp);
    assert_eq!(it.answer_of(batch).await, Some(DownReason::Cancelled(GRACE)));
    assert_eq!(it.down().await, DownReason::Cancelled(GRACE));
    it.up().await;
    it.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn while_a_process_is_replaced_the_batch_decides_which_of_the_two_is_meant() {
    let mut it = Fixture::new(|dir| {
        let mut config = object_model(dir);
        config.instances.max_tasks = Some(1);
        config.limits.cancel_grace = None;
        config
    });
    it.up().await;
    let quick = it.order("1");
    let slow = order_among(&it, UNTIL_MARKED, 2);
    assert_eq!(first_result(&mut it, quick).await, "1");
    while it.pool.status().instances[0].recycled == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    it.pool.cancel(FIRST, slow, 1, Unwanted::Cancelled);
    assert_eq!(first_result(&mut it, slow).await, "[0, 1]");
    assert!(matches!(it.next().await, PoolEvent::Recycled { .. }));
    it.stop(Duration::from_secs(5)).await;
}
