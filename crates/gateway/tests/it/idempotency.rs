//! `Idempotency-Key`: a submit that may be sent again.

use serde_json::json;
use tokio::task::JoinSet;

use crate::fixture;
use crate::house::House;
use crate::wire::{Answer, Caller};

const TASKS: &str = "/v1/models/echo/tasks";

async fn submit(caller: &mut Caller, keys: &str, body: &str) -> Answer {
    let length = body.len();
    caller
        .send(format!(
            "POST {TASKS} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n{keys}\r\n{body}"
        ))
        .await;
    caller.answer().await
}

#[tokio::test]
async fn the_same_key_and_body_give_the_same_task_also_after_its_end() {
    let house = House::open().await.with_echo().await;
    let mut caller = house.caller().await;
    let body = r#"{"input": [1], "priority": 5, "metadata": {"k": 1}}"#;
    let first = submit(&mut caller, "idempotency-key: k-1\r\n", body).await;
    assert_eq!((first.status, first.header("idempotency-replayed")), (202, None));
    let place = first.header("location").unwrap().to_owned();
    let ended = caller.get(&format!("{place}?wait=20s")).await;
    assert_eq!(ended.json()["status"], "SUCCESS");
    // Bare and quoted are one key; what stands around the options is no part of what they say.
    let spaced = r#"{ "metadata": {"k": 1}, "priority": 5, "input": [1] }"#;
    for (key, body) in [("k-1", body), ("\"k-1\"", body), ("k-1", spaced)] {
        let again = submit(&mut caller, &format!("Idempotency-Key: {key}\r\n"), body).await;
        assert_eq!(
            (again.status, again.header("idempotency-replayed")),
            (202, Some("true")),
            "{key} {body}"
        );
        assert_eq!(again.header("location"), Some(&*place));
        let (again, first) = (again.json(), first.json());
        assert_eq!(
            (&again["task_id"], &again["created_at"], &again["status"]),
            (&first["task_id"], &first["created_at"], &json!("SUCCESS"))
        );
    }
    let without = submit(&mut caller, "", body).await;
    assert_ne!(without.header("location"), Some(&*place));
    house.close().await;
}

#[tokio::test]
async fn the_same_key_with_another_body_is_refused() {
    let house = House::open().await.with_echo().await;
    let mut caller = house.caller().await;
    let key = "idempotency-key: k-1\r\n";
    submit(&mut caller, key, r#"{"input": [1]}"#).await;
    for body in [
        r#"{"input": [2]}"#,
        r#"{"input": [1], "priority": 1}"#,
        r#"{"input": [1], "metadata": {}}"#,
    ] {
        let refused = submit(&mut caller, key, body).await;
        assert_eq!(refused.code(), "idempotency_key_reused", "{body}");
        let detail = refused.json()["detail"].to_string();
        assert!(
            detail.contains("Idempotency-Key") && detail.contains("`echo`"),
            "{detail}"
        );
    }
    house.close().await;
}

#[tokio::test]
async fn what_is_no_key_is_refused_by_name_and_makes_no_task() {
    let house = House::open().await;
    house.by_hand(fixture::object("echo"));
    let mut caller = house.caller().await;
    let long = format!("idempotency-key: {}\r\n", "k".repeat(256));
    for keys in [
        "idempotency-key:\r\n",
        "idempotency-key: a b\r\n",
        "idempotency-key: \"a\r\n",
        "idempotency-key: a\r\nidempotency-key: b\r\n",
        &long,
    ] {
        let refused = submit(&mut caller, keys, r#"{"input": 1}"#).await;
        assert_eq!(refused.code(), "invalid_input", "{keys}");
        assert_eq!(refused.json()["errors"][0]["field"], "Idempotency-Key");
    }
    assert_eq!(house.engine.model("echo").unwrap().depth.tasks, 0);
    house.engine.stop(std::time::Duration::ZERO).await;
}

#[tokio::test]
async fn many_at_once_with_one_key_make_one_task() {
    let house = House::open().await;
    house.by_hand(fixture::object("echo"));
    let mut calls = JoinSet::new();
    for _ in 0..24 {
        let mut caller = house.caller().await;
        calls.spawn(async move { submit(&mut caller, "idempotency-key: k\r\n", r#"{"input": 1}"#).await });
    }
    let answers = calls.join_all().await;
    let fresh = answers
        .iter()
        .filter(|a| a.header("idempotency-replayed").is_none());
    assert_eq!(fresh.count(), 1);
    for answer in &answers {
        assert_eq!(answer.header("location"), answers[0].header("location"));
        assert_eq!(answer.status, 202);
    }
    assert_eq!(house.engine.model("echo").unwrap().depth.tasks, 1);
    house.engine.stop(std::time::Duration::ZERO).await;
}
