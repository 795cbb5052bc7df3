//! Predictions of a model with a result cache: what is answered from it, and who waits for whom.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use cresset_config::ModelConfig;
use cresset_engine::{CacheStatus, EngineError, PredictTerms, Prediction};
use cresset_runner::testing::Held;
use cresset_runner::{DownReason, ItemEnd, JobEnd, RecycleReason, Unwanted};
use cresset_task::{CacheUse, InstanceId, Payload};

use crate::house::{House, LONG, config, echo, failure, json, model, text, until};

const FIRST: InstanceId = InstanceId(0);
const SHORT: Duration = Duration::from_millis(20);

/// A model whose results are kept.
pub(crate) fn caching() -> ModelConfig {
    let mut config = config();
    config.cache.enabled = true;
    config
}

/// Each run gives another result.
fn counting() -> House {
    let runs = AtomicUsize::new(0);
    House::automatic(caching(), move |items| {
        let results = items.iter().map(|_| {
            let run = runs.fetch_add(1, Ordering::SeqCst);
            ItemEnd::Done(Payload::Json(Bytes::from(run.to_string())))
        });
        JobEnd::Items(results.collect())
    })
}

async fn ask(house: &House, input: &str, cache: CacheUse) -> (String, Option<CacheStatus>) {
    let terms = PredictTerms {
        cache,
        ..Default::default()
    };
    let answer = house.engine.predict(&model(), json(input), terms).await;
    let Prediction { output, cache, .. } = answer.unwrap();
    (text(&output), cache)
}

async fn within(house: &House, input: &str, limit: Duration) -> Result<Prediction, EngineError> {
    let engine = &house.engine;
    let limit = Some(limit);
    let terms = PredictTerms {
        limit,
        ..Default::default()
    };
    engine.predict(&model(), json(input), terms).await
}

fn metric(house: &House, name: &str, label: &str, value: u64) {
    let line = format!("cresset_{name}{{model=\"echo\"{label}}} {value}\n");
    let metrics = house.engine.render_metrics();
    assert!(metrics.contains(&line), "no {line} in {metrics}");
}

async fn has_job(house: &House) -> Held {
    tokio::time::timeout(LONG, house.pool.next_job()).await.unwrap()
}

/// The first prediction of `input` in an instance, and one more that waits for it.
async fn led_and_followed(house: &House, input: &str) -> (Call, Held, Call) {
    house.pool.all_up();
    let leads = house.predicting(input).await;
    let held = has_job(house).await;
    let follows = house.predicting(input).await;
    (leads, held, follows)
}

type Call = tokio::task::JoinHandle<Result<Prediction, EngineError>>;

fn status(call: Result<Prediction, EngineError>) -> Option<CacheStatus> {
    call.unwrap().cache
}

#[tokio::test]
async fn an_equal_input_is_answered_with_the_kept_result() {
    let house = counting();
    house.pool.all_up();
    let first = ask(&house, "1", CacheUse::Allowed).await;
    assert_eq!(first, ("0".into(), Some(CacheStatus::Miss)));
    for _ in 0..3 {
        let again = ask(&house, "1", CacheUse::Allowed).await;
        assert_eq!(again, ("0".into(), Some(CacheStatus::Hit)));
    }
    assert_eq!(
        ask(&house, "2", CacheUse::Allowed).await.1,
        Some(CacheStatus::Miss)
    );
    assert_eq!(house.pool.taken(), 2);
    metric(&house, "cache_lookups_total", ",result=\"hit\"", 3);
    metric(&house, "cache_lookups_total", ",result=\"miss\"", 2);
    metric(&house, "cache_entries", "", 2);
    metric(&house, "cache_bytes", "", 2 * 201);
    metric(&house, "predictions_total", ",status=\"SUCCESS\"", 5);
    house.end().await;
}

#[tokio::test]
async fn a_model_that_does_not_want_it_has_no_cache() {
    let house = House::automatic(config(), echo);
    house.pool.all_up();
    for cache in [CacheUse::Allowed, CacheUse::Allowed, CacheUse::NoCache] {
        assert_eq!(ask(&house, "1", cache).await, ("1".into(), None));
    }
    assert_eq!(house.pool.taken(), 3);
    assert!(!house.engine.render_metrics().contains("cache_lookups_total{"));
    house.end().await;
}

