//! The list of tasks over HTTP.

use serde_json::{Value, json};

use crate::fixture;
use crate::house::House;

async fn listed(house: &House, query: &str) -> (Vec<String>, Value) {
    let page = house.get(&format!("/v1/tasks{query}")).await.json();
    let ids = page["tasks"].as_array().unwrap().iter();
    let ids = ids.map(|task| format!("/v1/tasks/{}", task["task_id"].as_str().unwrap()));
    (ids.collect(), page["next"].clone())
}

#[tokio::test]
async fn tasks_are_listed_newest_first_and_page_by_page() {
    let house = House::open().await.with_echo().await;
    house.by_hand(fixture::object("slow"));
    assert_eq!(listed(&house, "").await, (vec![], Value::Null));
    let body = r#"{"input":1,"metadata":{"a":[1]},"priority":-3}"#;
    let first = house.submitted("echo", body).await;
    house.get(&format!("{first}?wait=20s")).await;
    let second = house.submitted("slow", r#"{"input":2}"#).await;
    let third = house.submitted("slow", r#"{"input":3,"countdown":"1h"}"#).await;
    let all = vec![third.clone(), second.clone(), first.clone()];
    assert_eq!(listed(&house, "").await, (all, Value::Null));
    let (page, next) = listed(&house, "?limit=2").await;
    assert_eq!(page, [third.clone(), second.clone()]);
    let rest = format!("?limit=2&after={}", next.as_str().unwrap());
    assert_eq!(listed(&house, &rest).await, (vec![first.clone()], Value::Null));
    let slow = vec![third, second];
    assert_eq!(listed(&house, "?model=slow").await, (slow.clone(), Value::Null));
    assert_eq!(listed(&house, "?status=PENDING").await, (slow, Value::Null));
    assert_eq!(listed(&house, "?model=gone").await, (vec![], Value::Null));

    let ended = house.get("/v1/tasks?status=SUCCESS").await.json();
    let mut whole = house.get(&first).await.json();
    let mut listed = ended["tasks"][0].clone();
    let members: Vec<_> = listed.as_object().unwrap().keys().cloned().collect();
    for member in members {
        assert_eq!(listed[&member].take(), whole[&member].take(), "{member}");
    }
    assert_eq!(ended["tasks"][0]["metadata"], json!({"a": [1]}));
    assert_eq!(ended["tasks"][0].get("result"), None);
    house.close().await;
}

#[tokio::test]
async fn a_wrong_question_says_what_would_be_right() {
    let house = House::open().await;
    for (query, hint) in [
        ("status=success", "a status is one of PENDING, STARTED"),
        ("limit=0", "a number from 1 to 100"),
        ("limit=101", "a number from 1 to 100"),
        ("after=x", "the number that a page gave as `next`"),
        ("model=a%20b", "`model` is `a b`"),
        (
            "state=PENDING",
            "this path takes `model`, `status`, `limit`, `after`",
        ),
    ] {
        let refused = house.get(&format!("/v1/tasks?{query}")).await;
        assert_eq!(
            (refused.status, refused.code()),
            (400, "bad_query".into()),
            "{query}"
        );
        let detail = refused.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(hint), "{query}: {detail}");
    }
    house.close().await;
}
