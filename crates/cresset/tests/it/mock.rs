//! A server that speaks enough of the HTTP API, counts what it is asked, and can be told to be difficult.
//!
//! A task's result is its input, in an array. An input that is the string "fail" fails; `{"refuse": true}` is refused.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use tokio::sync::watch;

/// What the server saw and holds.
#[derive(Default)]
struct Seen {
    /// Inputs accepted, in order.
    accepted: Vec<Value>,
    tasks: HashMap<String, Value>,
    bodies: Vec<Value>,
    keys: Vec<String>,
    concurrent: usize,
    concurrent_max: usize,
    /// How often each input was sent.
    sent: HashMap<String, u32>,
}

/// How the server behaves.
#[derive(Clone, Copy, Default)]
pub(crate) struct Manner {
    /// This many submits of each input are answered 429 before one is accepted.
    pub(crate) full_times: u32,
    /// A task whose input is a multiple of this number does not end before [`Mock::release`].
    pub(crate) hold_every: Option<u64>,
}

struct Shared {
    seen: Mutex<Seen>,
    manner: Manner,
    released: watch::Sender<bool>,
    accepted: watch::Sender<usize>,
    /// Long polls for held tasks so far.
    held_polls: watch::Sender<usize>,
}

/// A running server; it ends with the runtime it holds.
pub(crate) struct Mock {
    pub(crate) url: String,
    shared: Arc<Shared>,
    runtime: Option<tokio::runtime::Runtime>,
}

type App = State<Arc<Shared>>;

impl Mock {
    pub(crate) fn start(manner: Manner) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            manner,
            released: watch::Sender::new(false),
            accepted: watch::Sender::new(0),
            held_polls: watch::Sender::new(0),
        });
        let app = Router::new()
            .route("/v1/models", get(models))
            .route("/v1/models/{model}", get(model))
            .route("/v1/models/{model}/tasks", post(submit))
            .route("/v1/tasks/{id}", get(task))
            .route("/v1/tasks/{id}/cancel", post(cancel))
            .layer(middleware::from_fn_with_state(Arc::clone(&shared), count))
            .with_state(Arc::clone(&shared));
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (send, receive) = std::sync::mpsc::channel();
        runtime.handle().spawn_blocking(move || {
            send.send(()).unwrap();
            tokio::runtime::Handle::current().block_on(async { axum::serve(listener, app).await })
        });
        receive.recv().unwrap();
        Self {
            url,
            shared,
            runtime: Some(runtime),
        }
    }

    /// Lets the held tasks end.
    pub(crate) fn release(&self) {
        self.shared.released.send_replace(true);
    }

    /// Inputs accepted so far, in order.
    pub(crate) fn accepted(&self) -> Vec<Value> {
        self.shared.seen.lock().unwrap().accepted.clone()
    }

    /// Whole bodies of accepted submits.
    pub(crate) fn bodies(&self) -> Vec<Value> {
        self.shared.seen.lock().unwrap().bodies.clone()
    }

    /// The idempotency keys of accepted submits.
    pub(crate) fn keys(&self) -> Vec<String> {
        self.shared.seen.lock().unwrap().keys.clone()
    }

    /// Requests answered at the same time, at most.
    pub(crate) fn concurrent_max(&self) -> usize {
        self.shared.seen.lock().unwrap().concurrent_max
    }

    /// Returns once this many tasks are accepted.
    pub(crate) fn wait_accepted(&self, count: usize) {
        self.wait_for(&self.shared.accepted, count);
    }

    /// Returns once this many held tasks are waited for.
    pub(crate) fn wait_held(&self, count: usize) {
        self.wait_for(&self.shared.held_polls, count);
    }

    fn wait_for(&self, number: &watch::Sender<usize>, count: usize) {
        let mut number = number.subscribe();
        let reached = async { number.wait_for(|n| *n >= count).await.map(|_| ()) };
        self.runtime.as_ref().unwrap().block_on(reached).unwrap();
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn problem(status: u16, code: &str, detail: &str, extra: &Value) -> Response {
    let mut body = json!({"type": format!("/docs/errors#{code}"), "title": "t", "status": status, "code": code, "detail": detail});
    for (key, value) in extra.as_object().into_iter().flatten() {
        body[key] = value.clone();
    }
    let mut response = (StatusCode::from_u16(status).unwrap(), body.to_string()).into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, "application/problem+json".parse().unwrap());
    response
}

fn answer(status: StatusCode, body: &Value) -> Response {
    (
        status,
        [(header::CONTENT_TYPE, "application/json")],
        body.to_string(),
    )
        .into_response()
}

async fn count(State(shared): App, request: Request, next: Next) -> Response {
    {
        let mut seen = shared.seen.lock().unwrap();
        seen.concurrent += 1;
        seen.concurrent_max = seen.concurrent_max.max(seen.concurrent);
    }
    // Also when the caller hangs up and this future is dropped.
    struct Leave(Arc<Shared>);
    impl Drop for Leave {
        fn drop(&mut self) {
            self.0.seen.lock().unwrap().concurrent -= 1;
        }
    }
    let _leave = Leave(Arc::clone(&shared));
    next.run(request).await
}

