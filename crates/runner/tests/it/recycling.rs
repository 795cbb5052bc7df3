//! Worn instances are replaced: no gap, no lost job, and the old one stays when the new one does not come up.
#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use std::time::Duration;

use crate::support::*;
use cresset_runner::{
    DownReason, Executor, InstanceState, InstanceStatus, JobEnd, PoolEvent, PoolState, RecycleReason,
};
use cresset_task::{BatchId, InstanceId};

const SLEEP: &str = r#"{"do":"sleep","seconds":0.05}"#;
const LEAK: &str = r#"{"do":"leak","bytes":4000000}"#;

/// A model that is replaced after so many items, and how each of its processes starts.
fn worn_after(max_tasks: u64, starts: &'static str) -> Fixture {
    Fixture::new(move |dir| {
        let mut config = object_model(dir);
        config.instances.max_tasks = Some(max_tasks);
        set(&mut config, "FAKE_STARTS", starts);
        config
    })
}

fn open_gate(it: &Fixture) {
    std::fs::write(it.model.join("go"), "").unwrap();
}

fn first(it: &Fixture) -> InstanceStatus {
    it.pool.status().instances.swap_remove(0)
}

fn pid(it: &Fixture) -> u32 {
    first(it).pid.unwrap()
}

/// Reads the status until this holds; the pool needs no events to be received for what is waited for.
async fn until(it: &Fixture, what: impl Fn(&InstanceStatus) -> bool) -> InstanceStatus {
    let end = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let status = first(it);
        if what(&status) {
            return status;
        }
        assert!(tokio::time::Instant::now() < end, "{status:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn recycled(it: &mut Fixture) -> (RecycleReason, DownReason) {
    match it.next().await {
        PoolEvent::Recycled { reason, end, .. } => {
            assert_eq!(
                std::mem::take(&mut it.taken_over),
                1,
                "it is told when jobs begin to go to the fresh one"
            );
            (reason, end)
        }
        other => panic!("not recycled but {other:?}"),
    }
}

/// Keeps both seats busy with this order, as an engine does that holds two credits and knows of nothing else, until the
/// instance has been replaced. Every job ends well.
async fn busy_until_recycled(it: &mut Fixture, order: &str) -> RecycleReason {
    let mut held: Vec<BatchId> = (0..2).map(|_| it.order(order)).collect();
    let why = loop {
        match it.next().await {
            PoolEvent::Ended { batch, end, .. } => {
                assert!(matches!(end, JobEnd::Items(_)), "{end:?}");
                held.retain(|b| *b != batch);
                held.push(it.order(order));
            }
            PoolEvent::Recycled { reason, end, .. } => {
                assert_eq!(end, DownReason::Stopped);
                break reason;
            }
            other => panic!("{other:?}"),
        }
    };
    while !held.is_empty() {
        let (batch, end, _) = it.ended().await;
        assert!(matches!(end, JobEnd::Items(_)), "{end:?}");
        held.retain(|b| *b != batch);
    }
    why
}

#[tokio::test]
async fn an_instance_that_has_served_its_items_is_replaced_without_a_gap() {
    let mut it = worn_after(3, "{}");
    it.up().await;
    let before = pid(&it);
    let RecycleReason::Tasks(served) = busy_until_recycled(&mut it, SLEEP).await else {
        panic!("not for its items");
    };
    assert_eq!(served, 3);
    let status = first(&it);
    assert_ne!(status.pid, Some(before));
    assert!(!is_alive(before));
    assert_eq!((status.recycled >= 1, status.restarts), (true, 0));
    assert_eq!(it.pool.status().state, PoolState::Ready);
    it.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn an_instance_that_has_grown_too_large_is_replaced() {
    let mut it = Fixture::new(|dir| {
        let mut config = object_model(dir);
        config.instances.max_memory = Some(100 << 20);
        config
    });
    it.up().await;
    let RecycleReason::Memory(held) = busy_until_recycled(&mut it, LEAK).await else {
        panic!("not for its memory");
    };
    assert!(held >= 100 << 20, "{held}");
    assert!(first(&it).recycled >= 1);
    it.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn one_that_is_too_large_from_the_start_is_left_alone() {
    let mut it = Fixture::new(|dir| {
        let mut config = object_model(dir);
        config.instances.max_memory = Some(1 << 20);
        config
    });
    it.up().await;
    it.answer(r#"{"do":"sleep","seconds":0.5}"#).await;
    let status = first(&it);
    assert_eq!((status.recycled, status.replacement), (0, None));
    it.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_replacement_that_does_not_come_up_leaves_the_old_one_serving_and_is_tried_again() {
    let mut it = worn_after(1, r#"{"2":"failed","3":"exit","4":"gate"}"#);
    it.up().await;
    let before = pid(&it);
    it.answer("1").await;
    for failures in 1..=2 {
        match it.next().await {
            PoolEvent::NotReplaced { reason, .. } => {
                let expected = if failures == 1 { "start" } else { "exit" };
                assert_eq!(reason.label(), expected);
            }
            other => panic!("{other:?}"),
        }
        let status = first(&it);
        let replacement = status.replacement.unwrap();
        assert_eq!(replacement.failures, failures);
        assert!(replacement.last_failure.is_some());
        assert_eq!((status.pid, status.state), (Some(before), InstanceState::Ready));
        it.answer("2").await;
    }
    assert_eq!(it.pool.status().state, PoolState::Ready);
    open_gate(&it);
    assert_eq!(
        recycled(&mut it).await,
        (RecycleReason::Tasks(1), DownReason::Stopped)
    );
    let status = first(&it);
    assert_eq!((status.replacement, status.recycled), (None, 1));
    assert_ne!(status.pid, Some(before));
    it.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn an_instance_that_dies_while_its_replacement_loads_is_followed_by_it() {
    let mut it = worn_after(1, r#"{"2":"gate"}"#);
    it.up().await;
    it.answer("1").await;
    let status = until(&it, |s| s.replacement.as_ref().is_some_and(|r| r.pid.is_some())).await;
    let next = status.replacement.unwrap().pid;
    let batch = it.order(r#"{"do":"exit","status":9}"#);
    it.lost(&[batch], |why| *why == DownReason::Exited(9)).await;
    assert_eq!(it.down().await, DownReason::Exited(9));
    let status = until(&it, |s| s.state == InstanceState::Starting).await;
    assert_eq!((status.pid, status.replacement), (next, None));
    assert!(it.try_run(vec![json("1")]).is_err(), "nobody is up");
    open_gate(&it);
    it.up().await;
    let status = first(&it);
    assert_eq!((status.pid, status.restarts, status.recycled), (next, 1, 0));
    assert_eq!(it.answer("2").await, "2");
    it.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_replacement_that_dies_while_the_old_one_finishes_is_told_after_that() {
    let mut it = worn_after(1, r#"{"2":"gate"}"#);
    it.up().await;
    let before = pid(&it);
    it.answer("1").await;
    let slow = it.order(r#"{"do":"wait","for":"end"}"#);
    open_gate(&it);
    until(&it, |s| s.recycled == 1).await;
    let crash = it.order(r#"{"do":"exit","status":9}"#);
    it.lost(&[crash], |why| *why == DownReason::Exited(9)).await;
    assert!(is_alive(before), "the old one still has its job");
    std::fs::write(it.model.join("end"), "").unwrap();
    let (batch, end, _) = it.ended().await;
    assert_eq!(batch, slow);
    assert!(matches!(end, JobEnd::Items(_)), "{end:?}");
    assert_eq!(
        recycled(&mut it).await,
        (RecycleReason::Tasks(1), DownReason::Stopped)
    );
    assert_eq!(it.down().await, DownReason::Exited(9));
    it.up().await;
    assert_eq!(it.answer("2").await, "2");
    it.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn an_old_one_that_dies_over_its_last_job_is_a_death_and_no_gap() {
    let mut it = worn_after(1, r#"{"2":"gate"}"#);
    it.up().await;
    it.answer("1").await;
    it.order(r#"{"do":"sleep","seconds":0.5}"#);
    let crash = it.order(r#"{"do":"exit","status":9}"#);
    open_gate(&it);
    until(&it, |s| s.recycled == 1).await;
    it.ended().await;
    assert_eq!(it.answer_of(crash).await, Some(DownReason::Exited(9)));
    assert_eq!(
        recycled(&mut it).await,
        (RecycleReason::Tasks(1), DownReason::Exited(9))
    );
    assert_eq!(it.pool.status().last_failure, Some(DownReason::Exited(9)));
    assert_eq!(it.answer("2").await, "2");
    it.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_model_has_one_process_more_than_its_instances_at_most() {
    let mut it = Fixture::new(|dir| {
        let mut config = object_model(dir);
        config.instances.count = 2;
        config.instances.max_tasks = Some(1);
        set(&mut config, "FAKE_STARTS", r#"{"3":"gate","4":"gate"}"#);
        config
    });
    it.up().await;
    it.up().await;
    for instance in [0, 1].map(InstanceId) {
        it.order_to(instance, "1");
        it.ended().await;
    }
    let replacing = |it: &Fixture| {
        let instances = it.pool.status().instances;
        instances.iter().filter(|i| i.replacement.is_some()).count()
    };
    let end = tokio::time::Instant::now() + Duration::from_secs(30);
    while replacing(&it) == 0 {
        assert!(tokio::time::Instant::now() < end, "nothing is replaced");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Time enough for a second one to begin, if it could.
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(replacing(&it), 1);
    open_gate(&it);
    recycled(&mut it).await;
    recycled(&mut it).await;
    let counts: Vec<_> = it.pool.status().instances.iter().map(|i| i.recycled).collect();
    assert_eq!(counts, [1, 1]);
    it.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_stop_in_the_middle_leaves_nobody() {
    let mut it = worn_after(1, r#"{"2":"gate"}"#);
    it.up().await;
    it.answer("1").await;
    let status = until(&it, |s| s.replacement.as_ref().is_some_and(|r| r.pid.is_some())).await;
    let pids = [status.pid.unwrap(), status.replacement.unwrap().pid.unwrap()];
    it.order(SLEEP);
    let pool = it.pool.clone();
    let events = it.stop(Duration::from_secs(20)).await;
    assert!(
        matches!(
            events[..],
            [
                PoolEvent::Ended {
                    end: JobEnd::Items(_),
                    ..
                },
                PoolEvent::Down {
                    reason: DownReason::Stopped,
                    ..
                }
            ]
        ),
        "{events:?}"
    );
    assert_eq!(pids.map(is_alive), [false, false]);
    assert_eq!(pool.status().state, PoolState::Stopped);
}
