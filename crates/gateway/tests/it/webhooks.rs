//! Callbacks as callers see them: asked for, told, listed, sent again, tried.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use cresset_engine::{DeliveryQuery, DeliveryState};
use cresset_gateway::TaskWriter;
use cresset_task::Callback;
use cresset_webhook::{Courier, Guard, Keys, Secret};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::fixture;
use crate::house::{House, finish, until};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

type Got = Vec<(HeaderMap, Bytes)>;

/// A receiver that answers as it is told, and remembers.
struct Receiver {
    address: SocketAddr,
    got: Arc<Mutex<Got>>,
    answer: watch::Sender<StatusCode>,
    _serving: JoinSet<()>,
}

impl Receiver {
    async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let got: Arc<Mutex<Got>> = Arc::default();
        let (answer, answers) = watch::channel(StatusCode::NO_CONTENT);
        let hear = |State((got, answers)): State<(Arc<Mutex<Got>>, watch::Receiver<StatusCode>)>,
                    headers: HeaderMap,
                    body: Bytes| async move {
            got.lock().unwrap().push((headers, body));
            let status = *answers.borrow();
            (status, "thanks")
        };
        let router = Router::new()
            .fallback(hear)
            .with_state((Arc::clone(&got), answers));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            address,
            got,
            answer,
            _serving: serving,
        }
    }

    fn url(&self) -> String {
        format!("http://{}/hook?token=hidden", self.address)
    }

    fn count(&self) -> usize {
        self.got.lock().unwrap().len()
    }

    /// The n-th message, its signature checked.
    fn message(&self, n: usize) -> (String, Value) {
        let (headers, body) = self.got.lock().unwrap()[n].clone();
        let header = |name: &str| headers[name].to_str().unwrap().to_owned();
        let id = header("webhook-id");
        let secret: Secret = SECRET.parse().unwrap();
        let signed = secret.sign(&id, header("webhook-timestamp").parse().unwrap(), &body);
        assert_eq!(header("webhook-signature"), signed);
        (id, serde_json::from_slice(&body).unwrap())
    }
}

async fn sending() -> House {
    let house = House::open().await.with_echo().await;
    let keys = Keys::read(SECRET).unwrap().unwrap();
    let guard = Guard::allowing(vec!["127.0.0.1/32".parse().unwrap()]);
    house
        .engine
        .deliver(Courier::new(keys, guard), Arc::new(TaskWriter));
    house
}

async fn post_to(house: &House, path: &str) -> crate::wire::Answer {
    let mut caller = house.caller().await;
    caller.ask(&format!("POST {path}"), &[], "").await
}

/// Once nothing is left to be told.
async fn settled(house: &House) {
    until(|| house.engine.render_metrics().contains("webhooks_open 0")).await;
}

#[tokio::test]
async fn whoever_is_told_of_a_task_is_told_of_its_trace() {
    let (house, receiver) = (sending().await, Receiver::start().await);
    let body = json!({"input": [1], "callback_url": receiver.url()}).to_string();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let parent = format!("00-{trace}-00f067aa0ba902b7-01");
    let head = "POST /v1/models/echo/tasks";
    let traced = [
        ("content-type", "application/json"),
        ("traceparent", &*parent),
        ("tracestate", "a=1"),
    ];
    for headers in [&traced[..], &traced[..1]] {
        assert_eq!(house.caller().await.ask(head, headers, &body).await.status, 202);
    }
    until(|| receiver.count() == 2).await;
    let heads: Vec<HeaderMap> = receiver
        .got
        .lock()
        .unwrap()
        .iter()
        .map(|(head, _)| head.clone())
        .collect();
    let text = |head: &HeaderMap, name| head.get(name).map(|value| value.to_str().unwrap().to_owned());
    let told: Vec<_> = heads
        .iter()
        .map(|head| (text(head, "traceparent"), text(head, "tracestate")))
        .collect();
    assert!(told.contains(&(None, None)), "{told:?}");
    let (said, state) = told.into_iter().find(|(parent, _)| parent.is_some()).unwrap();
    let said = said.unwrap();
    assert!(
        said.starts_with(&format!("00-{trace}-")) && said.ends_with("-01"),
        "{said}"
    );
    assert!(!said.contains("00f067aa0ba902b7"), "the span is ours: {said}");
    assert_eq!(state.as_deref(), Some("a=1"));
    house.close().await;
}

