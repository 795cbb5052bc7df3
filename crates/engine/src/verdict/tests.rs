//! Each way in which a job ends, for batches of several sizes.

use std::time::Duration;

use bytes::Bytes;
use cresset_batch::{Class, Turn};
use cresset_task::{Attempt, TaskId, Timestamp};

use super::*;
use crate::item::{Leased, Origin};

fn entries(n: usize) -> Vec<Entry<Item>> {
    let now = Timestamp::from_micros(0);
    let origin = || {
        Origin::Queue(Leased {
            id: TaskId::fresh(),
            attempt: Attempt(1),
            created_at: now,
            leased_at: now,
            priority: 0,
            line: 0,
            retries: 0,
            cache: Default::default(),
            retry: None,
            unborn: None,
        })
    };
    let entry = |i: usize| Entry {
        item: Item::new(Payload::Json(Bytes::from(i.to_string())), origin()),
        bytes: 1,
        cost: 1,
        bucket: 0,
        length: 0,
        class: Class::Bulk,
        turn: Turn::bulk(Duration::ZERO, 0, 0, Duration::ZERO),
        arrived: Duration::ZERO,
        deadline: None,
    };
    (0..n).map(entry).collect()
}

fn boom() -> Failure {
    Failure::new(Code::ModelError, "ValueError", "boom")
}

fn sizes(verdict: &Verdict) -> Vec<usize> {
    verdict.again.iter().map(Vec::len).collect()
}

#[test]
fn what_another_server_has_found_to_be_a_poison_is_one() {
    let evidence = Evidence {
        cause: "exit".into(),
        reason: "exited with status 3".into(),
        tried: 2,
        resident_bytes: None,
        log: vec!["about to".into()],
    };
    let failure = Failure {
        again: Again::Dead(Box::new(evidence.clone())),
        ..boom()
    };
    let verdict = judge(entries(1), JobEnd::Items(vec![ItemEnd::Failed(failure)]), 3);
    let Resolution::Dead(failure, found) = &verdict.resolved[0].1 else {
        panic!("{verdict:?}");
    };
    assert_eq!((failure, &**found), (&boom(), &evidence));
}

#[test]
fn each_item_gets_its_own_end() {
    let done = ItemEnd::Done(Payload::Json(Bytes::from_static(b"1")));
    let verdict = judge(entries(2), JobEnd::Items(vec![done, ItemEnd::Failed(boom())]), 3);
    assert!(matches!(verdict.resolved[0].1, Resolution::Done(_)));
    assert!(matches!(&verdict.resolved[1].1, Resolution::Failed(f) if f.message == "boom"));
    assert!(verdict.again.is_empty());
}

#[test]
fn a_batch_that_raises_is_split_until_the_culprit_stands_alone() {
    let verdict = judge(entries(5), JobEnd::Raised(boom()), 3);
    assert_eq!(sizes(&verdict), vec![2, 3]);
    let alone = judge(entries(1), JobEnd::Raised(boom()), 3);
    assert!(matches!(&alone.resolved[0].1, Resolution::Failed(f) if f.type_ == "ValueError"));
}

#[test]
fn an_item_fails_only_when_it_alone_took_its_instance_down_often_enough() {
    let scene = Scene {
        resident_bytes: Some(1 << 30),
        last_lines: vec!["loading".into(), "about to exit".into()],
    };
    let end = || JobEnd::Lost {
        reason: DownReason::Exited(3),
        suspect: true,
        scene: Some(Box::new(scene.clone())),
    };
    let mut again = judge(entries(2), end(), 3).again;
    assert_eq!(again.len(), 2);
    again = judge(again.remove(0), end(), 3).again;
    assert_eq!(again[0][0].item.blame, 2);
    let verdict = judge(again.remove(0), end(), 3);
    let Resolution::Dead(failure, evidence) = &verdict.resolved[0].1 else {
        panic!("it should have failed")
    };
    let wanted = Evidence {
        cause: "exit".into(),
        reason: "exited with status 3".into(),
        tried: 3,
        resident_bytes: Some(1 << 30),
        log: scene.last_lines.clone(),
    };
    assert_eq!(**evidence, wanted);
    assert_eq!(failure.code, Code::InstanceDied);
    assert_eq!(
        failure.message,
        "the model process exited with status 3 while running this task; it was tried 3 times"
    );
}

