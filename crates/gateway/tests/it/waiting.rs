//! Long polls.

use std::time::Duration;

use tokio::time::Instant;

use crate::fixture;
use crate::house::{House, finish};

#[tokio::test]
async fn a_waiting_caller_is_woken_by_the_result() {
    let house = House::open().await;
    let pool = house.by_hand(fixture::object("slow"));
    pool.all_up();
    house.until_ready().await;
    let path = house.submitted("slow", r#"{"input":1}"#).await;
    let mut one = house.caller().await;
    let mut two = house.caller().await;
    one.send(format!("GET {path}?wait=5m HTTP/1.1\r\nhost: x\r\n\r\n"))
        .await;
    two.send(format!("GET {path}/result?wait=5m HTTP/1.1\r\nhost: x\r\n\r\n"))
        .await;
    let held = pool.next_job().await;
    let started = house.get(&path).await.json();
    assert_eq!(
        (&started["status"], &started["attempts"]),
        (&"STARTED".into(), &1.into())
    );
    let since = Instant::now();
    finish(&pool, &held, "[7]");
    assert_eq!(one.answer().await.json()["result"][0], 7);
    assert_eq!(two.answer().await.text(), "[7]");
    assert!(since.elapsed() < Duration::from_secs(10), "woken, not timed out");
    house.close().await;
}

#[tokio::test]
async fn a_wait_that_runs_out_answers_the_task_as_it_is() {
    let house = House::open().await;
    house.by_hand(fixture::object("slow"));
    let first = house.submitted("slow", r#"{"input":1}"#).await;
    let second = house.submitted("slow", r#"{"input":2}"#).await;
    let task = house.get(&format!("{first}?wait=10ms")).await;
    assert_eq!(task.status, 200);
    assert_eq!(
        (&task.json()["status"], &task.json()["queue_position"]),
        (&"PENDING".into(), &0.into())
    );
    assert_eq!(house.get(&second).await.json()["queue_position"], 1);
    for path in [format!("{first}/result"), format!("{first}/result?wait=10ms")] {
        let result = house.get(&path).await;
        assert_eq!(
            (result.status, result.json()["status"].as_str()),
            (202, Some("PENDING"))
        );
    }
    house.close().await;
}

#[tokio::test]
async fn a_stopping_server_answers_waiting_callers_early() {
    let house = House::open().await;
    house.by_hand(fixture::object("slow"));
    let path = house.submitted("slow", r#"{"input":1}"#).await;
    let mut caller = house.caller().await;
    // In one write: answers to pipelined requests leave together, so the first one's comes once the poll waits too.
    let both =
        format!("GET /health/live HTTP/1.1\r\nhost: x\r\n\r\nGET {path}?wait=5m HTTP/1.1\r\nhost: x\r\n\r\n");
    caller.send(both).await;
    assert_eq!(caller.answer().await.status, 200);
    house.stop.cancel();
    let task = caller.answer().await;
    assert_eq!(
        (task.status, task.json()["status"].as_str()),
        (200, Some("PENDING"))
    );
    assert!(caller.is_closed().await);
    house.close().await;
}

#[tokio::test]
async fn a_submit_may_wait_for_the_end() {
    let house = House::open().await.with_echo().await;
    house.by_hand(fixture::object("slow"));
    let mut caller = house.caller().await;
    let json = ("content-type", "application/json");
    let line = "POST /v1/models/echo/tasks";
    let headers = [
        json,
        ("prefer", "respond-async, wait=20"),
        ("idempotency-key", "k"),
    ];
    for replayed in [None, Some("true")] {
        let done = caller.ask(line, &headers, r#"{"input":7}"#).await;
        assert_eq!(
            (done.status, done.header("preference-applied")),
            (200, Some("wait=20"))
        );
        assert_eq!(done.header("idempotency-replayed"), replayed);
        let task = done.json();
        assert_eq!((&task["status"], &task["result"]), (&"SUCCESS".into(), &7.into()));
        assert_eq!(house.get(done.header("location").unwrap()).await.json(), task);
    }
    let failed = caller
        .ask(line, &headers[..2], r#"{"input":{"raise":"no"}}"#)
        .await;
    assert_eq!(
        (failed.status, failed.json()["status"].as_str()),
        (200, Some("FAILURE"))
    );
    for (prefer, applied) in [("wait=0", Some("wait=0")), ("wait=soon", None)] {
        let slow = "POST /v1/models/slow/tasks";
        let accepted = caller
            .ask(slow, &[json, ("prefer", prefer)], r#"{"input":1}"#)
            .await;
        assert_eq!(
            (accepted.status, accepted.header("preference-applied")),
            (202, applied)
        );
        assert_eq!(accepted.json()["status"], "PENDING");
    }
    house.close().await;
}

#[tokio::test]
async fn a_stopping_server_answers_a_submit_that_waits_with_what_it_has_accepted() {
    let house = House::open().await;
    house.by_hand(fixture::object("slow"));
    let mut caller = house.caller().await;
    let body = r#"{"input":1}"#;
    let post = format!(
        "POST /v1/models/slow/tasks HTTP/1.1\r\nhost: x\r\nprefer: wait=200\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    caller.send(post).await;
    crate::house::until(|| house.engine.model("slow").unwrap().depth.tasks == 1).await;
    house.stop.cancel();
    let accepted = caller.answer().await;
    assert_eq!(
        (accepted.status, accepted.json()["status"].as_str()),
        (202, Some("PENDING"))
    );
    house.close().await;
}
