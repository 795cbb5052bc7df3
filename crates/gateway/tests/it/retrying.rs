//! How a task is tried again, as its submitter says it over HTTP.

use cresset_config::{ModelConfig, Retry};
use cresset_task::{DType, TensorSpec};
use serde_json::json;

use crate::fixture;
use crate::house::House;

#[tokio::test]
async fn a_task_shows_how_it_is_tried_again_in_the_words_of_its_submit() {
    let house = House::open().await.with_echo().await;
    let said =
        r#"{"input": 1, "retry": {"max_retries": 5, "delay": 1.5, "max_delay": "2h", "on": ["OSError"]}}"#;
    let path = house.submitted("echo", said).await;
    let shown = json!({"max_retries": 5, "delay": "1500ms", "max_delay": "2h", "on": ["OSError"]});
    assert_eq!(house.get(&path).await.json()["retry"], shown);
    // What is shown can be sent again.
    let body = json!({"input": 1, "retry": shown}).to_string();
    let path = house.submitted("echo", &body).await;
    assert_eq!(house.get(&path).await.json()["retry"], shown);
    for nothing in [
        r#"{"input": 1}"#,
        r#"{"input": 1, "retry": {}}"#,
        r#"{"input": 1, "retry": null}"#,
    ] {
        let path = house.submitted("echo", nothing).await;
        assert_eq!(house.get(&path).await.json()["retry"], json!(null), "{nothing}");
    }
    house.close().await;
}

#[tokio::test]
async fn a_task_is_tried_again_as_it_says() {
    let house = House::open().await;
    house
        .automatic(ModelConfig {
            retry: Retry {
                max_retries: 0,
                ..Retry::default()
            },
            ..fixture::object("echo")
        })
        .all_up();
    house.until_ready().await;
    let body = r#"{"input": {"raise": "busy"}, "retry": {"max_retries": 2, "delay": "1ms", "on": ["*"]}}"#;
    let path = house.submitted("echo", body).await;
    let task = house.get(&format!("{path}?wait=20s")).await.json();
    assert_eq!(
        (&task["status"], &task["retries"], &task["attempts"]),
        (&json!("FAILURE"), &json!(2), &json!(3)),
        "{task}"
    );
    house.close().await;
}

#[tokio::test]
async fn what_is_wrong_with_it_is_told_by_key_with_the_other_wrong_fields() {
    let house = House::open().await.with_echo().await;
    let body = r#"{"input": 1, "priority": 200, "retry": {"max_retries": -1, "dela": 1, "on": "OSError"}}"#;
    let refused = house.post("/v1/models/echo/tasks", body).await;
    assert_eq!((refused.status, refused.code().as_str()), (422, "invalid_input"));
    insta::assert_json_snapshot!(refused.json()["errors"]);
    let predicted = house
        .post("/v1/models/echo/predict", r#"{"input": 1, "retry": {}}"#)
        .await;
    assert_eq!(predicted.json()["errors"][0]["field"], "retry");
    house.close().await;
}

#[tokio::test]
async fn beside_bytes_it_is_a_header() {
    let house = House::open().await;
    let model = ModelConfig {
        inputs: vec![TensorSpec {
            name: "pixels".into(),
            dtype: DType::Float32,
            shape: vec![2],
            allow_non_finite: false,
            pad: None,
        }],
        ..fixture::object("digits")
    };
    house.automatic(model).all_up();
    let mut caller = house.caller().await;
    let bytes = ("content-type", "application/octet-stream");
    let tasks = "POST /v1/models/digits/tasks";
    let said = [bytes, ("cresset-retry", r#"{"max_retries": 9}"#)];
    let accepted = caller.ask(tasks, &said, vec![0; 8]).await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let path = accepted.header("location").unwrap().to_owned();
    assert_eq!(caller.get(&path).await.json()["retry"], json!({"max_retries": 9}));
    for (retry, field) in [
        ("nine", "Cresset-Retry"),
        (r#"{"on": [""]}"#, "Cresset-Retry.on[0]"),
    ] {
        let refused = caller
            .ask(tasks, &[bytes, ("cresset-retry", retry)], vec![0; 8])
            .await;
        assert_eq!(
            (refused.status, &refused.json()["errors"][0]["field"]),
            (422, &json!(field))
        );
    }
    let predict = "POST /v1/models/digits/predict";
    for (what, headers, body) in [
        (predict, &said[..], vec![0; 8]),
        (tasks, &said[1..], br#"{"input": [1, 2]}"#.to_vec()),
    ] {
        let refused = caller.ask(what, headers, body).await;
        assert_eq!(
            refused.json()["errors"][0]["field"],
            "Cresset-Retry",
            "{refused:?}"
        );
    }
    house.close().await;
}
