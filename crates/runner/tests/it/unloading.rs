//! A pool that is told that there is no work: its processes end in order, and come back when there is some.
#![expect(clippy::panic, reason = "helpers of tests")]

use std::time::{Duration, Instant};

use crate::support::*;
use cresset_runner::{DownReason, Executor, InstanceState, ItemEnd, JobEnd, PoolEvent, PoolState};
use cresset_task::InstanceId;

fn started_as(starts: &'static str) -> Fixture {
    Fixture::new(move |dir| {
        let mut config = object_model(dir);
        set(&mut config, "FAKE_STARTS", starts);
        config
    })
}

/// The state of the pool, and of its first instance.
fn states(it: &Fixture) -> (PoolState, InstanceState) {
    let mut status = it.pool.status();
    (status.state, status.instances.swap_remove(0).state)
}

/// Reads the states until they are these; no event tells them.
async fn until(it: &Fixture, state: PoolState, instance: InstanceState) {
    let end = tokio::time::Instant::now() + Duration::from_secs(30);
    while states(it) != (state, instance.clone()) {
        assert!(tokio::time::Instant::now() < end, "{:?}", it.pool.status());
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn unloaded(it: &mut Fixture) {
    it.pool.unload();
    assert_eq!(it.down().await, DownReason::Unloaded);
    assert_eq!(states(it), (PoolState::Unloaded, InstanceState::Unloaded));
}

#[tokio::test]
async fn processes_end_in_order_and_come_back_for_work() {
    let mut it = started_as("{}");
    it.up().await;
    for round in 1..=3 {
        let pid = it.pool.status().instances[0].pid.unwrap();
        unloaded(&mut it).await;
        assert!(!is_alive(pid));
        assert_eq!(it.pool.status().instances[0].pid, None);
        assert!(it.try_run(vec![json("1")]).is_err(), "nobody is there");
        it.pool.unload();
        it.pool.load();
        it.up().await;
        assert_eq!(it.answer("2").await, "2", "round {round}");
    }
    let status = it.pool.status();
    assert_eq!((status.state, status.last_failure), (PoolState::Ready, None));
    assert_eq!(status.instances[0].restarts, 0, "nothing died");
    it.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn what_is_in_hand_is_finished_first() {
    let mut it = started_as("{}");
    it.up().await;
    let jobs = [it.order(r#"{"do":"sleep","seconds":0.3}"#), it.order("1")];
    it.pool.unload();
    for job in jobs {
        let (ended, end, _) = it.ended().await;
        assert_eq!(ended, job);
        assert!(
            matches!(&end, JobEnd::Items(ends) if matches!(&ends[..], [ItemEnd::Done(_)])),
            "{end:?}"
        );
    }
    assert_eq!(it.down().await, DownReason::Unloaded);
    it.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn one_that_ends_while_there_is_work_again_is_followed_at_once() {
    let mut it = started_as("{}");
    it.up().await;
    let slow = it.order(r#"{"do":"sleep","seconds":0.3}"#);
    it.pool.unload();
    until(&it, PoolState::Unloaded, InstanceState::Unloaded).await;
    assert!(it.try_run(vec![json("1")]).is_err(), "it takes no more");
    it.pool.load();
    assert_eq!(it.pool.status().state, PoolState::Loading);
    assert_eq!(it.answer_of(slow).await, None);
    assert_eq!(it.down().await, DownReason::Unloaded);
    it.up().await;
    assert_eq!(it.answer("2").await, "2");
    it.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn a_load_that_fails_is_told_as_any_other() {
    let mut it = started_as(r#"{"2":"failed","3":"exit","4":"gate"}"#);
    it.up().await;
    unloaded(&mut it).await;
    it.pool.load();
    assert_eq!(it.pool.status().state, PoolState::Loading);
    assert_eq!(it.down().await.label(), "start");
    let (state, instance) = states(&it);
    assert_eq!(state, PoolState::Failed);
    assert!(
        matches!(&instance, InstanceState::Waiting { delay, .. } if !delay.is_zero()),
        "{instance:?}"
    );
    assert_eq!(it.down().await.label(), "exit");
    until(&it, PoolState::Failed, InstanceState::Starting).await;
    std::fs::write(it.model.join("go"), "").unwrap();
    it.up().await;
    assert_eq!(it.pool.status().instances[0].restarts, 2);
    assert_eq!(it.answer("2").await, "2");
    it.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn one_that_dies_after_it_was_loaded_again_is_down_and_restarted() {
    let mut it = started_as(r#"{"3":"gate"}"#);
    it.up().await;
    unloaded(&mut it).await;
    it.pool.load();
    it.up().await;
    let batch = it.order(r#"{"do":"exit","status":9}"#);
    it.lost(&[batch], |why| *why == DownReason::Exited(9)).await;
    assert_eq!(it.down().await, DownReason::Exited(9));
    until(&it, PoolState::Down, InstanceState::Starting).await;
    it.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn one_that_loads_is_stopped_and_so_is_one_that_waits_after_a_death() {
    for how in [
        r#"{"1":"gate"}"#,
        r#"{"1":"exit","2":"exit","3":"exit","4":"exit"}"#,
    ] {
        let mut it = started_as(how);
        if how.contains("exit") {
            assert_eq!(it.down().await.label(), "exit");
        }
        it.pool.unload();
        until(&it, PoolState::Unloaded, InstanceState::Unloaded).await;
        std::fs::write(it.model.join("go"), "").unwrap();
        let said = it.stop(Duration::from_secs(5)).await;
        let is_death =
            |event: &PoolEvent| matches!(event, PoolEvent::Down { reason, .. } if reason.label() == "exit");
        assert!(
            said.iter().all(is_death),
            "none was up that could be unloaded: {said:?}"
        );
    }
}

#[tokio::test]
async fn a_stop_while_it_is_unloaded_or_loads_is_in_order() {
    for load in [false, true] {
        let mut it = started_as(r#"{"2":"gate"}"#);
        it.up().await;
        unloaded(&mut it).await;
        if load {
            it.pool.load();
            until(&it, PoolState::Loading, InstanceState::Starting).await;
        }
        let pool = it.pool.clone();
        let said = it.stop(Duration::from_secs(5)).await;
        assert!(
            said.iter().all(|event| matches!(
                event,
                PoolEvent::Down {
                    reason: DownReason::Stopped,
                    ..
                }
            )),
            "{said:?}"
        );
        assert_eq!(pool.status().state, PoolState::Stopped);
        pool.unload();
        pool.load();
        assert_eq!(pool.status().state, PoolState::Stopped);
    }
}

#[tokio::test]
async fn one_that_does_not_leave_is_made_to() {
    let mut it = Fixture::new(|dir| {
        let mut config = object_model(dir);
        set(&mut config, "FAKE_START", "ignore_term");
        config
    });
    it.up().await;
    it.pool.unload();
    until(&it, PoolState::Unloaded, InstanceState::Unloaded).await;
    let pid = it.pool.status().instances[0].pid.unwrap();
    assert!(is_alive(pid), "it is told, and ignores it");
    assert_eq!(it.down().await, DownReason::Unloaded);
    assert!(!is_alive(pid));
    it.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn all_instances_go_and_come_back() {
    let mut it = Fixture::new(|dir| {
        let mut config = object_model(dir);
        config.instances.count = 3;
        config
    });
    for _ in 0..2 {
        for _ in 0..3 {
            it.up().await;
        }
        it.pool.unload();
        for _ in 0..3 {
            assert_eq!(it.down().await, DownReason::Unloaded);
        }
        assert_eq!(it.pool.status().state, PoolState::Unloaded);
        it.pool.load();
    }
    it.stop(Duration::from_secs(5)).await;
}

/// Two instances that are replaced after every item, a model that is unloaded and loaded at every moment there is, and
/// jobs all the while: each ends well or is not taken, and in the end both are up.
#[tokio::test]
async fn at_whatever_moment_it_happens_no_job_is_lost_and_all_come_back() {
    let began = Instant::now();
    let mut it = Fixture::new(|dir| {
        let mut config = object_model(dir);
        config.instances.count = 2;
        config.instances.max_tasks = Some(1);
        config
    });
    let (mut up, mut held, mut done) = ([false; 2], Vec::new(), 0);
    while !up[0] {
        let event = it.next().await;
        follow(event, &mut up, &mut held, &mut done);
    }
    let start = began.elapsed().as_micros() as u64;
    let mut moment = 1_u64;
    for round in 0..36 {
        // Moments up to the time of two starts, in no order.
        moment = moment * 48_271 % 2_147_483_647;
        let wait = tokio::time::sleep(Duration::from_micros(moment % (2 * start)));
        tokio::pin!(wait);
        match round % 3 {
            0 => it.pool.unload(),
            1 => it.pool.load(),
            _ => {
                // Within one moment, so that some see none of it.
                it.pool.unload();
                it.pool.load();
            }
        }
        loop {
            for instance in [0, 1].map(InstanceId) {
                if let Ok(batch) = it.try_order_to(instance, "1") {
                    held.push(batch);
                }
            }
            let event = tokio::select! {
                event = it.events.recv() => event.unwrap(),
                () = &mut wait => break,
            };
            follow(event, &mut up, &mut held, &mut done);
        }
    }
    it.pool.load();
    while !(up[0] && up[1] && held.is_empty()) {
        let event = it.next().await;
        follow(event, &mut up, &mut held, &mut done);
    }
    assert!(done > 5, "{done}");
    let recycled = |it: &Fixture| [0, 1].map(|at| it.pool.status().instances[at].recycled);
    let before = recycled(&it);
    for instance in [0, 1].map(InstanceId) {
        held.push(it.try_order_to(instance, "1").unwrap());
    }
    // What is worn is replaced still.
    while !(held.is_empty() && recycled(&it)[0] > before[0] && recycled(&it)[1] > before[1]) {
        let event = it.next().await;
        follow(event, &mut up, &mut held, &mut done);
    }
    let status = it.pool.status();
    assert_eq!((status.state, status.last_failure), (PoolState::Ready, None));
    it.stop(Duration::from_secs(10)).await;
}

fn follow(event: PoolEvent, up: &mut [bool; 2], held: &mut Vec<cresset_task::BatchId>, done: &mut usize) {
    match event {
        PoolEvent::Up { instance, .. } => up[instance.0 as usize] = true,
        PoolEvent::Down { instance, reason } => {
            assert_eq!(reason, DownReason::Unloaded);
            assert!(
                std::mem::replace(&mut up[instance.0 as usize], false),
                "it was up"
            );
        }
        PoolEvent::Ended { batch, end, .. } => {
            assert!(matches!(end, JobEnd::Items(_)), "{end:?}");
            assert!(held.contains(&batch), "each ends once");
            held.retain(|other| *other != batch);
            *done += 1;
        }
        PoolEvent::Recycled { end, .. } => assert_eq!(end, DownReason::Stopped),
        PoolEvent::TakenOver { .. } => {}
        PoolEvent::NotReplaced { .. }
        | PoolEvent::Progress { .. }
        | PoolEvent::Chunks { .. }
        | PoolEvent::Logs { .. } => {
            panic!("{event:?}")
        }
    }
}
