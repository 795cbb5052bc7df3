use std::time::Duration;

use bytes::Bytes;
use cresset_task::Code;

use super::*;
use crate::metrics::Metrics;

const NOW: Moment = Duration::ZERO;
const CALL: Asker = Asker::Prediction;

fn cache() -> Arc<Cache> {
    let bounds = ResultCache {
        enabled: true,
        ..ResultCache::default()
    };
    Cache::new(bounds, Metrics::new().cache("echo"))
}

fn key() -> Key {
    Key::numbered(1)
}

fn one() -> Payload {
    Payload::Json(Bytes::from_static(b"1"))
}

fn task(line: i64, priority: i8) -> Asker {
    Asker::Task { line, priority }
}

fn begin(cache: &Arc<Cache>, asker: Asker) -> Begun {
    cache.begin(key(), asker, CacheUse::Allowed, NOW)
}

fn lead(cache: &Arc<Cache>, asker: Asker) -> Box<Lead> {
    match begin(cache, asker) {
        Begun::Lead(lead) => lead,
        Begun::Kept(_) | Begun::Follow(_) => panic!("it should have led"),
    }
}

fn follow(cache: &Arc<Cache>, asker: Asker) -> Follow {
    match begin(cache, asker) {
        Begun::Follow(follow) => follow,
        Begun::Kept(_) | Begun::Lead(_) => panic!("it should have followed"),
    }
}

fn is_kept(cache: &Arc<Cache>) -> bool {
    matches!(begin(cache, CALL), Begun::Kept(_))
}

#[tokio::test]
async fn all_followers_are_told_the_result_and_it_is_kept() {
    let cache = cache();
    let mut first = lead(&cache, CALL);
    assert!(!first.is_followed());
    let followers = [follow(&cache, CALL), follow(&cache, CALL)];
    assert!(first.is_followed());
    first.sent();
    first.done(&one(), NOW);
    for follower in followers {
        assert!(matches!(follower.end().await, Some(End::Done(output)) if output == one()));
    }
    assert!(is_kept(&cache));
}

#[tokio::test]
async fn a_failure_is_told_and_not_kept() {
    let cache = cache();
    let mut first = lead(&cache, CALL);
    let follower = follow(&cache, CALL);
    first.sent();
    first.failed(&Failure::new(Code::ModelError, "ValueError", "boom"));
    assert!(matches!(follower.end().await, Some(End::Failed(failure)) if failure.message == "boom"));
    lead(&cache, CALL);
}

#[tokio::test]
async fn the_followers_of_one_that_is_given_up_begin_again() {
    let cache = cache();
    let first = lead(&cache, CALL);
    let follower = follow(&cache, CALL);
    drop(first);
    assert!(follower.end().await.is_none());
    lead(&cache, CALL);
}

#[test]
fn what_was_sent_before_the_processes_changed_is_not_kept_and_not_followed() {
    let cache = cache();
    let mut old = lead(&cache, CALL);
    old.sent();
    cache.empty();
    let mut new = lead(&cache, CALL);
    old.done(&one(), NOW);
    // The end of the old one is nothing to the new one.
    let follower = follow(&cache, CALL);
    assert!(new.is_followed());
    new.sent();
    new.done(&one(), NOW);
    drop(follower);
    assert!(is_kept(&cache));
    cache.empty();
    assert!(!is_kept(&cache));
}

#[test]
fn what_waited_when_the_processes_changed_is_followed_and_kept() {
    let cache = cache();
    let mut first = lead(&cache, CALL);
    cache.empty();
    let _follows = follow(&cache, CALL);
    first.sent();
    first.done(&one(), NOW);
    assert!(is_kept(&cache));
}

#[test]
fn nobody_follows_one_that_has_its_turn_later() {
    let cache = cache();
    let waiting = lead(&cache, task(10, 0));
    let _later = follow(&cache, task(10, 0));
    // A prediction has its turn before a task that waits, and leads from now on.
    let prediction = lead(&cache, CALL);
    let _follows = follow(&cache, task(20, 0));
    let first_of_all = lead(&cache, task(5, 1));
    // Those that were overtaken go on for those who follow them, and are not found any more.
    drop((waiting, prediction));
    let _follows = follow(&cache, task(6, 0));
    drop(first_of_all);
}

#[test]
fn one_that_is_under_way_is_followed_by_anybody() {
    let cache = cache();
    let mut first = lead(&cache, task(10, -100));
    first.sent();
    follow(&cache, CALL);
    follow(&cache, task(-5, 100));
}

#[test]
fn whoever_wants_it_anew_leads_and_is_followed() {
    let cache = cache();
    let mut first = lead(&cache, CALL);
    first.sent();
    first.done(&one(), NOW);
    let Begun::Lead(mut anew) = cache.begin(key(), CALL, CacheUse::NoCache, NOW) else {
        panic!("it should have led");
    };
    anew.sent();
    anew.done(&Payload::Json(Bytes::from_static(b"2")), NOW);
    let Begun::Kept(output) = begin(&cache, CALL) else {
        panic!("it should be kept");
    };
    assert_eq!(output, Payload::Json(Bytes::from_static(b"2")));
}
