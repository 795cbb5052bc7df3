//! Every way an instance can die or misbehave: the reason, the blame, the restart.

use std::time::Duration;

use crate::support::*;
use cresset_runner::{DownReason, Executor, InstanceState, JobEnd, PoolEvent, PoolState};
use cresset_task::Stage;

fn started(how: &'static str) -> Fixture {
    Fixture::new(move |dir| {
        let mut config = object_model(dir);
        set(&mut config, "FAKE_START", how);
        config
    })
}

async fn stop(it: Fixture) {
    it.stop(Duration::from_secs(5)).await;
}

#[tokio::test]
async fn an_exit_at_start_is_told_and_tried_again() {
    let mut it = started("exit");
    assert_eq!(it.pool.status().state, PoolState::Starting);
    assert_eq!(it.down().await, DownReason::Exited(3));
    let status = it.pool.status();
    assert_eq!(status.state, PoolState::Failed);
    assert_eq!(status.last_failure, Some(DownReason::Exited(3)));
    assert!(it.try_run(vec![json("1")]).is_err());
    assert_eq!(it.down().await, DownReason::Exited(3), "the second try");
    assert_eq!(it.pool.status().instances[0].restarts, 1);
    stop(it).await;
}

#[tokio::test]
async fn a_failed_start_carries_what_the_model_raised() {
    let mut it = started("failed");
    let DownReason::Start(failure) = it.down().await else {
        panic!()
    };
    assert_eq!(
        (failure.stage, failure.type_.as_str()),
        (Some(Stage::Load), "FileNotFoundError")
    );
    assert_eq!(failure.message, "no weights.pth (run train.py first)");
    let status = it.pool.status();
    assert!(
        matches!(&status.instances[0].state, InstanceState::Waiting { delay, .. } if *delay >= Duration::from_millis(80))
    );
    assert_eq!(status.instances[0].pid, None);
    stop(it).await;
}

#[tokio::test]
async fn an_instance_that_fails_and_does_not_go_is_made_to() {
    let mut it = started("failed_and_stays");
    assert!(matches!(it.down().await, DownReason::Start(f) if f.message == "no torch"));
    stop(it).await;
}

#[tokio::test]
async fn an_instance_that_never_gets_ready_is_killed() {
    let mut it = Fixture::new(|dir| {
        let mut config = object_model(dir);
        set(&mut config, "FAKE_START", "never");
        config.limits.start_timeout = Duration::from_millis(300);
        config
    });
    assert_eq!(
        it.down().await,
        DownReason::StartTimeout(Duration::from_millis(300))
    );
    stop(it).await;
}

#[tokio::test]
async fn nonsense_and_other_versions_are_refused_at_the_start() {
    let mut it = started("garbage");
    assert!(matches!(it.down().await, DownReason::Protocol(_)));
    stop(it).await;
    let mut it = started("version");
    let DownReason::Protocol(what) = it.down().await else {
        panic!()
    };
    assert_eq!(what, "it speaks version 1 of the protocol, we speak 2");
    stop(it).await;
}

#[tokio::test]
async fn a_missing_interpreter_is_named() {
    let mut it = Fixture::new(|dir| {
        let mut config = object_model(dir);
        config.environment.python = Some("/nonexistent/python".into());
        config
    });
    let DownReason::Spawn(why) = it.down().await else {
        panic!()
    };
    assert!(
        why.contains("/nonexistent/python") && why.contains("environment.python"),
        "{why}"
    );
    stop(it).await;
    let mut it = Fixture::new(|dir| {
        std::fs::write(dir.join("not-a-program"), "").unwrap();
        let mut config = object_model(dir);
        config.environment.python = Some(dir.join("not-a-program"));
        config
    });
    let DownReason::Spawn(why) = it.down().await else {
        panic!()
    };
    assert!(
        why.contains("not-a-program") && why.contains("ermission"),
        "{why}"
    );
    stop(it).await;
}

