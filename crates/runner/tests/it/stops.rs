//! Stopping: jobs in hand are finished, nobody is left.

use std::time::{Duration, Instant};

use crate::support::*;
use cresset_runner::{DownReason, Executor, InstanceState, JobEnd, PoolEvent, PoolState};

fn ends(events: &[PoolEvent]) -> Vec<&JobEnd> {
    events
        .iter()
        .filter_map(|e| {
            if let PoolEvent::Ended { end, .. } = e {
                Some(end)
            } else {
                None
            }
        })
        .collect()
}

#[tokio::test]
async fn a_stop_finishes_the_jobs_in_hand_and_takes_no_more() {
    let mut it = Fixture::new(object_model);
    it.up().await;
    let pid = it.pool.status().instances[0].pid.unwrap();
    it.order(r#"{"do":"sleep","seconds":0.2}"#);
    it.order("2");
    let pool = it.pool.clone();
    let events = it.stop(Duration::from_secs(20)).await;
    assert!(
        matches!(ends(&events)[..], [JobEnd::Items(_), JobEnd::Items(_)]),
        "{events:?}"
    );
    assert!(matches!(
        events.last(),
        Some(PoolEvent::Down {
            reason: DownReason::Stopped,
            ..
        })
    ));
    assert!(!is_alive(pid));
    assert_eq!(pool.status().state, PoolState::Stopped);
    assert_eq!(pool.status().instances[0].state, InstanceState::Stopped);
    pool.stop(Duration::ZERO).await; // again, at once
}

#[tokio::test]
async fn past_the_grace_jobs_are_lost_without_blame() {
    let mut it = Fixture::new(object_model);
    it.up().await;
    it.order(r#"{"do":"hang"}"#);
    it.order("2");
    let began = Instant::now();
    let events = it.stop(Duration::from_millis(100)).await;
    assert!(began.elapsed() < Duration::from_secs(5));
    let lost = JobEnd::Lost {
        reason: DownReason::Stopped,
        suspect: false,
        scene: None,
    };
    assert_eq!(ends(&events), [&lost, &lost]);
}

#[tokio::test]
async fn an_instance_that_ignores_everything_is_killed() {
    let mut it = Fixture::new(|dir| {
        let mut config = object_model(dir);
        set(&mut config, "FAKE_START", "ignore_term");
        config
    });
    it.up().await;
    let pid = it.pool.status().instances[0].pid.unwrap();
    let events = it.stop(Duration::from_millis(100)).await;
    assert!(
        matches!(
            events[..],
            [PoolEvent::Down {
                reason: DownReason::Stopped,
                ..
            }]
        ),
        "{events:?}"
    );
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn a_stop_while_starting_or_waiting_does_not_wait() {
    for how in ["never", "exit"] {
        let mut it = Fixture::new(move |dir| {
            let mut config = object_model(dir);
            set(&mut config, "FAKE_START", how);
            config
        });
        if how == "exit" {
            for _ in 0..3 {
                it.down().await;
            }
        }
        let began = Instant::now();
        let pool = it.pool.clone();
        it.stop(Duration::from_secs(60)).await;
        assert!(began.elapsed() < Duration::from_secs(5), "{how}");
        assert_eq!(pool.status().state, PoolState::Stopped);
    }
}

#[tokio::test]
async fn killing_does_not_wait_for_jobs() {
    let mut it = Fixture::new(object_model);
    it.up().await;
    it.order(r#"{"do":"hang"}"#);
    it.kill.cancel();
    let (_, end, _) = it.ended().await;
    assert_eq!(
        end,
        JobEnd::Lost {
            reason: DownReason::Stopped,
            suspect: false,
            scene: None,
        }
    );
    assert_eq!(it.down().await, DownReason::Stopped);
    it.stop(Duration::from_secs(60)).await;
}

#[tokio::test]
async fn a_crash_while_stopping_is_still_a_crash_for_its_job() {
    let mut it = Fixture::new(object_model);
    it.up().await;
    it.order(r#"{"do":"sleep","seconds":0.2}"#);
    it.order(r#"{"do":"exit","status":9}"#);
    let events = it.stop(Duration::from_secs(20)).await;
    let [
        JobEnd::Items(_),
        JobEnd::Lost {
            reason: DownReason::Exited(9),
            suspect: true,
            ..
        },
    ] = ends(&events)[..]
    else {
        panic!("{events:?}");
    };
}