#[tokio::test]
async fn the_end_of_a_task_is_told_and_listed() {
    let (house, receiver) = (sending().await, Receiver::start().await);
    let body = json!({"input": [1], "callback_url": receiver.url(), "metadata": {"order": 7}}).to_string();
    let path = house.submitted("echo", &body).await;
    let task = house.get(&format!("{path}?wait=20s")).await.json();
    until(|| receiver.count() == 1).await;
    let (id, message) = receiver.message(0);
    let task_id = task["task_id"].as_str().unwrap();
    assert_eq!(id, format!("evt_{task_id}_succeeded"));
    assert_eq!(message["type"], "task.succeeded");
    assert_eq!(message["timestamp"], task["finished_at"]);
    assert_eq!(message["data"], task);

    settled(&house).await;
    let page = house.get("/v1/webhooks").await.json();
    assert_eq!(page["next"], Value::Null);
    let entry = &page["webhooks"][0];
    assert_eq!(entry["id"], id);
    assert_eq!(entry["url"], format!("http://{}/hook?...", receiver.address));
    assert_eq!(
        (&entry["state"], &entry["tries"]),
        (&json!("delivered"), &json!(1))
    );
    assert_eq!((&entry["status"], &entry["note"]), (&json!(204), &Value::Null));
    for (query, count) in [
        (format!("task={task_id}"), 1),
        (format!("host={}&state=delivered&limit=1", receiver.address), 1),
        ("state=failed".to_owned(), 0),
        ("host=example.com:443".to_owned(), 0),
        ("task=019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10".to_owned(), 0),
    ] {
        let page = house.get(&format!("/v1/webhooks?{query}")).await.json();
        assert_eq!(page["webhooks"].as_array().unwrap().len(), count, "{query}");
    }
    let metrics = house.get("/metrics").await;
    let metrics = metrics.text();
    assert!(
        metrics.contains("webhook_tries_total{outcome=\"delivered\"} 1"),
        "{metrics}"
    );
    house.close().await;
}

#[tokio::test]
async fn every_wanted_event_of_a_life_is_told_in_its_order() {
    let (house, receiver) = (sending().await, Receiver::start().await);
    let pool = house.by_hand(fixture::object("slow"));
    pool.all_up();
    let events = ["started", "retried", "succeeded", "failed", "revoked"];
    let body = json!({"input": 1, "callback_url": receiver.url(), "callback_events": events}).to_string();
    let path = house.submitted("slow", &body).await;
    until(|| receiver.count() == 1).await;
    let (_, started) = receiver.message(0);
    assert_eq!(
        (&started["type"], &started["data"]["status"]),
        (&json!("task.started"), &json!("STARTED"))
    );
    assert_eq!(started["data"]["attempts"], 1);
    post_to(&house, &format!("{path}/cancel")).await;
    until(|| receiver.count() == 2).await;
    let (_, revoked) = receiver.message(1);
    assert_eq!(revoked["type"], "task.revoked");
    assert_eq!(revoked["data"]["error"]["code"], "revoked");
    finish(&pool, &pool.next_job().await, "[1]"); // else the end waits for it
    house.close().await;
}

#[tokio::test]
async fn what_cannot_be_called_is_refused_with_the_field_and_the_reason() {
    let house = sending().await;
    let mut said = Vec::new();
    for (url, events) in [
        (json!("nowhere"), json!(null)),
        (json!("ftp://example.com/"), json!(null)),
        (json!("https://me:pw@example.com/"), json!(null)),
        (json!(7), json!(null)),
        (json!(""), json!(null)),
        (json!("http://169.254.169.254/latest/"), json!(null)),
        (json!("http://[::ffff:10.0.0.1]:8080/"), json!(null)),
        (json!("http://2852039166/"), json!(null)),
        (json!("https://example.com/"), json!(["done"])),
        (json!("https://example.com/"), json!([])),
        (json!("https://example.com/"), json!("failed")),
        (json!(null), json!(["failed"])),
    ] {
        let body = json!({"input": 1, "callback_url": url, "callback_events": events}).to_string();
        let answer = house.post("/v1/models/echo/tasks", &body).await;
        assert_eq!(answer.status, 422, "{url} {events}");
        let problem = answer.json();
        assert_eq!(problem["code"], "invalid_input");
        said.push(format!("{url} {events}: {}", problem["detail"].as_str().unwrap()));
    }
    insta::assert_debug_snapshot!("refused", said);
    house.close().await;
}

