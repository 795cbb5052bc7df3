//! Every way to be refused: always a problem document, always the same shape, and the connection survives.

use std::time::Duration;

use cresset_config::{LatePredictions, ModelLimits};
use cresset_runner::{DownReason, JobEnd};
use cresset_task::{InstanceId, TaskId};
use serde_json::json;

use crate::fixture;
use crate::house::{House, LONG, finish, until};
use crate::wire::Answer;

/// The problem without what differs from run to run.
fn stable(answer: &Answer) -> serde_json::Value {
    let mut problem = answer.problem();
    problem["request_id"] = json!("(id)");
    problem
}

#[tokio::test]
async fn bodies_that_are_wrong() {
    let house = House::open().await.with_echo().await;
    let mut caller = house.caller().await;
    let nested = format!(r#"{{"input": {}{}}}"#, "[".repeat(100_000), "]".repeat(100_000));
    let unclosed = format!(r#"{{"input": {}"#, "{\"a\":".repeat(100_000));
    let cases: [(&str, &[u8], &str); 9] = [
        ("garbage", b"\x00\x01\x02garbage", "malformed_body"),
        ("empty", b"", "malformed_body"),
        ("not_an_object", b"[1, 2]", "malformed_body"),
        ("cut_short", b"{\"input\": [1, 2", "malformed_body"),
        ("not_utf8", b"{\"input\": \"\xff\"}", "malformed_body"),
        (
            "unknown_key",
            br#"{"input": 1, "prioritty": 1, "eta": "tomorrow"}"#,
            "invalid_input",
        ),
        (
            "wrong_types",
            br#"{"priority": "high", "metadata": 3}"#,
            "invalid_input",
        ),
        ("too_deep", nested.as_bytes(), "invalid_input"),
        ("too_deep_and_cut_short", unclosed.as_bytes(), "malformed_body"),
    ];
    for (name, body, code) in cases {
        for path in ["/v1/models/echo/tasks", "/v1/models/echo/predict"] {
            let answer = caller.post(path, body).await;
            assert_eq!(answer.code(), code, "{name}");
            if path.ends_with("tasks") {
                insta::assert_json_snapshot!(name, stable(&answer));
            }
        }
    }
    house.close().await;
}

#[tokio::test]
async fn tensors_that_do_not_fit() {
    let house = House::open().await;
    house.automatic(fixture::tensors("pair")).all_up();
    house.until_ready().await;
    let mut caller = house.caller().await;
    for (name, input) in [
        ("tensor_ragged", r#"{"pixels": [[1, 2], [3]], "scale": 1}"#),
        ("tensor_text", r#"{"pixels": [[1, 2], [3, "4"]], "scale": 1}"#),
        ("tensor_missing", r#"{"pixels": [[1, 2], [3, 4]]}"#),
        (
            "tensor_unknown",
            r#"{"pixels": [[1, 2], [3, 4]], "scale": 1, "scal": 2}"#,
        ),
        ("tensor_bare", "[1, 2]"),
    ] {
        let answer = caller
            .post(
                "/v1/models/pair/tasks",
                format!(r#"{{"input": {input}, "priority": 1000}}"#),
            )
            .await;
        assert_eq!(
            answer.problem()["errors"].as_array().unwrap().len(),
            2,
            "both mistakes are told"
        );
        insta::assert_json_snapshot!(name, stable(&answer));
    }
    let deep = format!(
        r#"{{"input": {{"pixels": {}{}, "scale": 1}}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert_eq!(
        caller.post("/v1/models/pair/tasks", deep).await.code(),
        "invalid_input"
    );
    house.close().await;
}

#[tokio::test]
async fn names_ids_paths_and_methods_that_do_not_exist() {
    let house = House::open().await.with_echo().await;
    let mut caller = house.caller().await;
    let unknown = format!("/v1/tasks/{}", TaskId::fresh());
    assert_eq!(caller.get(&unknown).await.code(), "unknown_task");
    assert_eq!(
        caller.get(&format!("{unknown}/result")).await.code(),
        "unknown_task"
    );
    insta::assert_json_snapshot!("bad_task_id", stable(&caller.get("/v1/tasks/42").await));
    assert_eq!(caller.get("/v1/tasks/%ff%fe").await.code(), "unknown_task");
    insta::assert_json_snapshot!(
        "near_model",
        stable(&caller.post("/v1/models/ecko/tasks", r#"{"input":1}"#).await)
    );
    assert_eq!(
        caller.post("/v1/models/%ff/predict", "{}").await.code(),
        "unknown_model"
    );
    assert_eq!(caller.get("/v1/models/No%20Such").await.code(), "unknown_model");
    insta::assert_json_snapshot!("unknown_route", stable(&caller.get("/v2/nothing").await));
    let wrong = caller.post("/v1/models", r#"{"input":1}"#).await;
    assert_eq!(wrong.header("allow"), Some("GET,HEAD"));
    insta::assert_json_snapshot!("method_not_allowed", stable(&wrong));
    let wrong = caller.get("/v1/models/echo/predict").await;
    assert_eq!(
        (wrong.code(), wrong.header("allow")),
        ("method_not_allowed".into(), Some("POST"))
    );
    house.close().await;
}

#[tokio::test]
async fn an_expired_task_is_told_from_one_that_never_was() {
    let house = House::keeping_results_for(Duration::ZERO, Default::default())
        .await
        .with_echo()
        .await;
    let path = house.submitted("echo", r#"{"input":1}"#).await;
    let mut caller = house.caller().await;
    let expired = async {
        loop {
            let answer = caller.get(&path).await;
            if answer.status != 200 {
                break answer;
            }
        }
    };
    let answer = tokio::time::timeout(LONG, expired)
        .await
        .expect("the task should expire");
    assert_eq!((answer.status, answer.code()), (410, "expired_task".into()));
    for way in ["?wait=1s", "/result"] {
        assert_eq!(caller.get(&format!("{path}{way}")).await.code(), "expired_task");
    }
    house.close().await;
}

#[tokio::test]
async fn queries_that_are_wrong() {
    let house = House::open().await.with_echo().await;
    let path = house.submitted("echo", r#"{"input":1}"#).await;
    let mut caller = house.caller().await;
    for (name, query) in [
        ("wait_no_duration", "wait=soon"),
        ("wait_too_long", "wait=1h"),
        ("query_unknown", "wiat=3s"),
        ("wait_twice", "wait=1s&wait=2s"),
    ] {
        let answer = caller.get(&format!("{path}?{query}")).await;
        let mut problem = stable(&answer);
        problem["instance"] = json!("/v1/tasks/(id)");
        insta::assert_json_snapshot!(name, problem);
    }
    assert_eq!(caller.get("/v1/models?page=2").await.code(), "bad_query");
    assert_eq!(
        caller
            .post("/v1/models/echo/tasks?wait=1s", r#"{"input":1}"#)
            .await
            .code(),
        "bad_query"
    );
    house.close().await;
}

#[tokio::test]
async fn content_types_that_are_not_json() {
    let house = House::open().await.with_echo().await;
    let mut caller = house.caller().await;
    let form = "POST /v1/models/echo/tasks HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: 11\r\n\r\n{\"input\":1}";
    caller.send(form).await;
    insta::assert_json_snapshot!("form", stable(&caller.answer().await));
    let bare = "POST /v1/models/echo/tasks HTTP/1.1\r\nhost: x\r\ncontent-length: 11\r\n\r\n{\"input\":1}";
    caller.send(bare).await;
    assert_eq!(
        caller.answer().await.status,
        202,
        "no content type is taken for JSON, and the connection is usable"
    );
    house.close().await;
}

#[tokio::test]
async fn a_failure_is_told_by_every_way_of_asking_and_tracebacks_only_if_shown() {
    for show_tracebacks in [false, true] {
        let options = cresset_gateway::GatewayOptions {
            show_tracebacks,
            ..Default::default()
        };
        let house = House::with(options).await.with_echo().await;
        let body = r#"{"input": {"raise": "too dark"}}"#;
        let predicted = house.post("/v1/models/echo/predict", body).await;
        let path = house.submitted("echo", body).await;
        let task = house.get(&format!("{path}?wait=20s")).await;
        let result = house.get(&format!("{path}/result")).await;
        assert_eq!((predicted.status, task.status, result.status), (500, 200, 500));
        assert_eq!(task.json()["status"], "FAILURE");
        let errors = [
            predicted.problem()["error"].clone(),
            result.problem()["error"].clone(),
            task.json()["error"].clone(),
        ];
        for error in &errors {
            assert_eq!(
                (&error["type"], &error["message"]),
                (&json!("ValueError"), &json!("too dark"))
            );
            assert_eq!(error.get("traceback").is_some(), show_tracebacks);
        }
        house.close().await;
    }
}

#[tokio::test]
async fn a_full_queue_says_when_to_come_back() {
    let house = House::open().await;
    let config = fixture::object("slow");
    house.by_hand(cresset_config::ModelConfig {
        limits: ModelLimits {
            max_queue: 1,
            ..config.limits.clone()
        },
        ..config
    });
    house.submitted("slow", r#"{"input":1}"#).await;
    let refused = house.post("/v1/models/slow/tasks", r#"{"input":1}"#).await;
    assert_eq!((refused.status, refused.code()), (429, "queue_full".into()));
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    house.close().await;
}

#[tokio::test]
async fn too_many_predictions_say_when_to_come_back() {
    let house = House::open().await;
    let config = fixture::object("slow");
    let pool = house.by_hand(cresset_config::ModelConfig {
        limits: ModelLimits {
            max_waiting: 1,
            ..config.limits.clone()
        },
        ..config
    });
    pool.all_up();
    house.until_ready().await;
    let mut first = house.caller().await;
    first.send_post("/v1/models/slow/predict", r#"{"input":1}"#).await;
    let held = pool.next_job().await;
    let refused = house.post("/v1/models/slow/predict", r#"{"input":1}"#).await;
    assert_eq!((refused.status, refused.code()), (429, "overloaded".into()));
    assert!(refused.header("retry-after").unwrap().parse::<u64>().unwrap() >= 1);
    finish(&pool, &held, "2");
    assert_eq!(first.answer().await.json()["result"], 2);
    house.close().await;
}

#[tokio::test]
async fn a_prediction_that_takes_too_long_is_given_up() {
    let house = House::open().await;
    let mut config = fixture::object("slow");
    config.limits.late_predictions = LatePredictions::Refused;
    let pool = house.by_hand(config);
    pool.all_up();
    house.until_ready().await;
    let late = house
        .post("/v1/models/slow/predict", r#"{"input":1, "timeout": "20ms"}"#)
        .await;
    assert_eq!((late.status, late.code()), (504, "predict_timeout".into()));
    let held = pool.next_job().await;
    assert!(pool.finish(held.batch, JobEnd::Items(Vec::new())) || held.items.is_empty());
    house.close().await;
}

#[tokio::test]
async fn a_model_that_cannot_serve_says_why() {
    let house = House::open().await;
    let pool = house.by_hand(fixture::object("broken"));
    pool.kill(InstanceId(0), DownReason::Exited(3));
    until(|| house.engine.health().models[0].reason.is_some()).await;
    let answer = house.post("/v1/models/broken/predict", r#"{"input":1}"#).await;
    assert_eq!((answer.status, answer.code()), (503, "model_unavailable".into()));
    assert!(
        answer.problem()["detail"]
            .as_str()
            .unwrap()
            .contains("exited with status 3"),
        "{answer:?}"
    );
    let health = house.get("/health/ready").await;
    assert_eq!(health.status, 503);
    assert!(
        health.json()["models"][0]["reason"]
            .as_str()
            .unwrap()
            .contains("exited with status 3")
    );
    house.close().await;
}

#[tokio::test]
async fn a_server_that_stops_takes_nothing_new() {
    let house = House::open().await.with_echo().await;
    house.engine.drain();
    for path in ["/v1/models/echo/tasks", "/v1/models/echo/predict"] {
        let answer = house.post(path, r#"{"input":1}"#).await;
        assert_eq!((answer.status, answer.code()), (503, "shutting_down".into()));
        assert!(answer.header("retry-after").is_some());
    }
    assert_eq!(house.get("/health/ready").await.json()["stopping"], true);
    house.close().await;
}

#[tokio::test]
async fn a_closed_store_is_our_fault_and_said_so() {
    let house = House::open().await.with_echo().await;
    let path = house.submitted("echo", r#"{"input":1}"#).await;
    house.get(&format!("{path}?wait=20s")).await;
    tokio::time::timeout(Duration::from_secs(20), house.engine.stop(Duration::from_secs(5)))
        .await
        .unwrap();
    let answer = house.get(&path).await;
    assert_eq!((answer.status, answer.code()), (503, "store_unavailable".into()));
    house.close().await;
}
