//! `/v1/batches`: many tasks in one request, as their callers see them.

use std::time::Duration;

use cresset_gateway::GatewayOptions;
use cresset_keys::Scope;
use serde_json::{Value, json};

use crate::fixture;
use crate::guarded::{BOTH, Guarded};
use crate::house::{House, finish, until};
use crate::wire::{Answer, Caller};

const LINES: (&str, &str) = ("content-type", "application/x-ndjson");
const SUBMIT: &str = "POST /v1/batches?model=echo";

async fn sent(house: &House, key: Option<&str>, body: &str) -> Answer {
    let headers: Vec<_> = [LINES]
        .into_iter()
        .chain(key.map(|key| ("idempotency-key", key)))
        .collect();
    house.caller().await.ask(SUBMIT, &headers, body).await
}

/// So many lines, each with its number.
fn lines(numbers: impl Iterator<Item = usize>) -> String {
    numbers.map(|i| format!("{{\"input\": {i}}}\n")).collect()
}

fn id(answer: &Answer) -> String {
    answer.json()["batch_id"].as_str().unwrap().to_owned()
}

async fn status(house: &House, id: &str) -> Value {
    house.get(&format!("/v1/batches/{id}")).await.json()
}

/// The batch once it is like this.
async fn once(house: &House, id: &str, is: &str) -> Value {
    for _ in 0..2_000 {
        let batch = status(house, id).await;
        if batch["status"] == is {
            return batch;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{id} did not become {is}: {}", status(house, id).await);
}

/// The results, from line `from` on.
async fn results(house: &House, id: &str, from: usize) -> Vec<Value> {
    let mut caller = house.caller().await;
    let head = format!("GET /v1/batches/{id}/results?from={from} HTTP/1.0\r\nhost: x\r\n\r\n");
    caller.send(head).await;
    let mut all = Vec::new();
    caller.rest(&mut all).await;
    let text = String::from_utf8(all).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.0 200"), "{head}");
    assert!(head.contains("application/x-ndjson"), "{head}");
    body.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn inputs(results: &[Value]) -> Vec<&Value> {
    results.iter().map(|line| &line["result"]).collect()
}

#[tokio::test]
async fn lines_become_tasks_and_their_results_come_in_order() {
    let house = House::open().await.with_echo().await;
    let body = lines(0..1_000);
    let answer = sent(&house, None, &body).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let batch = answer.json();
    let id = id(&answer);
    assert_eq!(
        answer.header("location"),
        Some(format!("/v1/batches/{id}").as_str())
    );
    assert_eq!(
        (&batch["accepted"], &batch["total"]),
        (&json!(1000), &json!(1000))
    );
    assert_eq!(batch["model"], "echo");
    let batch = once(&house, &id, "completed").await;
    assert_eq!(batch["counts"]["success"], 1000);
    assert!(batch["finished_at"].is_string(), "{batch}");
    let found = results(&house, &id, 0).await;
    assert_eq!(
        inputs(&found),
        (0..1_000)
            .map(Value::from)
            .collect::<Vec<_>>()
            .iter()
            .collect::<Vec<_>>()
    );
    assert!(
        found
            .iter()
            .enumerate()
            .all(|(i, line)| line["index"] == i && line["status"] == "SUCCESS")
    );
    let task = found[7]["task_id"].as_str().unwrap();
    let task = house.get(&format!("/v1/tasks/{task}")).await.json();
    assert_eq!(task["result"], 7, "a line is a task like any other");
    assert_eq!(results(&house, &id, 998).await.len(), 2);
    assert_eq!(results(&house, &id, 1_000).await.len(), 0);
    house.close().await;
}

#[tokio::test]
async fn a_wrong_line_is_told_in_its_place_and_stops_no_other() {
    let options = GatewayOptions {
        max_body_bytes: 300,
        ..GatewayOptions::default()
    };
    let house = House::with(options).await.with_echo().await;
    let long = "x".repeat(400);
    let body = format!(
        "{{\"input\": 0}}\n\n{{\"inptu\": 1, \"priority\": 900}}\nnot json\n{{\"input\": \"{long}\"}}\n{{\"input\": {{\"raise\": \"no\"}}}}\n{{\"input\": 5}}"
    );
    let answer = sent(&house, None, &body).await;
    let batch = once(&house, &id(&answer), "completed").await;
    assert_eq!(batch["counts"]["invalid"], 3, "{batch}");
    assert_eq!(batch["accepted"], 6, "white space between lines is none");
    let found = results(&house, &id(&answer), 0).await;
    let states: Vec<_> = found
        .iter()
        .map(|line| line["status"].as_str().unwrap())
        .collect();
    assert_eq!(
        states,
        ["SUCCESS", "INVALID", "INVALID", "INVALID", "FAILURE", "SUCCESS"]
    );
    let message = |i: usize| found[i]["error"]["message"].as_str().unwrap();
    for said in ["`inptu`", "`input`", "`priority`"] {
        assert!(message(1).contains(said), "{said}: {}", message(1));
    }
    assert!(message(2).contains("JSON"), "{}", message(2));
    assert!(message(3).contains("limits.max_body_bytes"), "{}", message(3));
    assert_eq!(found[1]["task_id"], Value::Null);
    assert_eq!(found[4]["error"]["code"], "model_error");
    house.close().await;
}

#[tokio::test]
async fn a_body_that_breaks_off_is_gone_on_with_under_its_key() {
    let house = House::open().await.with_echo().await;
    let whole = lines(0..700);
    let half = &whole[..whole.len() / 2];
    let mut caller = house.caller().await;
    let head = format!(
        "{SUBMIT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/jsonl\r\nidempotency-key: night\r\ncontent-length: {}\r\n\r\n",
        whole.len()
    );
    caller.send([head.as_bytes(), half.as_bytes()].concat()).await;
    let listed = async || house.get("/v1/batches").await.json()["batches"].clone();
    // What has come is accepted while the rest is waited for.
    let complete = half.matches('\n').count();
    let mut batch = Value::Null;
    for _ in 0..2_000 {
        batch = listed().await[0].clone();
        if batch["accepted"] == complete {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(
        (&batch["accepted"], &batch["total"]),
        (&json!(complete), &Value::Null),
        "{batch}"
    );
    assert_eq!(batch["status"], "accepting");
    drop(caller);
    let answer = sent(&house, Some("night"), &whole).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    assert_eq!(answer.header("idempotency-replayed"), Some("true"));
    assert_eq!(answer.json()["batch_id"], batch["batch_id"]);
    let id = id(&answer);
    let batch = once(&house, &id, "completed").await;
    assert_eq!(batch["counts"]["success"], 700, "each line once");
    let found = results(&house, &id, 0).await;
    assert_eq!(
        found
            .iter()
            .map(|line| line["result"].as_u64().unwrap())
            .collect::<Vec<_>>(),
        (0..700).collect::<Vec<_>>()
    );
    let all = house.get("/v1/tasks?limit=1").await.json();
    assert_eq!(all["tasks"].as_array().unwrap().len(), 1);
    // Whole, it is answered again; longer or shorter, it is another one.
    assert_eq!(sent(&house, Some("night"), &whole).await.status, 202);
    for other in [lines(0..699), lines(0..701)] {
        let refused = sent(&house, Some("night"), &other).await;
        assert_eq!(refused.problem()["code"], "idempotency_key_reused", "{refused:?}");
    }
    assert_eq!(listed().await.as_array().unwrap().len(), 1);
    house.close().await;
}

#[tokio::test]
async fn a_full_queue_makes_the_sender_wait_and_refuses_nothing() {
    let house = House::open().await;
    let mut config = fixture::object("echo");
    config.limits.max_queue = 10;
    house.automatic(config).all_up();
    house.until_ready().await;
    let answer = sent(&house, None, &lines(0..500)).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let batch = once(&house, &id(&answer), "completed").await;
    assert_eq!(batch["counts"]["success"], 500);
    house.close().await;
}

#[tokio::test]
async fn a_cancelled_batch_ends_and_takes_no_more() {
    let house = House::open().await;
    let pool = house.by_hand(fixture::object("echo"));
    pool.all_up();
    house.until_ready().await;
    let answer = sent(&house, Some("k"), &lines(0..600)).await;
    let id = id(&answer);
    let held = pool.next_job().await;
    let batch = status(&house, &id).await;
    assert_eq!(
        (&batch["status"], &batch["finished_at"]),
        (&json!("in_progress"), &Value::Null)
    );
    let unfinished = results(&house, &id, 0).await;
    assert_eq!(unfinished.len(), 600, "each line has one, ended or not");
    assert_eq!(unfinished[0]["status"], "STARTED");
    assert_eq!(unfinished[599]["status"], "PENDING");
    assert!(
        unfinished
            .iter()
            .all(|line| line.get("result").is_none() && line.get("error").is_none())
    );
    for _ in 0..2 {
        let cancelled = house.post(&format!("/v1/batches/{id}/cancel"), "").await;
        assert_eq!(cancelled.status, 200, "{cancelled:?}");
        let batch = cancelled.json();
        assert_eq!(
            (&batch["status"], &batch["counts"]["revoked"]),
            (&json!("cancelled"), &json!(600))
        );
        assert!(batch["cancelled_at"].is_string());
    }
    finish(&pool, &held, "1");
    let found = results(&house, &id, 0).await;
    assert!(
        found
            .iter()
            .all(|line| line["status"] == "REVOKED" && line["error"]["code"] == "revoked")
    );
    let again = sent(&house, Some("k"), &lines(0..600)).await;
    assert_eq!(
        (again.status, &again.json()["status"]),
        (202, &json!("cancelled"))
    );
}

#[tokio::test]
async fn a_completed_batch_stays_completed_when_it_is_cancelled_too_late() {
    let house = House::open().await.with_echo().await;
    let id = id(&sent(&house, None, &lines(0..3)).await);
    let completed = once(&house, &id, "completed").await;
    let answer = house.post(&format!("/v1/batches/{id}/cancel"), "").await;
    assert_eq!((answer.status, answer.json()), (200, completed.clone()));
    assert_eq!(status(&house, &id).await, completed);
    house.close().await;
}

#[tokio::test]
async fn a_batch_cancelled_while_its_lines_come_is_told_so() {
    let house = House::open().await.with_echo().await;
    let mut caller: Caller = house.caller().await;
    let head = format!(
        "{SUBMIT} HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\ncontent-length: 200\r\n\r\n"
    );
    caller.send(format!("{head}{{\"input\": 1}}\n")).await;
    let id = loop {
        let list = house.get("/v1/batches").await.json();
        if list["batches"][0]["accepted"] == 1 {
            break list["batches"][0]["batch_id"].as_str().unwrap().to_owned();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(
        house.post(&format!("/v1/batches/{id}/cancel"), "").await.status,
        200
    );
    caller.send("{\"input\": 2}\n").await;
    let problem = caller.answer().await.problem();
    assert_eq!(problem["code"], "batch_cancelled");
    let detail = problem["detail"].as_str().unwrap();
    assert!(
        detail.contains("1 lines of the batch") && detail.contains(&id),
        "{detail}"
    );
    until(|| house.engine.health().ready).await;
    house.close().await;
}

#[tokio::test]
async fn what_is_asked_wrongly_is_told_what_would_be_right() {
    let house = House::open().await.with_echo().await;
    let unknown = "019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10";
    for (line, headers, code) in [
        ("POST /v1/batches", &[LINES][..], "bad_query"),
        ("POST /v1/batches?model=echo&priority=1", &[LINES], "bad_query"),
        ("POST /v1/batches?model=ecko", &[LINES], "unknown_model"),
        (
            SUBMIT,
            &[("content-type", "application/json")],
            "unsupported_media_type",
        ),
        (
            SUBMIT,
            &[LINES, ("content-encoding", "gzip")],
            "unsupported_media_type",
        ),
        (SUBMIT, &[LINES, ("idempotency-key", "a b")], "invalid_input"),
        (SUBMIT, &[LINES, ("cresset-metadata", "[1]")], "invalid_input"),
        ("GET /v1/batches?limit=0", &[], "bad_query"),
        ("GET /v1/batches/nonsense", &[], "unknown_batch"),
    ] {
        let answer = house.caller().await.ask(line, headers, "{\"input\": 1}\n").await;
        assert_eq!(answer.problem()["code"], code, "{line}");
    }
    for path in ["", "/results"] {
        let answer = house.get(&format!("/v1/batches/{unknown}{path}")).await;
        assert_eq!(answer.problem()["code"], "unknown_batch", "{path}");
    }
    let answer = house.get(&format!("/v1/batches/{unknown}/results?from=x")).await;
    assert_eq!(answer.problem()["code"], "bad_query");
    let empty = sent(&house, None, "").await;
    assert_eq!(
        (empty.status, &empty.json()["status"]),
        (202, &json!("completed"))
    );
    assert_eq!(empty.json()["total"], 0);
    let with = [LINES, ("cresset-metadata", "{\"a\": [1]}")];
    let answer = house.caller().await.ask(SUBMIT, &with, "").await;
    assert_eq!(answer.json()["metadata"], json!({"a": [1]}));
    house.close().await;
}

#[tokio::test]
async fn a_batch_is_its_tenants() {
    let guarded = Guarded::open().await.with_echo().await;
    let ours = guarded.key("ours", &BOTH, |_| {});
    let theirs = guarded.key("theirs", &BOTH, |_| {});
    let admin = guarded.key("ops", &[Scope::Admin], |_| {});
    let narrow = guarded.key("ours", &BOTH, |key| {
        key.models = Some(vec!["other".parse().unwrap()])
    });
    let send = async |key: &str| {
        let headers = [LINES, ("authorization", key), ("idempotency-key", "same")];
        guarded
            .house
            .caller()
            .await
            .ask(SUBMIT, &headers, "{\"input\": 1}\n")
            .await
    };
    let mine = id(&send(&ours).await);
    assert_ne!(id(&send(&theirs).await), mine, "each tenant has keys of its own");
    assert_eq!(send(&narrow).await.problem()["code"], "forbidden");
    for path in ["", "/results"] {
        let line = format!("GET /v1/batches/{mine}{path}");
        let other = guarded.ask(&line, &theirs, "").await;
        assert_eq!(other.problem()["code"], "unknown_batch", "{line}");
    }
    let line = format!("POST /v1/batches/{mine}/cancel");
    assert_eq!(
        guarded.ask(&line, &theirs, "").await.problem()["code"],
        "unknown_batch"
    );
    for key in [&ours, &admin] {
        assert_eq!(
            guarded
                .ask(&format!("GET /v1/batches/{mine}"), key, "")
                .await
                .status,
            200
        );
    }
    let listed = async |key: &str| {
        guarded.ask("GET /v1/batches", key, "").await.json()["batches"]
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(
        (listed(&ours).await, listed(&theirs).await, listed(&admin).await),
        (1, 1, 2)
    );
    let tasks = guarded.ask("GET /v1/tasks", &theirs, "").await.json();
    assert_eq!(
        tasks["tasks"].as_array().unwrap().len(),
        1,
        "its tasks are its tenant's too"
    );
}
