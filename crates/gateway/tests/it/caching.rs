//! A model with a result cache, as callers see it.

use cresset_config::ModelConfig;
use serde_json::json;

use crate::fixture;
use crate::house::{House, until};
use crate::wire::{Answer, Caller};

const PREDICT: &str = "POST /v1/models/echo/predict";
const TASKS: &str = "POST /v1/models/echo/tasks";
const BODY: &str = r#"{"input": [1]}"#;

fn caching(mut config: ModelConfig) -> ModelConfig {
    config.cache.enabled = true;
    config
}

async fn ask(caller: &mut Caller, what: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Answer {
    let json = [("content-type", "application/json")];
    let headers: Vec<_> = json.iter().chain(headers).copied().collect();
    caller.ask(what, &headers, body).await
}

fn cache(answer: &Answer) -> Option<&str> {
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.header("cresset-cache")
}

#[tokio::test]
async fn a_prediction_says_where_its_result_is_from() {
    let house = House::open().await;
    let pool = house.automatic(caching(fixture::object("echo")));
    pool.all_up();
    house.until_ready().await;
    let mut caller = house.caller().await;
    let mut expect = Vec::new();
    for control in ["", "", "no-cache", "max-age=0", "no-store", "max-stale=9"] {
        let answer = ask(&mut caller, PREDICT, &[("cache-control", control)], BODY).await;
        assert_eq!(answer.json()["result"], json!([1]));
        expect.push((control, cache(&answer).map(str::to_owned)));
    }
    insta::assert_debug_snapshot!("predictions", expect);
    assert_eq!(pool.taken(), 4);
    house.close().await;
}

#[tokio::test]
async fn a_model_without_a_cache_says_nothing_of_one() {
    let house = House::open().await.with_echo().await;
    let mut caller = house.caller().await;
    for control in ["", "no-cache", "no-store"] {
        let answer = ask(&mut caller, PREDICT, &[("cache-control", control)], BODY).await;
        assert_eq!(cache(&answer), None);
    }
    house.close().await;
}

#[tokio::test]
async fn one_result_is_answered_in_every_form() {
    let house = House::open().await;
    house.automatic(caching(fixture::tensors("sum"))).all_up();
    house.until_ready().await;
    let mut caller = house.caller().await;
    let what = "POST /v1/models/sum/predict";
    let body = r#"{"input": {"pixels": [[1, 2], [3, 4]], "scale": 0.5}}"#;
    let first = ask(&mut caller, what, &[], body).await;
    assert_eq!(cache(&first), Some("miss"));
    let again = ask(&mut caller, what, &[], body).await;
    assert_eq!((cache(&again), again.json()), (Some("hit"), first.json()));
    let bytes = ask(
        &mut caller,
        what,
        &[("accept", "application/x-safetensors")],
        body,
    )
    .await;
    assert_eq!(cache(&bytes), Some("hit"));
    assert_eq!(bytes.header("content-type"), Some("application/x-safetensors"));
    house.close().await;
}

#[tokio::test]
async fn a_task_says_that_it_was_not_run() {
    let house = House::open().await;
    let pool = house.automatic(caching(fixture::object("echo")));
    pool.all_up();
    house.until_ready().await;
    let mut caller = house.caller().await;
    let mut ends = Vec::new();
    for control in ["", "", "no-cache", "no-store"] {
        let accepted = ask(&mut caller, TASKS, &[("cache-control", control)], BODY).await;
        assert_eq!(accepted.status, 202);
        let place = accepted.header("location").unwrap().to_owned();
        let task = caller.get(&format!("{place}?wait=20s")).await.json();
        ends.push((
            control,
            task["status"].clone(),
            task["cached"].clone(),
            task["attempts"].clone(),
        ));
    }
    insta::assert_debug_snapshot!("tasks", ends);
    assert_eq!(pool.taken(), 3);
    until(|| house.engine.render_metrics().contains("result=\"hit\"} 1")).await;
    house.close().await;
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_by_name() {
    let house = House::open().await.with_echo().await;
    let mut caller = house.caller().await;
    let mut problems = Vec::new();
    for control in ["max-age=soon", "no-store=1", "only-if-cached"] {
        for what in [PREDICT, TASKS] {
            let answer = ask(&mut caller, what, &[("cache-control", control)], BODY).await;
            let mut problem = answer.problem();
            problem["request_id"] = json!("(id)");
            problems.push(problem);
        }
    }
    insta::assert_json_snapshot!("refused", problems);
    house.close().await;
}