async fn submit(State(shared): App, Path(model): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    if model != "digits" {
        let detail = format!("no model is called `{model}`; did you mean `digits`?");
        return problem(404, "unknown_model", &detail, &json!({}));
    }
    let body: Value = serde_json::from_slice(&body).unwrap();
    let input = body["input"].clone();
    if input["refuse"] == true {
        let errors = json!({"errors": [{"field": "input.a", "message": "must be a number"}, {"field": "input.b", "message": "is missing"}]});
        return problem(
            422,
            "invalid_input",
            "2 fields are wrong: `input.a`, `input.b`",
            &errors,
        );
    }
    let id = uuid::Uuid::now_v7().to_string();
    let count = {
        let mut seen = shared.seen.lock().unwrap();
        let sent = seen.sent.entry(input.to_string()).or_default();
        *sent += 1;
        if *sent <= shared.manner.full_times {
            let mut full = problem(429, "queue_full", "the queue of `digits` is full", &json!({}));
            full.headers_mut()
                .insert(header::RETRY_AFTER, "0".parse().unwrap());
            return full;
        }
        seen.accepted.push(input.clone());
        seen.bodies.push(body.clone());
        seen.keys.extend(
            headers
                .get("idempotency-key")
                .map(|key| key.to_str().unwrap().to_owned()),
        );
        let count = seen.accepted.len();
        let held = shared
            .manner
            .hold_every
            .is_some_and(|n| input.as_u64().is_some_and(|input| input.is_multiple_of(n)));
        let mut task = json!({"task_id": id, "model": model, "version": "1", "attempts": 1, "metadata": body["metadata"],
            "created_at": "2026-11-23T10:00:00.000000Z", "started_at": null, "finished_at": null, "held": held});
        if input == "fail" {
            task["status"] = "FAILURE".into();
            task["error"] = json!({"code": "model_error", "type": "ValueError", "message": "odd input"});
        } else {
            task["status"] = "SUCCESS".into();
            task["result"] = json!([input]);
        }
        seen.tasks.insert(id.clone(), task);
        count
    };
    shared.accepted.send_replace(count);
    answer(
        StatusCode::ACCEPTED,
        &json!({"task_id": id, "status": "PENDING", "model": model}),
    )
}

async fn task(
    State(shared): App,
    Path(id): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Response {
    let task = shared.seen.lock().unwrap().tasks.get(&id).cloned();
    let Some(mut task) = task else {
        return problem(
            404,
            "unknown_task",
            &format!("no task has the id {id}"),
            &json!({}),
        );
    };
    if task["held"] == true {
        let wait = query
            .get("wait")
            .map(|text| text.trim_end_matches("ms").parse().unwrap())
            .unwrap_or(0);
        shared.held_polls.send_modify(|polls| *polls += 1);
        let mut released = shared.released.subscribe();
        let released = async { released.wait_for(|released| *released).await.map(|_| ()) };
        let ended = tokio::time::timeout(std::time::Duration::from_millis(wait), released)
            .await
            .is_ok();
        if !ended {
            task["status"] = "PENDING".into();
            task["queue_position"] = 4.into();
            task["result"] = Value::Null;
        }
    }
    task.as_object_mut().unwrap().remove("held");
    answer(StatusCode::OK, &task)
}

/// Tasks of the mock have ended at once; one that it does not know is queued.
async fn cancel(State(shared): App, Path(id): Path<String>) -> Response {
    let known = shared.seen.lock().unwrap().tasks.contains_key(&id);
    let (status, cancelled) = if known {
        ("SUCCESS", "too_late")
    } else {
        ("REVOKED", "before")
    };
    answer(
        StatusCode::OK,
        &json!({"task_id": id, "status": status, "cancelled": cancelled}),
    )
}

async fn models() -> Response {
    answer(StatusCode::OK, &json!({"models": [digits()]}))
}

async fn model(Path(model): Path<String>) -> Response {
    if model == "digits" {
        answer(StatusCode::OK, &digits())
    } else {
        problem(
            404,
            "unknown_model",
            &format!("no model is called `{model}`; did you mean `digits`?"),
            &json!({}),
        )
    }
}

fn digits() -> Value {
    json!({
        "name": "digits", "version": "1", "description": "Handwritten digits", "kind": "tensor", "state": "ready",
        "last_failure": null, "inputs": [{"name": "pixels", "dtype": "float32", "shape": [1, 8, 8]}],
        "outputs": [{"name": "logits", "dtype": "float32", "shape": [10]}],
        "batching": {"max_batch_size": 32, "max_delay_ms": 2.0, "max_batch_bytes": 67108864},
        "instances": [{"id": 0, "device": "cpu", "pid": 4711, "state": "ready", "reason": null,
            "since": "2026-11-23T10:00:00.000000Z", "restarts": 0, "recycled": 0, "replacement": null, "runtime": "python 3.11.7, torch 2.15.0"}],
        "queue": {"tasks": 5, "bytes": 500}, "running": 2, "waiting": 0, "items_per_second": 12.5,
    })
}