#[test]
fn kills_from_outside_are_forgiven_for_long_but_not_for_ever() {
    let end = || JobEnd::Lost {
        reason: DownReason::Signal(SIGKILL),
        suspect: true,
        scene: None,
    };
    let mut again = vec![entries(1)];
    for _ in 1..3 * KILLS_FORGIVEN {
        again = judge(again.remove(0), end(), 3).again;
        assert_eq!(again.len(), 1);
    }
    let verdict = judge(again.remove(0), end(), 3);
    assert!(matches!(&verdict.resolved[0].1, Resolution::Dead(f, _) if f.code == Code::InstanceDied));
}

#[test]
fn a_kill_from_outside_does_not_finish_off_who_was_in_batches_with_a_guilty_one() {
    let mut alone = entries(1);
    alone[0].item.blame = 3;
    let end = JobEnd::Lost {
        reason: DownReason::Signal(SIGKILL),
        suspect: true,
        scene: None,
    };
    assert_eq!(sizes(&judge(alone, end, 3)), [1]);
}

#[test]
fn a_batch_behind_the_guilty_one_is_not_blamed_and_not_split() {
    let verdict = judge(
        entries(4),
        JobEnd::Lost {
            reason: DownReason::Signal(9),
            suspect: false,
            scene: None,
        },
        1,
    );
    assert_eq!(sizes(&verdict), vec![4]);
    assert_eq!(verdict.again[0][0].item.blame, 0);
}

/// Five, of which the second and the last are not wanted.
fn some_unwanted() -> Vec<Entry<Item>> {
    let mut five = entries(5);
    five[1].item.unwanted = true;
    five[4].item.unwanted = true;
    five
}

#[test]
fn of_a_skipped_item_nothing_is_recorded() {
    let done = || ItemEnd::Done(Payload::Json(Bytes::from_static(b"1")));
    let ends = vec![done(), ItemEnd::Skipped, done(), done(), ItemEnd::Skipped];
    let verdict = judge(some_unwanted(), JobEnd::Items(ends), 3);
    assert_eq!((verdict.resolved.len(), verdict.again.len()), (3, 0));
}

#[test]
fn skipping_what_is_wanted_is_the_runners_fault() {
    let ends = || JobEnd::Items(vec![ItemEnd::Skipped; 5]);
    let verdict = judge(entries(5), ends(), 3);
    assert_eq!((verdict.resolved.len(), sizes(&verdict)), (0, vec![2, 3]));
    let alone = judge(entries(1), JobEnd::Items(vec![ItemEnd::Skipped]), 3);
    assert!(matches!(&alone.resolved[0].1, Resolution::Failed(f) if f.code == Code::Internal));
}

#[test]
fn who_was_in_a_batch_that_was_given_up_runs_once_more_without_blame() {
    let verdict = judge(some_unwanted(), JobEnd::GivenUp(boom()), 1);
    assert_eq!((verdict.resolved.len(), sizes(&verdict)), (0, vec![3]));
    let inputs = |group: &[Entry<Item>]| -> Vec<_> { group.iter().map(|e| e.item.payload.clone()).collect() };
    let five = inputs(&entries(5));
    let wanted = [0, 2, 3].map(|n| five[n].clone());
    assert_eq!(inputs(&verdict.again[0]), wanted);
    assert_eq!(verdict.again[0][0].item.blame, 0);
}

#[test]
fn a_batch_that_is_given_up_for_nothing_has_raised() {
    assert_eq!(sizes(&judge(entries(5), JobEnd::GivenUp(boom()), 3)), vec![2, 3]);
    let alone = judge(entries(1), JobEnd::GivenUp(boom()), 3);
    assert!(matches!(&alone.resolved[0].1, Resolution::Failed(f) if f.type_ == "ValueError"));
}

#[test]
fn what_nobody_wants_is_never_run_again() {
    for end in [
        JobEnd::Raised(boom()),
        JobEnd::Lost {
            reason: DownReason::Exited(3),
            suspect: true,
            scene: None,
        },
        JobEnd::Lost {
            reason: DownReason::Cancelled(Duration::ZERO),
            suspect: false,
            scene: None,
        },
    ] {
        let verdict = judge(some_unwanted(), end, 3);
        assert_eq!(sizes(&verdict).iter().sum::<usize>(), 3);
    }
    let mut all = entries(2);
    all.iter_mut().for_each(|entry| entry.item.unwanted = true);
    assert!(judge(all, JobEnd::GivenUp(boom()), 3).again.is_empty());
}

#[test]
fn a_hang_is_a_time_limit() {
    let reason = DownReason::Hung(Duration::from_secs(1));
    let verdict = judge(
        entries(1),
        JobEnd::Lost {
            reason,
            suspect: true,
            scene: None,
        },
        1,
    );
    assert!(matches!(&verdict.resolved[0].1, Resolution::Dead(f, _) if f.code == Code::TimeLimit));
}
