//! Files over real sockets: in as a body or a form, out as bytes for who asks for their type, and JSON for all others.

use cresset_config::ModelConfig;
use serde_json::json;

use crate::fixture;
use crate::house::House;

const PREDICT: &str = "POST /v1/models/turn/predict";
const TASKS: &str = "POST /v1/models/turn/tasks";
const PNG: (&str, &str) = ("content-type", "image/png");
const DATA: &[u8] = b"\x89PNG\r\n\x1a\n";

/// Two models that give back what they get; one takes files.
async fn house() -> House {
    let house = House::open().await;
    let turn = ModelConfig {
        files: cresset_config::Files::as_bytes(),
        ..fixture::object("turn")
    };
    house.automatic(turn).all_up();
    house.automatic(fixture::object("plain")).all_up();
    house.until_ready().await;
    house
}

#[tokio::test]
async fn a_file_comes_back_as_its_bytes_for_who_asks_for_its_type_and_as_json_for_all_others() {
    let house = house().await;
    let mut caller = house.caller().await;
    let file = json!({"$file": {"content_type": "image/png", "filename": null, "data": "iVBORw0KGgo="}});
    for accept in ["image/png", "image/*, */*;q=0.5", "application/octet-stream"] {
        let answer = caller.ask(PREDICT, &[PNG, ("accept", accept)], DATA).await;
        assert_eq!((answer.status, &answer.body[..]), (200, DATA), "{accept}");
        let media = if accept.starts_with("image") {
            "image/png"
        } else {
            accept
        };
        assert_eq!(answer.header("content-type"), Some(media), "{accept}");
        assert_eq!(answer.header("content-disposition"), Some("attachment"));
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(answer.header("cresset-model"), Some("turn"));
    }
    for accept in ["*/*", "application/json", "image/jpeg", "text/html,*/*;q=0.8"] {
        let answer = caller.ask(PREDICT, &[PNG, ("accept", accept)], DATA).await;
        assert_eq!(
            (answer.status, &answer.json()["result"]),
            (200, &file),
            "{accept}"
        );
    }
    house.close().await;
}

#[tokio::test]
async fn the_result_of_a_task_is_a_file_under_its_name_and_a_form_is_none() {
    let house = house().await;
    let mut caller = house.caller().await;
    let named = json!({"$file": {"content_type": "text/html", "filename": "ä.html", "data": "PGI+"}});
    let task = caller.ask(TASKS, &[], json!({"input": named}).to_string()).await;
    let path = format!("GET {}/result?wait=20s", task.header("location").unwrap());
    let answer = caller.ask(&path, &[("accept", "text/html")], "").await;
    assert_eq!((answer.status, &answer.body[..]), (200, &b"<b>"[..]));
    assert_eq!(answer.header("content-type"), Some("text/html"));
    assert_eq!(
        answer.header("content-disposition"),
        Some("attachment; filename=\"_.html\"; filename*=UTF-8''%C3%A4.html"),
        "a browser saves it, and runs nothing of it"
    );
    assert!(
        answer
            .header("content-security-policy")
            .unwrap()
            .contains("default-src 'none'")
    );
    assert_eq!(caller.get(&path[4..]).await.json(), named);

    let form = "--b\r\ncontent-disposition: form-data; name=\"a\"; filename=\"a.png\"\r\ncontent-type: image/png\r\n\r\nx\r\n--b--\r\n";
    let media = ("content-type", "multipart/form-data; boundary=b");
    let answer = caller.ask(PREDICT, &[media, ("accept", "image/png")], form).await;
    assert_eq!(answer.json()["result"]["a"]["$file"]["filename"], "a.png");
    house.close().await;
}

#[tokio::test]
async fn what_is_no_file_is_refused_in_words() {
    let house = house().await;
    let mut caller = house.caller().await;
    let broken = json!({"input": {"$file": {"content_type": "image/png", "data": "%"}}}).to_string();
    let answer = caller.ask(PREDICT, &[("accept", "image/png")], &broken).await;
    assert_eq!(answer.code(), "not_acceptable");
    assert!(
        answer.problem()["detail"]
            .as_str()
            .unwrap()
            .contains("is not base64")
    );
    let answer = caller
        .ask(
            PREDICT,
            &[("accept", "application/octet-stream")],
            r#"{"input": 1}"#,
        )
        .await;
    assert!(
        answer.problem()["detail"]
            .as_str()
            .unwrap()
            .contains("this is JSON")
    );

    let plain = "POST /v1/models/plain/predict";
    let answer = caller.ask(plain, &[PNG], DATA).await;
    assert_eq!(answer.code(), "unsupported_media_type");
    assert!(
        answer.problem()["detail"]
            .as_str()
            .unwrap()
            .contains("`files = true`")
    );
    // There an object of this key is what its sender meant by it.
    let input = json!({"input": {"$file": {"data": "AA=="}}}).to_string();
    let answer = caller
        .ask(plain, &[("accept", "image/png, application/json;q=0.1")], &input)
        .await;
    assert_eq!(answer.json()["result"], json!({"$file": {"data": "AA=="}}));
    house.close().await;
}
