//! Callers that are slow, silent, deaf or too many: each is given up in time, told why where that can be, and counted.

use std::time::Duration;

use cresset_gateway::GatewayOptions;

use crate::house::{House, until};
use crate::wire::Caller;

const SHORT: Duration = Duration::from_millis(50);

async fn house(options: GatewayOptions) -> House {
    House::with(options).await.with_echo().await
}

fn count(house: &House, metric: &str) -> u64 {
    let text = house.engine.render_metrics();
    let line = text.lines().find(|line| line.starts_with(metric));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

/// Sends a byte again and again, until the other side has had enough or `stop`.
async fn drip(caller: &mut Caller, byte: &[u8]) {
    for _ in 0..200 {
        if caller.try_send(byte).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_head_that_drips_is_answered_408_and_closed() {
    let house = house(GatewayOptions {
        head_timeout: SHORT,
        ..Default::default()
    })
    .await;
    let mut caller = house.caller().await;
    caller.send("GET /health/live HTTP/1.1\r\nx-slow: ").await;
    drip(&mut caller, b"o").await;
    let answer = caller.answer().await;
    assert_eq!((answer.status, answer.code()), (408, "request_timeout".into()));
    assert!(
        answer.problem()["detail"]
            .as_str()
            .unwrap()
            .contains("server.head_timeout")
    );
    assert_eq!(
        count(&house, r#"cresset_connections_given_up_total{reason="head"}"#),
        1
    );
    assert_eq!(house.get("/health/live").await.status, 200);
    house.close().await;
}

#[tokio::test]
async fn a_body_that_drips_is_answered_408_however_it_is_framed() {
    let house = house(GatewayOptions {
        body_timeout: SHORT,
        min_rate: 1_000_000,
        ..Default::default()
    })
    .await;
    let head = "POST /v1/models/echo/tasks HTTP/1.1\r\nhost: x\r\n";
    for (framing, piece) in [
        ("content-length: 100000\r\n\r\n", "x"),
        ("transfer-encoding: chunked\r\n\r\n", "1\r\nx\r\n"),
    ] {
        let mut caller = house.caller().await;
        caller.send(format!("{head}{framing}")).await;
        drip(&mut caller, piece.as_bytes()).await;
        let answer = caller.answer().await;
        assert_eq!((answer.status, answer.code()), (408, "request_timeout".into()));
        let detail = answer.problem()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains("server.min_rate"), "{detail}");
    }
    house.close().await;
}

#[tokio::test]
async fn a_body_that_keeps_the_pace_may_take_long() {
    let house = house(GatewayOptions {
        body_timeout: Duration::from_millis(500),
        min_rate: 1,
        ..Default::default()
    })
    .await;
    let mut caller = house.caller().await;
    let body = format!(r#"{{"input":"{}"}}"#, "x".repeat(300));
    caller
        .send(format!(
            "POST /v1/models/echo/predict HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n",
            body.len()
        ))
        .await;
    for piece in body.as_bytes().chunks(1) {
        caller.send(piece).await;
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
    assert_eq!(
        caller.answer().await.status,
        200,
        "longer than the span, never slower than the rate"
    );
    house.close().await;
}

#[tokio::test]
async fn a_reader_that_never_reads_a_large_result_is_cut_off() {
    let house = house(GatewayOptions {
        write_timeout: Duration::from_millis(300),
        ..Default::default()
    })
    .await;
    let mut deaf = house.caller().await;
    let body = format!(r#"{{"input":"{}"}}"#, "x".repeat(50_000_000));
    deaf.send_post("/v1/models/echo/predict", body).await;
    let given_up = r#"cresset_connections_given_up_total{reason="write"}"#;
    until(|| count(&house, given_up) == 1).await;
    until(|| count(&house, "cresset_connections ") == 0).await;
    let mut reader = house.caller().await;
    let body = format!(r#"{{"input":"{}"}}"#, "x".repeat(5_000_000));
    let answer = reader.post("/v1/models/echo/predict", body).await;
    assert_eq!(answer.status, 200, "who reads gets it");
    house.close().await;
}

#[tokio::test]
async fn bytes_that_are_no_request_end_their_connection_and_no_other() {
    let house = house(GatewayOptions::default()).await;
    let mut bystander = house.caller().await;
    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], // how a TLS client begins
        b"\0\0\0\0\0\0\0\0\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
    ] {
        let mut caller = house.caller().await;
        caller.send(garbage).await;
        // Long before any timer.
        let answer = caller.answer().await;
        assert_eq!((answer.status, answer.code()), (400, "malformed_request".into()));
        let mut more = Vec::new();
        caller.rest(&mut more).await;
        assert!(more.is_empty(), "{more:?}");
        assert_eq!(bystander.get("/health/live").await.status, 200);
    }
    assert_eq!(house.get("/health/live").await.status, 200);
    house.close().await;
}

#[tokio::test]
async fn a_connection_above_the_limit_is_told_so_and_closed() {
    let house = house(GatewayOptions {
        max_connections: 2,
        ..Default::default()
    })
    .await;
    let mut first = house.caller().await;
    assert_eq!(first.get("/health/live").await.status, 200);
    let mut second = house.caller().await;
    assert_eq!(second.get("/health/live").await.status, 200);
    let mut third = house.caller().await;
    // The caller may have sent its request already, and a large one, and reads the answer all the same.
    third
        .send_post("/v1/models/echo/predict", "x".repeat(100_000))
        .await;
    let refused = third.answer().await;
    assert_eq!((refused.status, refused.code()), (503, "server_busy".into()));
    let bound = serde_json::json!({
        "setting": "server.max_connections", "unit": "connections", "limit": 2, "current": 2
    });
    assert_eq!(refused.problem()["bound"], bound);
    assert_eq!(refused.header("connection"), Some("close"));
    assert!(third.is_closed().await);
    assert_eq!(
        count(&house, r#"cresset_connections_refused_total{reason="limit"}"#),
        1
    );
    drop(second);
    until(|| count(&house, "cresset_connections ") == 1).await;
    assert_eq!(house.get("/health/live").await.status, 200, "there is room again");
    drop(first);
    house.close().await;
}

#[tokio::test]
async fn an_address_has_so_many_connections() {
    let house = house(GatewayOptions {
        max_connections_per_address: Some(1),
        ..Default::default()
    })
    .await;
    let mut first = house.caller().await;
    assert_eq!(first.get("/health/live").await.status, 200);
    let mut second = house.caller().await;
    let refused = second.answer().await;
    assert_eq!((refused.status, refused.code()), (429, "client_limit".into()));
    assert_eq!(
        refused.problem()["bound"]["setting"],
        "server.max_connections_per_address"
    );
    drop(first);
    until(|| count(&house, "cresset_connections ") == 0).await;
    assert_eq!(house.get("/health/live").await.status, 200);
    house.close().await;
}

#[tokio::test]
async fn a_head_that_is_too_large_is_refused_with_words() {
    let house = house(GatewayOptions::default()).await;
    let long = format!(
        "GET /health/live HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "a".repeat(300 << 10)
    );
    let many = format!(
        "GET /health/live HTTP/1.1\r\nhost: a\r\n{}\r\n",
        "x: 1\r\n".repeat(200)
    );
    for head in [long, many] {
        let mut caller = house.caller().await;
        caller.send(head.as_bytes()).await;
        let answer = caller.answer().await;
        assert_eq!((answer.status, answer.code()), (431, "head_too_large".into()));
    }
    let mut caller = house.caller().await;
    let fits = format!(
        "GET /health/live HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n",
        "a".repeat(40 << 10)
    );
    caller.send(fits.as_bytes()).await;
    assert_eq!(caller.answer().await.status, 200);
    house.close().await;
}

#[tokio::test]
async fn large_answers_to_those_who_do_not_read_have_a_bound() {
    let house = house(GatewayOptions {
        max_inflight_answer_bytes: 70 << 20,
        ..Default::default()
    })
    .await;
    // More than the buffers of a socket take.
    let body = format!(r#"{{"input":"{}"}}"#, "x".repeat(50 << 20));
    let path = house.submitted("echo", &body).await;
    assert_eq!(house.get(&format!("{path}/result?wait=20s")).await.status, 200);
    let mut deaf = house.caller().await;
    deaf.send(format!("GET {path}/result HTTP/1.1\r\nhost: x\r\n\r\n"))
        .await;
    deaf.up_to("\r\n\r\n").await;
    for path in [format!("{path}/result"), path.clone()] {
        let refused = house.get(&path).await;
        assert_eq!(refused.status, 503);
        let problem = refused.problem();
        assert_eq!(problem["code"], "server_busy");
        assert_eq!(problem["bound"]["setting"], "limits.max_inflight_answer_bytes");
        assert!(refused.header("retry-after").is_some());
    }
    let mut submit = house.caller().await;
    let headers = [("content-type", "application/json"), ("prefer", "wait=20")];
    let accepted = submit.ask("POST /v1/models/echo/tasks", &headers, &body).await;
    assert_eq!(
        accepted.status, 202,
        "it is accepted, and its result is fetched later"
    );
    assert_eq!(
        house.get("/health/live").await.status,
        200,
        "small ones are answered"
    );
    drop(deaf);
    let mut reader = house.caller().await;
    while reader.get(&format!("{path}/result")).await.status != 200 {}
    house.close().await;
}

#[tokio::test]
async fn an_answer_above_the_bound_is_given_when_it_is_alone() {
    let house = house(GatewayOptions {
        max_inflight_answer_bytes: 100 << 10,
        ..Default::default()
    })
    .await;
    let body = format!(r#"{{"input":"{}"}}"#, "x".repeat(1 << 20));
    for _ in 0..2 {
        let answer = house.post("/v1/models/echo/predict", &body).await;
        assert_eq!(answer.status, 200);
    }
    house.close().await;
}
