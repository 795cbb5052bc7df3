//! Tasks that wait for their time, expire, or are cancelled, as their callers see them.

use serde_json::json;

use crate::fixture;
use crate::house::{House, finish};

#[tokio::test]
async fn a_queued_task_is_cancelled_and_says_so() {
    let house = House::open().await;
    house.by_hand(fixture::object("echo"));
    let path = house.submitted("echo", r#"{"input": 1}"#).await;
    let cancelled = house.post(&format!("{path}/cancel"), "").await;
    assert_eq!(cancelled.status, 200, "{cancelled:?}");
    let body = cancelled.json();
    assert_eq!(
        (&body["status"], &body["cancelled"]),
        (&json!("REVOKED"), &json!("before"))
    );
    let task = house.get(&path).await.json();
    assert_eq!(
        (&task["status"], &task["error"]["code"]),
        (&json!("REVOKED"), &json!("revoked"))
    );
    let again = house.post(&format!("{path}/cancel"), "").await.json();
    assert_eq!(again["cancelled"], "too_late");
    assert_eq!((body.get("grace_ms"), again.get("grace_ms")), (None, None));
    house.close().await;
}

#[tokio::test]
async fn a_running_task_is_revoked_and_its_waiter_told_at_once() {
    let house = House::open().await;
    let pool = house.by_hand(fixture::object("echo"));
    pool.all_up();
    let path = house.submitted("echo", r#"{"input": 1}"#).await;
    let held = pool.next_job().await;
    let mut waiter = house.caller().await;
    waiter
        .send(format!("GET {path}?wait=20s HTTP/1.1\r\nhost: x\r\n\r\n"))
        .await;
    let cancelled = house.post(&format!("{path}/cancel"), "").await.json();
    assert_eq!(cancelled["cancelled"], "during");
    assert_eq!(cancelled["grace_ms"], 20_000);
    assert_eq!(waiter.answer().await.json()["status"], "REVOKED");
    finish(&pool, &held, "2");
    assert_eq!(house.get(&path).await.json()["status"], "REVOKED");
    house.close().await;
}

#[tokio::test]
async fn what_is_not_there_cannot_be_cancelled() {
    let house = House::open().await.with_echo().await;
    let nobody = "/v1/tasks/019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10/cancel";
    assert_eq!(house.post(nobody, "").await.code(), "unknown_task");
    assert_eq!(
        house.post("/v1/tasks/seven/cancel", "").await.code(),
        "unknown_task"
    );
    let path = house.submitted("echo", r#"{"input": 1}"#).await;
    let odd = house.post(&format!("{path}/cancel?force=1"), "").await;
    assert_eq!(odd.code(), "bad_query");
    house.close().await;
}

#[tokio::test]
async fn a_delayed_task_shows_its_time_and_no_position() {
    let house = House::open().await.with_echo().await;
    let path = house
        .submitted(
            "echo",
            r#"{"input": 1, "eta": "2099-01-31T09:00:00+01:00", "expires": "2099-02-01T00:00:00Z"}"#,
        )
        .await;
    let task = house.get(&path).await.json();
    assert_eq!(
        (&task["status"], &task["eta"], &task["expires_at"]),
        (
            &json!("PENDING"),
            &json!("2099-01-31T08:00:00.000000Z"),
            &json!("2099-02-01T00:00:00.000000Z")
        )
    );
    assert_eq!(
        (&task["queue_position"], &task["history"]),
        (&json!(null), &json!([]))
    );
    house.close().await;
}

#[tokio::test]
async fn a_short_delay_ends_and_a_task_that_nobody_can_start_expires() {
    let house = House::open().await.with_echo().await;
    house.by_hand(fixture::object("down"));
    let delayed = house
        .submitted("echo", r#"{"input": 1, "countdown": 0.05}"#)
        .await;
    let expiring = house
        .submitted("down", r#"{"input": 1, "expires": "50ms"}"#)
        .await;
    let task = house.get(&format!("{delayed}?wait=20s")).await.json();
    assert_eq!((&task["status"], &task["eta"]), (&json!("SUCCESS"), &json!(null)));
    let task = house.get(&format!("{expiring}?wait=20s")).await.json();
    assert_eq!(task["status"], "REVOKED");
    assert!(
        task["error"]["message"].as_str().unwrap().contains("expired"),
        "{task}"
    );
    house.close().await;
}
