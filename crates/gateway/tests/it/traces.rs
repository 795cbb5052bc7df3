//! `traceparent` and `tracestate`: the trace of a request goes with what it asks for, and comes back in the task alone.

use cresset_runner::testing::Held;
use serde_json::{Value, json};

use crate::fixture;
use crate::house::{House, finish};
use crate::wire::Answer;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const JSON: (&str, &str) = ("content-type", "application/json");

async fn sent(house: &House, head: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let headers: Vec<_> = [JSON].iter().chain(headers).copied().collect();
    house.caller().await.ask(head, &headers, body).await
}

async fn submitted(house: &House, headers: &[(&str, &str)]) -> Value {
    let answer = sent(house, "POST /v1/models/echo/tasks", headers, r#"{"input": 1}"#).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let echoed = answer.headers.iter().any(|(name, _)| name.starts_with("trace"));
    assert!(!echoed, "the headers are for those behind us: {answer:?}");
    house.get(answer.header("location").unwrap()).await.json()
}

/// What the process is told of each item.
fn told(job: &Held) -> Vec<Option<String>> {
    let text = |trace: &Option<cresset_task::Trace>| trace.as_ref().map(cresset_task::Trace::to_text);
    job.traces.iter().map(text).collect()
}

#[tokio::test]
async fn a_task_goes_on_with_its_submitters_trace_to_its_process() {
    let house = House::open().await;
    let pool = house.by_hand(fixture::object("echo"));
    pool.all_up();
    house.until_ready().await;
    let task = submitted(
        &house,
        &[
            ("traceparent", PARENT),
            ("tracestate", "a=1"),
            ("tracestate", "b=2"),
        ],
    )
    .await;
    assert_eq!(task["trace_id"], TRACE);
    let job = pool.next_job().await;
    let [Some(trace)] = &told(&job)[..] else {
        panic!("one item, and it has a trace: {job:?}")
    };
    // The same trace, from a span of ours.
    assert!(
        trace.starts_with(&format!("00-{TRACE}-")) && trace.ends_with("-01 a=1,b=2"),
        "{trace}"
    );
    assert!(!trace.contains("00f067aa0ba902b7"), "{trace}");
    finish(&pool, &job, "3");

    assert_eq!(submitted(&house, &[]).await["trace_id"], Value::Null);
    let job = pool.next_job().await;
    assert!(
        job.traces.is_empty(),
        "nothing is said where there is nothing to say"
    );
    finish(&pool, &job, "3");
    house.close().await;
}

#[tokio::test]
async fn a_traceparent_that_is_none_is_ignored_and_its_tracestate_with_it() {
    let house = House::open().await;
    let pool = house.by_hand(fixture::object("echo"));
    pool.all_up();
    house.until_ready().await;
    for wrong in [
        "",
        "x",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        &PARENT[..54],
    ] {
        let task = submitted(&house, &[("traceparent", wrong), ("tracestate", "a=1")]).await;
        let id = task["trace_id"].as_str().unwrap();
        assert!(id.len() == 32 && id != TRACE, "a trace of ours: {id}");
        let job = pool.next_job().await;
        let trace = told(&job)[0].clone().unwrap();
        assert!(
            trace.starts_with(&format!("00-{id}-")) && trace.ends_with("-00"),
            "{trace}"
        );
        finish(&pool, &job, "3");
    }
    house.close().await;
}

#[tokio::test]
async fn the_tasks_of_a_batch_and_predictions_have_their_requests_trace() {
    let house = House::open().await;
    let pool = house.by_hand(fixture::object("echo"));
    pool.all_up();
    house.until_ready().await;
    let lines = [("content-type", "application/x-ndjson"), ("traceparent", PARENT)];
    let mut caller = house.caller().await;
    let body = "{\"input\": 1}\n{\"input\": 2}\n";
    let batch = caller.ask("POST /v1/batches?model=echo", &lines, body).await;
    assert_eq!(batch.status, 202, "{batch:?}");
    let mut told_of = 0;
    while told_of < 2 {
        let job = pool.next_job().await;
        let traces = told(&job);
        assert!(
            traces.iter().flatten().all(|trace| trace.contains(TRACE)),
            "{traces:?}"
        );
        told_of += traces.iter().flatten().count();
        finish(&pool, &job, "3");
    }
    for task in house.get("/v1/tasks").await.json()["tasks"].as_array().unwrap() {
        let task = house
            .get(&format!("/v1/tasks/{}", task["task_id"].as_str().unwrap()))
            .await;
        assert_eq!(task.json()["trace_id"], TRACE);
    }
    let predicting = sent(
        &house,
        "POST /v1/models/echo/predict",
        &[("traceparent", PARENT)],
        r#"{"input": 3}"#,
    );
    let serving = async {
        let job = pool.next_job().await;
        assert!(told(&job)[0].as_ref().unwrap().contains(TRACE), "{job:?}");
        finish(&pool, &job, "3");
    };
    let (answer, ()) = tokio::join!(predicting, serving);
    assert_eq!((answer.status, answer.json()["result"].clone()), (200, json!(3)));
    house.close().await;
}

#[tokio::test]
async fn a_submit_sent_again_is_the_first_with_the_firsts_trace() {
    let house = House::open().await.with_echo().await;
    let key = ("idempotency-key", "k");
    let first = submitted(&house, &[key, ("traceparent", PARENT)]).await;
    let other = PARENT.replace("4bf9", "5bf9");
    let again = submitted(&house, &[key, ("traceparent", &other)]).await;
    assert_eq!(again["task_id"], first["task_id"]);
    assert_eq!(
        (&first["trace_id"], &again["trace_id"]),
        (&json!(TRACE), &json!(TRACE))
    );
    house.close().await;
}