#[tokio::test]
async fn without_secrets_no_callback_is_accepted_and_nothing_is_tried() {
    let house = House::open().await.with_echo().await;
    let body = r#"{"input": 1, "callback_url": "https://example.com/"}"#;
    let refused = house.post("/v1/models/echo/tasks", body).await;
    assert_eq!(refused.status, 422);
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.contains("callback_url") && detail.contains("webhooks.secrets_file"),
        "{detail}"
    );
    let refused = house
        .post("/v1/webhooks/test", r#"{"url": "https://example.com/"}"#)
        .await;
    assert_eq!(refused.status, 422);
    // Those without one are accepted as ever.
    house.submitted("echo", r#"{"input": 1}"#).await;
    house.close().await;
}

#[tokio::test]
async fn a_model_s_webhook_is_told_unless_the_submit_names_another() {
    let (house, receiver, other) = (sending().await, Receiver::start().await, Receiver::start().await);
    let mut config = fixture::object("told");
    config.webhook = Some(Callback {
        url: receiver.url().parse().unwrap(),
        events: Default::default(),
    });
    house.automatic(config).all_up();
    house.until_ready().await;
    house.submitted("told", r#"{"input": 1}"#).await;
    until(|| receiver.count() == 1).await;
    let body = json!({"input": 1, "callback_url": other.url()}).to_string();
    house.submitted("told", &body).await;
    until(|| other.count() == 1).await;
    assert_eq!(receiver.count(), 1);
    house.close().await;
}

#[tokio::test]
async fn a_webhook_is_sent_again_under_its_name() {
    let (house, receiver) = (sending().await, Receiver::start().await);
    receiver.answer.send_replace(StatusCode::GONE);
    let body = json!({"input": 1, "callback_url": receiver.url()}).to_string();
    house.submitted("echo", &body).await;
    until(|| receiver.count() == 1).await;
    settled(&house).await;
    let page = house.get("/v1/webhooks?state=disabled").await.json();
    let id = page["webhooks"][0]["id"].as_str().unwrap().to_owned();
    receiver.answer.send_replace(StatusCode::OK);
    let again = post_to(&house, &format!("/v1/webhooks/{id}/replay")).await;
    assert_eq!(again.status, 202, "{again:?}");
    assert_eq!(again.json()["id"], id);
    until(|| receiver.count() == 2).await;
    assert_eq!(receiver.message(0), receiver.message(1));
    settled(&house).await;
    let query = DeliveryQuery {
        limit: 1,
        ..DeliveryQuery::default()
    };
    let page = house.engine.deliveries(query).await.unwrap();
    assert_eq!(page.deliveries[0].state, DeliveryState::Delivered);
    for unknown in ["evt_019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10_failed", "7"] {
        let answer = post_to(&house, &format!("/v1/webhooks/{unknown}/replay")).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (404, &json!("unknown_webhook"))
        );
    }
    house.close().await;
}

#[tokio::test]
async fn an_address_can_be_tried() {
    let (house, receiver) = (sending().await, Receiver::start().await);
    let try_it = async |url: &str| {
        let answer = house
            .post("/v1/webhooks/test", &json!({"url": url}).to_string())
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    };
    let tried = try_it(&receiver.url()).await;
    assert_eq!(
        (&tried["delivered"], &tried["status"]),
        (&json!(true), &json!(204))
    );
    let (id, message) = receiver.message(0);
    assert_eq!(
        (&tried["id"], &message["type"]),
        (&json!(id), &json!("webhook.test"))
    );
    receiver.answer.send_replace(StatusCode::IM_A_TEAPOT);
    let tried = try_it(&receiver.url()).await;
    assert_eq!(
        (&tried["delivered"], &tried["text"]),
        (&json!(false), &json!("thanks"))
    );
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let tried = try_it(&format!("http://{nobody}/")).await;
    assert_eq!((&tried["status"], &tried["text"]), (&Value::Null, &Value::Null));
    assert!(
        tried["problem"]
            .as_str()
            .unwrap()
            .contains("cannot be connected to"),
        "{tried}"
    );

    for (body, code) in [
        (r#"{"url": "http://10.0.0.1/"}"#, "invalid_input"),
        (r#"{"url": "gopher://x"}"#, "invalid_input"),
        (r#"{"uri": "http://x"}"#, "malformed_body"),
        ("", "malformed_body"),
    ] {
        assert_eq!(
            house.post("/v1/webhooks/test", body).await.json()["code"],
            code,
            "{body}"
        );
    }
    for query in ["state=gone", "task=7", "limit=0", "after=x", "model=echo"] {
        let answer = house.get(&format!("/v1/webhooks?{query}")).await;
        assert_eq!(answer.json()["code"], "bad_query", "{query}");
    }
    assert_eq!(receiver.count(), 2);
    house.close().await;
}
