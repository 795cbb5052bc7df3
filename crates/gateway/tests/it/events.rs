//! Server-sent events.

use serde_json::Value;

use crate::fixture;
use crate::house::{House, finish};
use crate::wire::Caller;

/// Begins to follow; a caller of HTTP/1.0 is sent a body without chunks, up to the end of the connection.
async fn following(house: &House, path: &str, seen: Option<&str>) -> Caller {
    let mut caller = house.caller().await;
    let seen = seen
        .map(|id| format!("last-event-id: {id}\r\n"))
        .unwrap_or_default();
    caller
        .send(format!("GET {path}/events HTTP/1.0\r\nhost: x\r\n{seen}\r\n"))
        .await;
    caller
}

/// The next event: its id, and the task.
async fn event(caller: &mut Caller) -> (String, Value) {
    let text = caller.up_to("}\n\n").await;
    let text = text.strip_prefix("retry: 1000\n\n").unwrap_or(&text);
    let mut lines = text.lines();
    let id = lines.next().unwrap().strip_prefix("id: ").unwrap().to_owned();
    assert_eq!(lines.next(), Some("event: status"));
    let data = lines.next().unwrap().strip_prefix("data: ").unwrap();
    (id, serde_json::from_str(data).unwrap())
}

#[tokio::test]
async fn a_task_is_followed_to_its_end_and_from_where_one_was() {
    let house = House::open().await;
    let pool = house.by_hand(fixture::object("slow"));
    let path = house.submitted("slow", r#"{"input":1}"#).await;
    let mut caller = following(&house, &path, None).await;
    let head = caller.up_to("\r\n\r\n").await;
    for line in [
        "HTTP/1.0 200 OK\r\n",
        "content-type: text/event-stream\r\n",
        "cache-control: no-store\r\n",
        "x-accel-buffering: no\r\n",
    ] {
        assert!(head.contains(line), "{line:?} is not in {head:?}");
    }
    let (first, task) = event(&mut caller).await;
    assert_eq!(task["status"], "PENDING");
    pool.all_up();
    let held = pool.next_job().await;
    let (_, task) = event(&mut caller).await;
    assert_eq!(
        (&task["status"], &task["attempts"]),
        (&"STARTED".into(), &1.into())
    );
    finish(&pool, &held, "[\r\n 7]");
    let (last, task) = event(&mut caller).await;
    assert_eq!(task["status"], "SUCCESS");
    assert_eq!(task["result"], serde_json::json!([7]));
    assert_eq!(task, house.get(&path).await.json());
    assert!(
        caller.is_closed().await,
        "the end of the task is the end of the stream"
    );

    let mut back = following(&house, &path, Some(&first)).await;
    back.up_to("\r\n\r\n").await;
    assert_eq!(event(&mut back).await, (last.clone(), task));
    assert!(back.is_closed().await);
    let mut done = following(&house, &path, Some(&last)).await;
    let answer = done.up_to("\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 204 "), "{answer:?}");
    assert!(done.is_closed().await, "without a body");
    house.close().await;
}

#[tokio::test]
async fn what_cannot_be_followed_is_answered_with_a_problem() {
    let house = House::open().await.with_echo().await;
    let unknown = house
        .get("/v1/tasks/019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10/events")
        .await;
    assert_eq!(
        (unknown.status, unknown.json()["code"].as_str()),
        (404, Some("unknown_task"))
    );
    let path = house.submitted("echo", r#"{"input":1}"#).await;
    let query = house.get(&format!("{path}/events?wait=1s")).await;
    assert_eq!(
        (query.status, query.json()["code"].as_str()),
        (400, Some("bad_query"))
    );
    let line = format!("GET {path}/events");
    let mut caller = house.caller().await;
    let header = caller.ask(&line, &[("last-event-id", "x")], "").await;
    assert_eq!(
        (header.status, header.json()["code"].as_str()),
        (422, Some("invalid_input"))
    );
    house.close().await;
}

#[tokio::test]
async fn a_stopping_server_ends_the_streams() {
    let house = House::open().await;
    house.by_hand(fixture::object("slow"));
    let path = house.submitted("slow", r#"{"input":1}"#).await;
    let mut caller = following(&house, &path, None).await;
    caller.up_to("\r\n\r\n").await;
    event(&mut caller).await;
    house.stop.cancel();
    assert!(caller.is_closed().await);
    house.close().await;
}
