//! Dead letters over HTTP: found, looked at, run again once, thrown away.

use cresset_gateway::GatewayOptions;
use serde_json::{Value, json};

use crate::house::House;

async fn listed(house: &House, query: &str) -> (Vec<String>, Value) {
    let page = house.get(&format!("/v1/dead{query}")).await.json();
    let ids = page["letters"].as_array().unwrap().iter();
    let ids = ids
        .map(|letter| letter["task_id"].as_str().unwrap().to_owned())
        .collect();
    (ids, page["next"].clone())
}

#[tokio::test]
async fn a_letter_tells_what_is_known_and_gives_the_input_back() {
    let options = GatewayOptions {
        show_tracebacks: true,
        ..GatewayOptions::default()
    };
    let house = House::with(options).await.with_echo().await;
    let id = house.poisoned("echo").await;
    let mut letter = house.get(&format!("/v1/dead/{id}")).await.json();
    for time in ["created_at", "died_at"] {
        assert!(letter[time].take().is_string(), "{letter}");
    }
    assert!(letter["tried"].take().as_u64().unwrap() >= 3);
    let told = json!({
        "task_id": id, "model": "echo", "version": "7", "created_at": null, "died_at": null, "cause": "signal",
        "reason": "was ended by signal 11", "tried": null, "resident_bytes": 3_u64 << 30, "log": ["about to crash"],
        "priority": 7, "retry": null, "input_bytes": 8, "replayed_as": null, "metadata": {"a": [1]},
    });
    assert_eq!(letter, told);
    let input = house.get(&format!("/v1/dead/{id}/input")).await;
    assert_eq!((input.status, input.text()), (200, "\"poison\""));
    assert_eq!(input.header("cresset-model"), Some("echo"));
    house.close().await;
}

#[tokio::test]
async fn what_the_process_printed_is_shown_only_where_tracebacks_are() {
    let house = House::open().await.with_echo().await;
    let id = house.poisoned("echo").await;
    let letter = house.get(&format!("/v1/dead/{id}")).await.json();
    assert_eq!(letter["log"], Value::Null);
    assert_eq!(house.get("/v1/dead").await.json()["letters"], json!([letter]));
    house.close().await;
}

#[tokio::test]
async fn a_letter_makes_one_task_however_often_it_is_replayed() {
    let house = House::open().await.with_echo().await;
    let id = house.poisoned("echo").await;
    let path = format!("/v1/dead/{id}/replay");
    let first = house.post(&path, "").await;
    assert_eq!((first.status, first.header("idempotency-replayed")), (202, None));
    let task = first.json();
    assert_eq!(
        (&task["replay_of"], &task["status"]),
        (&json!(id), &json!("PENDING"))
    );
    let place = first.header("location").unwrap().to_owned();
    let record = house.get(&format!("{place}?wait=20s")).await.json();
    assert_eq!(
        (&record["replay_of"], &record["priority"], &record["metadata"]),
        (&json!(id), &json!(7), &json!({"a": [1]}))
    );
    let second = house.post(&path, "ignored").await;
    assert_eq!(
        (
            second.status,
            second.header("idempotency-replayed"),
            second.header("location")
        ),
        (202, Some("true"), Some(&*place))
    );
    assert_eq!(second.json()["status"], "FAILURE");
    let letter = house.get(&format!("/v1/dead/{id}")).await.json();
    assert_eq!(letter["replayed_as"], task["task_id"]);
    house.close().await;
}

#[tokio::test]
async fn the_list_goes_page_by_page_the_newest_first() {
    let house = House::open().await.with_echo().await;
    house.automatic(crate::fixture::object("other")).all_up();
    house.until_ready().await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(house.poisoned("echo").await);
    }
    let other = house.poisoned("other").await;
    assert_eq!(listed(&house, "?model=other").await, (vec![other], Value::Null));
    let (first, next) = listed(&house, "?model=echo&limit=2").await;
    assert_eq!(first, [&*ids[2], &*ids[1]]);
    let after = next.as_str().unwrap();
    let (last, next) = listed(&house, &format!("?model=echo&limit=2&after={after}")).await;
    assert_eq!((last, next), (vec![ids[0].clone()], Value::Null));
    house.close().await;
}

#[tokio::test]
async fn letters_are_thrown_away_one_by_one_by_model_by_age_or_all() {
    let house = House::open().await.with_echo().await;
    house.automatic(crate::fixture::object("other")).all_up();
    house.until_ready().await;
    let (one, kept) = (house.poisoned("echo").await, house.poisoned("other").await);
    let path = format!("/v1/dead/{one}");
    assert_eq!(house.delete(&path).await.json(), json!({"purged": 1}));
    assert_eq!(house.delete(&path).await.code(), "unknown_letter");
    assert_eq!(house.get(&format!("{path}/input")).await.code(), "unknown_letter");
    house.poisoned("echo").await;
    for (query, count) in [("before=1h", 0), ("model=echo&before=0s", 1), ("model=nobody", 0)] {
        let answer = house.delete(&format!("/v1/dead?{query}")).await;
        assert_eq!(answer.json(), json!({"purged": count}), "{query}");
    }
    assert_eq!(listed(&house, "").await.0, [kept]);
    assert_eq!(
        house.delete("/v1/dead?all=true").await.json(),
        json!({"purged": 1})
    );
    assert!(listed(&house, "").await.0.is_empty());
    house.close().await;
}

#[tokio::test]
async fn what_makes_no_sense_is_refused_in_words() {
    let house = House::open().await;
    let nobody = "0197b0a0-0000-7000-8000-000000000000";
    for (method, path, code, words) in [
        ("GET", "/v1/dead?limit=0", "bad_query", "a number from 1 to 100"),
        ("GET", "/v1/dead?limit=101", "bad_query", "a number from 1 to 100"),
        (
            "GET",
            "/v1/dead?after=x",
            "bad_query",
            "that a page gave as `next`",
        ),
        ("GET", "/v1/dead?model=a/b", "bad_query", "`model` is `a/b`"),
        ("GET", "/v1/dead?modle=a", "bad_query", "did you mean `model`"),
        (
            "GET",
            "/v1/dead/nobody",
            "unknown_letter",
            "`nobody` is not a task id",
        ),
        ("GET", &format!("/v1/dead/{nobody}"), "unknown_letter", nobody),
        (
            "POST",
            &format!("/v1/dead/{nobody}/replay"),
            "unknown_letter",
            nobody,
        ),
        (
            "DELETE",
            "/v1/dead",
            "bad_query",
            "Say `model`, `before` or both; or `all=true`",
        ),
        ("DELETE", "/v1/dead?all=yes", "bad_query", "`all` is `yes`"),
        (
            "DELETE",
            "/v1/dead?all=true&model=m",
            "bad_query",
            "one or the other",
        ),
        ("DELETE", "/v1/dead?before=old", "bad_query", "an instant such as"),
    ] {
        let line = format!("{method} {path}");
        let answer = house.caller().await.ask(&line, &[], "").await;
        assert_eq!(answer.code(), code, "{line}");
        let detail = answer.problem()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(words), "{line}: {detail}");
    }
    house.close().await;
}
