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
