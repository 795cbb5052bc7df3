//! Predictions of callers who take a task where the result takes too long (`Prefer`, RFC 7240).

use cresset_config::LatePredictions;

use crate::fixture;
use crate::house::{House, finish};

const JSON: (&str, &str) = ("content-type", "application/json");

#[tokio::test]
async fn a_prediction_that_ends_in_time_is_answered_as_one_and_names_its_task() {
    let house = House::open().await.with_echo().await;
    let mut caller = house.caller().await;
    let headers = [JSON, ("prefer", "wait=20"), ("idempotency-key", "k")];
    for replayed in [None, Some("true")] {
        let done = caller
            .ask("POST /v1/models/echo/predict", &headers, r#"{"input":7}"#)
            .await;
        assert_eq!((done.status, done.json()["result"].as_i64()), (200, Some(7)));
        assert_eq!(done.header("preference-applied"), Some("wait=20"));
        assert_eq!(done.header("idempotency-replayed"), replayed);
        let task = house.get(done.header("location").unwrap()).await.json();
        assert_eq!(
            (task["status"].as_str(), task["attempts"].as_i64()),
            (Some("SUCCESS"), Some(1))
        );
    }
    let failed = caller
        .ask(
            "POST /v1/models/echo/predict",
            &headers[..2],
            r#"{"input":{"raise":"no"}}"#,
        )
        .await;
    let plain = caller
        .ask(
            "POST /v1/models/echo/predict",
            &headers[..1],
            r#"{"input":{"raise":"no"}}"#,
        )
        .await;
    assert_eq!(
        (failed.status, &failed.json()["code"], &failed.json()["detail"]),
        (plain.status, &plain.json()["code"], &plain.json()["detail"])
    );
    let task = house.get(failed.header("location").unwrap()).await.json();
    assert_eq!(task["status"], "FAILURE");
    assert_eq!(plain.header("location"), None, "stored nowhere");
    house.close().await;
}

#[tokio::test]
async fn a_prediction_over_its_time_goes_on_as_a_task_and_is_run_once() {
    let house = House::open().await;
    let pool = house.by_hand(fixture::object("slow"));
    pool.all_up();
    house.until_ready().await;
    let mut caller = house.caller().await;
    // The body's own limit is the shorter one.
    let headers = [JSON, ("prefer", "respond-async, wait=200")];
    let accepted = caller
        .ask(
            "POST /v1/models/slow/predict",
            &headers,
            r#"{"input":1,"timeout":"20ms"}"#,
        )
        .await;
    assert_eq!(
        (accepted.status, accepted.header("preference-applied")),
        (202, Some("respond-async, wait=200"))
    );
    let path = accepted.header("location").unwrap().to_owned();
    assert_eq!(accepted.json()["task_id"], path.trim_start_matches("/v1/tasks/"));
    let held = pool.next_job().await;
    finish(&pool, &held, "[7]");
    let task = house.get(&format!("{path}?wait=20s")).await.json();
    assert_eq!(
        (task["status"].as_str(), task["attempts"].as_i64()),
        (Some("SUCCESS"), Some(1))
    );
    house.close().await;
}

#[tokio::test]
async fn a_prediction_at_its_limit_is_answered_with_its_task_though_nobody_asked_for_one() {
    let house = House::open().await;
    let pool = house.by_hand(fixture::object("slow"));
    pool.all_up();
    house.until_ready().await;
    let mut caller = house.caller().await;
    let late = caller
        .ask(
            "POST /v1/models/slow/predict",
            &[JSON],
            r#"{"input":1,"timeout":"20ms"}"#,
        )
        .await;
    assert_eq!((late.status, late.header("preference-applied")), (202, None));
    let (body, path) = (late.json(), late.header("location").unwrap().to_owned());
    assert_eq!(
        (body["status"].as_str(), body["durable"].as_bool()),
        (Some("STARTED"), Some(true))
    );
    let held = pool.next_job().await;
    finish(&pool, &held, "[7]");
    let task = house.get(&format!("{path}?wait=20s")).await.json();
    assert_eq!(
        (task["result"].to_string(), task["attempts"].as_i64()),
        ("[7]".into(), Some(1)),
        "run once"
    );
    // One that ends in time is stored nowhere.
    let ends = async {
        let held = pool.next_job().await;
        finish(&pool, &held, "[8]");
    };
    let (done, ()) = tokio::join!(
        caller.ask("POST /v1/models/slow/predict", &[JSON], r#"{"input":1}"#),
        ends
    );
    assert_eq!((done.status, done.header("location")), (200, None));
    let tasks = house.get("/v1/tasks").await.json();
    assert_eq!(tasks["tasks"].as_array().map(Vec::len), Some(1));
    house.close().await;
}

#[tokio::test]
async fn a_model_may_have_all_of_its_predictions_go_on_as_tasks() {
    let house = House::open().await;
    let mut config = fixture::object("slow");
    config.limits.late_predictions = LatePredictions::Stored;
    let pool = house.by_hand(config);
    pool.all_up();
    house.until_ready().await;
    let mut caller = house.caller().await;
    let late = caller
        .ask(
            "POST /v1/models/slow/predict",
            &[JSON],
            r#"{"input":1,"timeout":"20ms"}"#,
        )
        .await;
    assert_eq!((late.status, late.header("preference-applied")), (202, None));
    let path = late.header("location").unwrap().to_owned();
    let held = pool.next_job().await;
    finish(&pool, &held, "[7]");
    let task = house.get(&format!("{path}?wait=20s")).await.json();
    assert_eq!(
        (task["result"].to_string(), task["attempts"].as_i64()),
        ("[7]".into(), Some(1)),
        "run once"
    );
    // One that ends in time is answered as any other, and so is one of a caller who prefers something.
    let ends = async {
        let held = pool.next_job().await;
        finish(&pool, &held, "[8]");
    };
    let (done, ()) = tokio::join!(
        caller.ask("POST /v1/models/slow/predict", &[JSON], r#"{"input":1}"#),
        ends
    );
    let headers = [JSON, ("prefer", "respond-async")];
    let preferred = caller
        .ask("POST /v1/models/slow/predict", &headers, r#"{"input":2}"#)
        .await;
    assert_eq!(
        (done.status, done.json()["result"].to_string()),
        (200, "[8]".into())
    );
    assert!(done.header("location").is_some());
    assert_eq!(
        (preferred.status, preferred.header("preference-applied")),
        (202, Some("respond-async"))
    );
    finish(&pool, &pool.next_job().await, "[9]"); // else the end waits for it
    house.close().await;
}

#[tokio::test]
async fn a_caller_who_would_rather_not_wait_is_answered_at_once() {
    let house = House::open().await;
    house.by_hand(fixture::object("slow"));
    let mut caller = house.caller().await;
    for kind in ["predict", "tasks"] {
        let accepted = caller
            .ask(
                &format!("POST /v1/models/slow/{kind}"),
                &[JSON, ("prefer", "respond-async")],
                r#"{"input":1}"#,
            )
            .await;
        assert_eq!(
            (accepted.status, accepted.json()["status"].as_str()),
            (202, Some("PENDING"))
        );
        assert_eq!(accepted.header("preference-applied"), Some("respond-async"));
    }
    house.close().await;
}

#[tokio::test]
async fn a_result_that_the_caller_does_not_accept_is_told_with_its_task() {
    let house = House::open().await.with_echo().await;
    let mut caller = house.caller().await;
    let refused = caller
        .ask(
            "POST /v1/models/echo/predict",
            &[JSON, ("prefer", "wait=20"), ("accept", "application/x-npy")],
            r#"{"input":7}"#,
        )
        .await;
    assert_eq!(
        (refused.status, refused.header("location")),
        (406, None),
        "known before it is stored"
    );
    let key = caller
        .ask(
            "POST /v1/models/echo/predict",
            &[JSON, ("prefer", "wait=20"), ("idempotency-key", "")],
            r#"{"input":7}"#,
        )
        .await;
    assert_eq!(key.status, 422);
    house.close().await;
}