#[tokio::test]
async fn a_crash_in_a_batch_blames_that_batch_only_and_the_instance_comes_back() {
    let mut it = Fixture::new(object_model);
    it.up().await;
    assert_eq!(it.answer("1").await, "1");
    let first = it.pool.status().instances[0].pid;
    let jobs = [it.order(r#"{"do":"exit","status":7}"#), it.order("2")];
    it.lost(&jobs, |reason| *reason == DownReason::Exited(7)).await;
    assert_eq!(it.down().await, DownReason::Exited(7));
    it.up().await;
    assert_eq!(it.answer("3").await, "3");
    let status = it.pool.status();
    assert_eq!(
        (status.state, status.instances[0].restarts),
        (PoolState::Ready, 1)
    );
    assert_ne!(status.instances[0].pid, first);
    stop(it).await;
}

#[tokio::test]
async fn what_lies_behind_the_last_answer_of_a_lost_device_is_not_blamed() {
    let mut it = Fixture::new(object_model);
    it.up().await;
    let broken = it.order(r#"{"do":"last","seconds":0.05}"#);
    let behind = it.order("2");
    let (batch, end, _) = it.ended().await;
    assert!(matches!(end, JobEnd::Raised(_)), "{end:?}");
    assert_eq!(batch, broken);
    let (batch, end, _) = it.ended().await;
    assert_eq!(batch, behind);
    let JobEnd::Lost { reason, suspect, .. } = end else {
        panic!("{end:?}")
    };
    assert_eq!((reason, suspect), (DownReason::Exited(75), false));
    assert_eq!(it.down().await, DownReason::Exited(75));
    it.up().await;
    assert_eq!(it.answer("3").await, "3");
    stop(it).await;
}

#[tokio::test]
async fn the_first_restart_does_not_wait() {
    let mut it = Fixture::new(object_model);
    it.up().await;
    it.order(r#"{"do":"exit","status":1}"#);
    it.ended().await;
    it.down().await;
    let status = it.pool.status();
    if let InstanceState::Waiting { delay, .. } = &status.instances[0].state {
        assert_eq!(*delay, Duration::ZERO);
    }
    it.up().await;
    stop(it).await;
}

#[tokio::test]
async fn each_misbehaviour_in_a_batch_has_its_reason() {
    type Expected = fn(&DownReason) -> bool;
    let cases: [(&str, Expected); 12] = [
        (r#"{"do":"exit","status":0}"#, |r| *r == DownReason::Exited(0)),
        (r#"{"do":"signal","number":11}"#, |r| *r == DownReason::Signal(11)),
        (r#"{"do":"signal","number":9}"#, |r| *r == DownReason::Signal(9)),
        (
            r#"{"do":"garbage"}"#,
            |r| matches!(r, DownReason::Protocol(what) if what.contains("frame kind 255")),
        ),
        (
            r#"{"do":"too_long"}"#,
            |r| matches!(r, DownReason::Protocol(what) if what.contains("over the limit")),
        ),
        (
            r#"{"do":"wrong_seq"}"#,
            |r| matches!(r, DownReason::Protocol(what) if what.contains("was next")),
        ),
        (
            r#"{"do":"wrong_kind"}"#,
            |r| matches!(r, DownReason::Protocol(what) if what.contains("PONG")),
        ),
        (
            r#"{"do":"close"}"#,
            |r| matches!(r, DownReason::Protocol(what) if what.contains("closed")),
        ),
        (r#"{"do":"close_and_exit"}"#, |r| *r == DownReason::Exited(5)),
        (r#"{"do":"half_frame"}"#, |r| *r == DownReason::Exited(6)),
        (r#"{"do":"grandchild"}"#, |r| *r == DownReason::Exited(7)),
        (
            r#"{"do":"hang"}"#,
            |r| matches!(r, DownReason::Hung(limit) if *limit == Duration::from_secs(3)),
        ),
    ];
    for (order, expected) in cases {
        let mut it = Fixture::new(|dir| {
            let mut config = object_model(dir);
            config.limits.timeout = Duration::from_secs(3);
            config
        });
        it.up().await;
        let pid = it.pool.status().instances[0].pid.unwrap();
        let jobs = [it.order(order), it.order("2")];
        it.lost(&jobs, expected).await;
        assert!(expected(&it.down().await), "{order}");
        assert!(!is_alive(pid), "{order}");
        it.up().await;
        stop(it).await;
    }
}

#[tokio::test]
async fn a_death_leaves_its_last_lines_and_the_memory_it_had() {
    for (order, reason) in [
        (
            r#"{"do":"exit","status":3,"say":"about to leave"}"#,
            DownReason::Exited(3),
        ),
        (
            r#"{"do":"hang","say":"about to leave"}"#,
            DownReason::Hung(Duration::from_secs(1)),
        ),
    ] {
        let mut it = Fixture::new(|dir| {
            let mut config = object_model(dir);
            config.limits.timeout = Duration::from_secs(1);
            config
        });
        it.up().await;
        it.order(order);
        it.order("2");
        let (_, end, _) = it.ended().await;
        let JobEnd::Lost {
            reason: why,
            suspect: true,
            scene: Some(scene),
        } = end
        else {
            panic!("{end:?}")
        };
        assert_eq!(why, reason);
        assert_eq!(
            scene.last_lines.last().map(String::as_str),
            Some("about to leave")
        );
        // A Python that does nothing has some megabytes.
        assert!(
            scene.resident_bytes.is_some_and(|bytes| bytes > 1 << 20),
            "{scene:?}"
        );
        let (_, end, _) = it.ended().await;
        assert!(
            matches!(
                end,
                JobEnd::Lost {
                    suspect: false,
                    scene: None,
                    ..
                }
            ),
            "{end:?}"
        );
        stop(it).await;
    }
}

#[tokio::test]
async fn an_answer_written_before_the_death_counts_though_a_grandchild_keeps_the_channel_open() {
    let mut it = Fixture::new(object_model);
    it.up().await;
    let jobs = [it.order(r#"{"do":"answer_then_die"}"#), it.order("2")];
    let (batch, end, _) = it.ended().await;
    assert_eq!(batch, jobs[0]);
    assert!(matches!(end, JobEnd::Items(_)), "{end:?}");
    let (batch, end, _) = it.ended().await;
    assert_eq!(batch, jobs[1]);
    assert!(
        matches!(
            end,
            JobEnd::Lost {
                reason: DownReason::Exited(8),
                ..
            }
        ),
        "{end:?}"
    );
    assert_eq!(it.down().await, DownReason::Exited(8));
    stop(it).await;
}

#[tokio::test]
async fn time_behind_another_batch_does_not_count() {
    let mut it = Fixture::new(|dir| {
        let mut config = object_model(dir);
        config.limits.timeout = Duration::from_secs(3);
        config
    });
    it.up().await;
    // Together longer than the limit; each alone within it.
    let jobs = [
        it.order(r#"{"do":"sleep","seconds":1.6}"#),
        it.order(r#"{"do":"sleep","seconds":1.6}"#),
    ];
    for job in jobs {
        let (batch, end, timing) = it.ended().await;
        assert_eq!(batch, job);
        assert!(matches!(end, JobEnd::Items(_)), "{end:?}");
        // The second may have begun a little before the answer of the first was read.
        assert!((1000..3000).contains(&timing.compute.as_millis()), "{timing:?}");
    }
    stop(it).await;
}

#[tokio::test]
async fn floods_on_stdout_harm_nobody() {
    let mut it = Fixture::new(object_model);
    it.up().await;
    assert_eq!(it.answer(r#"{"do":"flood","bytes":20000000}"#).await, "\"flood\"");
    assert_eq!(it.answer(r#"{"do":"print","lines":50000}"#).await, "\"print\"");
    stop(it).await;
    let mut it = started("notes");
    it.up().await;
    stop(it).await;
}

#[tokio::test]
async fn a_crash_loop_opens_the_breaker_though_an_instance_is_up() {
    let mut it = Fixture::new(object_model);
    for death in 0..5 {
        it.up().await;
        let state = it.pool.status().state;
        assert_eq!(state, PoolState::Ready, "after {death} deaths");
        it.order(r#"{"do":"exit","status":1}"#);
        it.ended().await;
        it.down().await;
    }
    it.up().await;
    assert_eq!(it.pool.status().state, PoolState::Degraded);
    assert_eq!(it.answer("1").await, "1");
    stop(it).await;
}

#[tokio::test]
async fn death_right_after_ready_is_an_ordinary_death() {
    let mut it = started("exit_when_ready");
    // It may be seen ready or not; it dies either way, and says how.
    let reason = loop {
        match it.next().await {
            PoolEvent::Down { reason, .. } => break reason,
            PoolEvent::Up { .. } => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(reason, DownReason::Exited(4));
    stop(it).await;
}
