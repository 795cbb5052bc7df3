//! Every route as it should go.

use serde_json::json;

use crate::fixture;
use crate::house::House;

#[tokio::test]
async fn a_task_is_accepted_then_found_then_its_result_fetched() {
    let house = House::open().await.with_echo().await;
    let mut caller = house.caller().await;
    let accepted = caller
        .post(
            "/v1/models/echo/tasks",
            r#"{"input": {"a" : [1, 2]}, "priority": 5, "metadata": {"k":  1}}"#,
        )
        .await;
    assert_eq!(
        (accepted.status, accepted.header("content-type")),
        (202, Some("application/json"))
    );
    let body = accepted.json();
    assert_eq!(
        (&body["model"], &body["status"], &body["durable"]),
        (&json!("echo"), &json!("PENDING"), &json!(true))
    );
    let path = format!("/v1/tasks/{}", body["task_id"].as_str().unwrap());
    assert_eq!(accepted.header("location"), Some(&*path));

    let task = caller.get(&format!("{path}?wait=20s")).await;
    assert_eq!(task.status, 200);
    let text = task.text();
    assert!(
        text.contains(r#""result":{"a" : [1, 2]}"#) && text.contains(r#""metadata":{"k":  1}"#),
        "untouched: {text}"
    );
    let task = task.json();
    assert_eq!(
        (&task["status"], &task["version"], &task["priority"]),
        (&json!("SUCCESS"), &json!("7"), &json!(5))
    );
    assert_eq!(
        (&task["attempts"], &task["queue_position"]),
        (&json!(1), &json!(null))
    );
    assert_eq!(task["created_at"], body["created_at"]);

    let result = caller.get(&format!("{path}/result")).await;
    assert_eq!((result.status, result.text()), (200, r#"{"a" : [1, 2]}"#));
    assert_eq!(result.header("content-type"), Some("application/json"));
    house.close().await;
}

#[tokio::test]
async fn a_prediction_answers_its_result() {
    let house = House::open().await.with_echo().await;
    let answer = house
        .post(
            "/v1/models/echo/predict",
            r#"{"input": "héllo", "timeout": "5s"}"#,
        )
        .await;
    assert_eq!(
        (answer.status, answer.text()),
        (200, r#"{"result":"héllo","model":"echo","version":"7"}"#)
    );
    house.close().await;
}

#[tokio::test]
async fn tensors_go_in_and_come_out_as_arrays() {
    let house = House::open().await;
    house.automatic(fixture::tensors("pair")).all_up();
    house.until_ready().await;
    let body = r#"{"input": {"scale": 0.5, "pixels": [[1, 2], [3, 4]]}}"#;
    let answer = house.post("/v1/models/pair/predict", body).await.json();
    assert_eq!(
        answer["result"],
        json!({"pixels": [[1.0, 2.0], [3.0, 4.0]], "scale": 0.5})
    );
    let path = house.submitted("pair", body).await;
    let result = house.get(&format!("{path}/result?wait=20")).await;
    assert_eq!((result.status, result.json()["scale"].clone()), (200, json!(0.5)));
    house.close().await;
}

#[tokio::test]
async fn large_bodies_take_the_way_over_blocking_threads_and_arrive_whole() {
    let house = House::open().await.with_echo().await;
    let text = "x".repeat(3 << 20);
    let answer = house
        .post("/v1/models/echo/predict", &format!(r#"{{"input": "{text}"}}"#))
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()["result"], text);
    let path = house
        .submitted("echo", &format!(r#"{{"input": "{text}"}}"#))
        .await;
    assert_eq!(house.get(&format!("{path}?wait=20")).await.json()["result"], text);
    house.close().await;
}

#[tokio::test]
async fn chunked_bodies_and_pipelined_requests_are_read() {
    let house = House::open().await.with_echo().await;
    let mut caller = house.caller().await;
    let chunked = "POST /v1/models/echo/predict HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n\
                   5\r\n{\"inp\r\n8\r\nut\": 12}\r\n0\r\n\r\n";
    caller.send(chunked.repeat(3)).await;
    for _ in 0..3 {
        assert_eq!(caller.answer().await.json()["result"], 12);
    }
    assert_eq!(caller.get("/health/live").await.status, 200);
    house.close().await;
}

#[tokio::test]
async fn models_are_listed_with_their_declarations() {
    let house = House::open().await.with_echo().await;
    house.automatic(fixture::tensors("pair")).all_up();
    house.until_ready().await;
    let list = house.get("/v1/models").await.json();
    let names: Vec<_> = list["models"]
        .as_array()
        .unwrap()
        .iter()
        .map(|m| m["name"].as_str().unwrap())
        .collect();
    assert_eq!(names, ["echo", "pair"]);
    let mut one = house.get("/v1/models/pair").await.json();
    assert!(
        !one.to_string().contains("secret"),
        "the server's folders are its own"
    );
    for instance in one["instances"].as_array_mut().unwrap() {
        assert!(instance["since"].as_str().unwrap().ends_with('Z'));
        instance["since"] = json!("(then)");
    }
    insta::assert_json_snapshot!(one);
    house.close().await;
}

#[tokio::test]
async fn health_tells_ready_from_live() {
    let house = House::open().await;
    let pool = house.automatic(fixture::object("echo"));
    assert_eq!(house.get("/health/live").await.text(), r#"{"status":"live"}"#);
    let not_yet = house.get("/health/ready").await;
    assert_eq!(not_yet.status, 503);
    let body = not_yet.json();
    assert_eq!(
        (
            &body["ready"],
            &body["models"][0]["name"],
            &body["models"][0]["state"]
        ),
        (&json!(false), &json!("echo"), &json!("starting"))
    );
    pool.all_up();
    house.until_ready().await;
    let ready = house.get("/health/ready?cache-buster=1").await;
    assert_eq!(
        (ready.status, ready.json()["models"][0]["reason"].clone()),
        (200, json!(null))
    );
    house.close().await;
}

#[tokio::test]
async fn the_server_describes_itself() {
    let house = House::open().await.with_echo().await;
    let root = house.get("/").await.json();
    for link in root["links"].as_object().unwrap().values() {
        assert_eq!(house.get(link.as_str().unwrap()).await.status, 200, "{link}");
    }
    assert_eq!(
        house.get("/openapi.json").await.text(),
        cresset_gateway::openapi()
    );
    assert!(house.get("/docs/errors").await.text().contains("## queue_full"));
    house.close().await;
}

#[tokio::test]
async fn requests_are_counted_by_route_and_never_by_raw_path() {
    let house = House::open().await.with_echo().await;
    house.post("/v1/models/echo/predict", r#"{"input": 1}"#).await;
    house.get("/v1/models/nobody").await;
    house.get("/no/such/path").await;
    house
        .caller()
        .await
        .send("BREW / HTTP/1.1\r\nhost: x\r\n\r\n")
        .await;
    let mut caller = house.caller().await;
    caller.send("BREW / HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert_eq!(caller.answer().await.status, 405);
    let metrics = house.get("/metrics").await;
    assert_eq!(
        metrics.header("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    let text = metrics.text();
    for (method, route, code) in [
        ("POST", "/v1/models/{model}/predict", 200),
        ("GET", "/v1/models/{model}", 404),
        ("GET", "none", 404),
        ("other", "/", 405),
    ] {
        let line =
            format!(r#"cresset_http_requests_total{{method="{method}",route="{route}",code="{code}"}}"#);
        assert!(text.contains(&line), "{line} in\n{text}");
    }
    assert!(!text.contains("nobody") && !text.contains("BREW") && text.ends_with("# EOF\n"));
    house.close().await;
}

#[tokio::test]
async fn the_callers_request_id_is_echoed_and_an_odd_one_replaced() {
    let house = House::open().await;
    let mut caller = house.caller().await;
    caller
        .send("GET /health/live HTTP/1.1\r\nhost: x\r\nx-request-id: abc-123\r\n\r\n")
        .await;
    assert_eq!(caller.answer().await.header("x-request-id"), Some("abc-123"));
    caller
        .send("GET /health/live HTTP/1.1\r\nhost: x\r\nx-request-id: a b\"c\r\n\r\n")
        .await;
    assert!(
        !caller
            .answer()
            .await
            .header("x-request-id")
            .unwrap()
            .contains(' ')
    );
    house.close().await;
}

#[tokio::test]
async fn head_answers_like_get_without_a_body() {
    let house = House::open().await;
    let mut caller = house.caller().await;
    caller
        .send("HEAD /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    let mut all = Vec::new();
    caller.rest(&mut all).await;
    let text = String::from_utf8(all).unwrap();
    assert!(
        text.starts_with("HTTP/1.1 200 OK\r\n")
            && text.contains("content-length: 17\r\n")
            && text.ends_with("\r\n\r\n"),
        "{text}"
    );
    house.close().await;
}