#[tokio::test]
async fn a_caller_may_want_it_anew_or_not_kept() {
    let house = counting();
    house.pool.all_up();
    let not_kept = ask(&house, "1", CacheUse::NoStore).await;
    assert_eq!(not_kept, ("0".into(), None));
    let kept = ask(&house, "1", CacheUse::Allowed).await;
    assert_eq!(kept, ("1".into(), Some(CacheStatus::Miss)));
    let anew = ask(&house, "1", CacheUse::NoCache).await;
    assert_eq!(anew, ("2".into(), Some(CacheStatus::Bypass)));
    let from_then_on = ask(&house, "1", CacheUse::Allowed).await;
    assert_eq!(from_then_on, ("2".into(), Some(CacheStatus::Hit)));
    assert_eq!(ask(&house, "1", CacheUse::NoStore).await.0, "3");
    assert_eq!(ask(&house, "1", CacheUse::Allowed).await.0, "2");
    house.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_result_is_kept_for_its_time() {
    let house = counting();
    house.pool.all_up();
    assert_eq!(ask(&house, "1", CacheUse::Allowed).await.0, "0");
    let ttl = caching().cache.ttl;
    tokio::time::advance(ttl - Duration::from_millis(1)).await;
    assert_eq!(ask(&house, "1", CacheUse::Allowed).await.0, "0");
    tokio::time::advance(Duration::from_millis(2)).await;
    let later = ask(&house, "1", CacheUse::Allowed).await;
    assert_eq!(later, ("1".into(), Some(CacheStatus::Miss)));
    metric(&house, "cache_evictions_total", ",reason=\"expired\"", 1);
    tokio::time::resume(); // the store works on threads of its own
    house.end().await;
}

#[tokio::test]
async fn a_full_cache_forgets_what_was_not_used_for_the_longest_time() {
    let mut small = caching();
    small.cache.max_entries = 2;
    let house = House::automatic(small, echo);
    house.pool.all_up();
    for input in ["1", "2", "1", "3", "1", "2"] {
        ask(&house, input, CacheUse::Allowed).await;
    }
    // The second `2` was computed again: `3` had taken its place.
    assert_eq!(house.pool.taken(), 4);
    metric(&house, "cache_evictions_total", ",reason=\"size\"", 2);
    metric(&house, "cache_entries", "", 2);
    house.end().await;
}

#[tokio::test]
async fn a_failure_is_not_kept() {
    let house = House::by_hand(caching());
    house.pool.all_up();
    for _ in 0..2 {
        let call = house.predicting("1").await;
        let held = has_job(&house).await;
        house.pool.finish(held.batch, JobEnd::Raised(failure("boom")));
        assert!(matches!(call.await.unwrap(), Err(EngineError::Failed(_))));
    }
    metric(&house, "cache_entries", "", 0);
    house.end().await;
}

#[tokio::test]
async fn equal_inputs_at_the_same_time_are_computed_once() {
    let house = House::by_hand(caching());
    let (leads, held, follows) = led_and_followed(&house, "1").await;
    let another = house.predicting("1").await;
    assert_eq!(house.pool.taken(), 1);
    house.pool.finish(held.batch, echo(held.items));
    assert_eq!(status(leads.await.unwrap()), Some(CacheStatus::Miss));
    for call in [follows, another] {
        let answer = call.await.unwrap().unwrap();
        assert_eq!(
            (text(&answer.output), answer.cache),
            ("1".into(), Some(CacheStatus::Coalesced))
        );
    }
    assert_eq!(house.pool.taken(), 1);
    metric(&house, "cache_lookups_total", ",result=\"coalesced\"", 2);
    assert_eq!(house.waiting(), 0);
    house.end().await;
}

#[tokio::test]
async fn a_computation_outlives_the_caller_who_began_it_while_others_wait_for_it() {
    let house = House::by_hand(caching());
    let (leads, held, follows) = led_and_followed(&house, "1").await;
    leads.abort();
    until(|| leads.is_finished()).await;
    // The driver has looked for callers who have gone by the time that it has begun this.
    let other = house.predicting("2").await;
    let held_2 = has_job(&house).await;
    assert_eq!(house.pool.cancelled(), []);
    house.pool.finish(held.batch, echo(held.items));
    assert_eq!(status(follows.await.unwrap()), Some(CacheStatus::Coalesced));
    assert_eq!(
        ask(&house, "1", CacheUse::Allowed).await.1,
        Some(CacheStatus::Hit)
    );
    house.pool.finish(held_2.batch, echo(held_2.items));
    other.await.unwrap().unwrap();
    house.end().await;
}

#[tokio::test]
async fn a_computation_that_nobody_waits_for_is_given_up() {
    let house = House::by_hand(caching());
    let (leads, held, follows) = led_and_followed(&house, "1").await;
    leads.abort();
    until(|| leads.is_finished()).await;
    follows.abort();
    until(|| !house.pool.cancelled().is_empty()).await;
    assert_eq!(house.pool.cancelled(), [(held.batch, 0, Unwanted::HungUp)]);
    // Who comes now does not wait for what is given up.
    let anew = house.predicting("1").await;
    let held_2 = has_job(&house).await;
    house
        .pool
        .finish(held.batch, JobEnd::Items(vec![ItemEnd::Skipped]));
    house.pool.finish(held_2.batch, echo(held_2.items));
    assert_eq!(status(anew.await.unwrap()), Some(CacheStatus::Miss));
    house.end().await;
}

#[tokio::test]
async fn followers_have_the_failure_of_the_computation() {
    let house = House::by_hand(caching());
    let (leads, held, follows) = led_and_followed(&house, "1").await;
    house.pool.finish(held.batch, JobEnd::Raised(failure("boom")));
    for call in [leads, follows] {
        let error = call.await.unwrap().unwrap_err();
        assert!(matches!(error, EngineError::Failed(failure) if failure.message == "boom"));
    }
    assert_eq!(house.pool.taken(), 1);
    house.end().await;
}

#[tokio::test]
async fn followers_are_run_themselves_when_the_first_was_out_of_time_before_it_ran() {
    let house = Arc::new(House::by_hand(caching()));
    // No process is up, so it waits.
    let first = within(&house, "1", SHORT);
    let second = async {
        until(|| house.waiting() == 1).await;
        within(&house, "1", LONG).await
    };
    let up = async {
        until(|| house.waiting() == 2).await;
        until(|| house.waiting() == 1).await;
        house.pool.all_up();
        let held = has_job(&house).await;
        assert_eq!(held.items.len(), 1);
        house.pool.finish(held.batch, echo(held.items));
    };
    let (first, second, ()) = tokio::join!(first, second, up);
    assert!(
        matches!(first, Err(EngineError::ModelUnavailable { .. })),
        "{first:?}"
    );
    assert_eq!(status(second), Some(CacheStatus::Miss));
    house.engine.stop(LONG).await;
}

#[tokio::test]
async fn what_runs_goes_on_for_followers_when_the_first_is_out_of_time() {
    let house = House::by_hand(caching());
    house.pool.all_up();
    let first = within(&house, "1", SHORT);
    let rest = async {
        let held = has_job(&house).await;
        (held, house.predicting("1").await)
    };
    let (first, (held, follows)) = tokio::join!(first, rest);
    assert!(
        matches!(first, Err(EngineError::PredictTimeout { .. })),
        "{first:?}"
    );
    house.pool.finish(held.batch, echo(held.items));
    assert_eq!(status(follows.await.unwrap()), Some(CacheStatus::Coalesced));
    assert_eq!(house.pool.taken(), 1);
    house.end().await;
}

#[tokio::test]
async fn followers_have_time_limits_of_their_own() {
    let house = House::by_hand(caching());
    house.pool.all_up();
    let leads = house.predicting("1").await;
    let held = has_job(&house).await;
    let follower = within(&house, "1", SHORT).await;
    assert!(matches!(follower, Err(EngineError::PredictTimeout { limit, .. }) if limit == SHORT));
    house.pool.finish(held.batch, echo(held.items));
    assert_eq!(status(leads.await.unwrap()), Some(CacheStatus::Miss));
    house.end().await;
}

#[tokio::test]
async fn followers_count_as_waiting_and_kept_results_do_not() {
    let mut small = caching();
    small.limits.max_waiting = 2;
    let house = House::by_hand(small);
    house.pool.all_up();
    let call = house.predicting("kept").await;
    let held = has_job(&house).await;
    house.pool.finish(held.batch, echo(held.items));
    call.await.unwrap().unwrap();
    let (leads, held, follows) = led_and_followed(&house, "1").await;
    let refused = house.predict("1").await.unwrap_err();
    assert!(matches!(refused, EngineError::Overloaded { .. }), "{refused:?}");
    assert_eq!(
        ask(&house, "kept", CacheUse::Allowed).await.1,
        Some(CacheStatus::Hit)
    );
    house.pool.finish(held.batch, echo(held.items));
    assert!(leads.await.unwrap().is_ok() && follows.await.unwrap().is_ok());
    house.end().await;
}

#[tokio::test]
async fn nothing_is_kept_from_before_a_process_came_went_or_was_replaced() {
    let house = counting();
    house.pool.all_up();
    assert_eq!(ask(&house, "1", CacheUse::Allowed).await.0, "0");
    house.pool.kill(FIRST, DownReason::Exited(1));
    house.pool.up(FIRST);
    until(|| {
        house
            .engine
            .render_metrics()
            .contains("cache_entries{model=\"echo\"} 0")
    })
    .await;
    assert_eq!(ask(&house, "1", CacheUse::Allowed).await.0, "1");
    house
        .pool
        .recycle(FIRST, RecycleReason::Tasks(9), DownReason::Stopped);
    until(|| {
        house
            .engine
            .render_metrics()
            .contains("cache_entries{model=\"echo\"} 0")
    })
    .await;
    assert_eq!(ask(&house, "1", CacheUse::Allowed).await.0, "2");
    metric(&house, "cache_evictions_total", ",reason=\"changed\"", 2);
    house.end().await;
}

#[tokio::test]
async fn what_an_old_process_finishes_is_not_kept_and_not_followed() {
    let house = House::by_hand(caching());
    let (leads, old, follows) = led_and_followed(&house, "1").await;
    house
        .pool
        .recycle(FIRST, RecycleReason::Tasks(9), DownReason::Stopped);
    until(|| {
        house
            .engine
            .render_metrics()
            .contains("instances_recycled_total{model=\"echo\"")
    })
    .await;
    let after = house.predicting("1").await;
    let new = has_job(&house).await;
    house
        .pool
        .finish(old.batch, JobEnd::Items(vec![ItemEnd::Done(json("\"old\""))]));
    assert_eq!(text(&leads.await.unwrap().unwrap().output), "\"old\"");
    assert_eq!(text(&follows.await.unwrap().unwrap().output), "\"old\"");
    house
        .pool
        .finish(new.batch, JobEnd::Items(vec![ItemEnd::Done(json("\"new\""))]));
    let after = after.await.unwrap().unwrap();
    assert_eq!(
        (text(&after.output), after.cache),
        ("\"new\"".into(), Some(CacheStatus::Miss))
    );
    assert_eq!(
        ask(&house, "1", CacheUse::Allowed).await,
        ("\"new\"".into(), Some(CacheStatus::Hit))
    );
    house.end().await;
}

#[tokio::test]
async fn a_computation_that_has_to_run_again_takes_its_followers_along() {
    let house = House::by_hand(caching());
    let (leads, _, follows) = led_and_followed(&house, "1").await;
    house.pool.kill(FIRST, DownReason::Exited(1));
    house.pool.up(FIRST);
    let again = has_job(&house).await;
    house.pool.finish(again.batch, echo(again.items));
    assert_eq!(status(leads.await.unwrap()), Some(CacheStatus::Miss));
    assert_eq!(status(follows.await.unwrap()), Some(CacheStatus::Coalesced));
    assert_eq!(
        ask(&house, "1", CacheUse::Allowed).await.1,
        Some(CacheStatus::Hit)
    );
    house.end().await;
}

#[tokio::test]
async fn a_stop_past_its_deadline_answers_followers_too() {
    let house = House::by_hand(caching());
    let (leads, _held, follows) = led_and_followed(&house, "1").await;
    house.engine.stop(SHORT).await;
    for call in [leads, follows] {
        assert!(matches!(call.await.unwrap(), Err(EngineError::ShuttingDown)));
    }
}

#[tokio::test]
async fn the_canary_is_computed_each_time() {
    let mut watched = caching();
    watched.health.interval = Duration::from_millis(1);
    let house = House::automatic(watched.clone(), echo);
    house.pool.all_up();
    until(|| house.engine.health().ready).await;
    ask(&house, "1", CacheUse::Allowed).await;
    house.engine.watch(&watched, json("1")).unwrap();
    tokio::time::timeout(LONG, async {
        while house.pool.taken() < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .unwrap();
    metric(&house, "cache_lookups_total", ",result=\"hit\"", 0);
    house.end().await;
}
