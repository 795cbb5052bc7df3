//! Results that come piece by piece, how far a task has come, and what becomes of all tasks, over HTTP.

use bytes::Bytes;
use cresset_config::{ModelConfig, Stream};
use cresset_keys::Scope;
use cresset_runner::{Chunk, DownReason, ItemEnd, JobEnd, LogLevel, LogLine, Report};
use cresset_task::BatchId;
use serde_json::{Value, json};

use crate::fixture;
use crate::guarded::Guarded;
use crate::house::{House, finish, until};
use crate::wire::Caller;

fn streaming() -> ModelConfig {
    ModelConfig {
        stream: Stream {
            enabled: true,
            ..Stream::default()
        },
        ..fixture::object("talk")
    }
}

/// Pieces of the first item.
fn pieces(pool: &cresset_runner::testing::FakePool, batch: BatchId, texts: &[&'static str]) {
    let chunk = |text: &&'static str| Chunk {
        item: 0,
        text: Bytes::from_static(text.as_bytes()),
    };
    pool.chunks(batch, texts.iter().map(chunk).collect());
}

/// Asks; a caller of HTTP/1.0 is sent a body without chunks, up to the end of the connection. Gives the head.
async fn ask(house: &House, head: &str, body: &str) -> (Caller, String) {
    let mut caller = house.caller().await;
    let length = body.len();
    caller
        .send(format!(
            "{head}\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
        .await;
    let head = caller.up_to("\r\n\r\n").await;
    (caller, head)
}

/// The next event: its id, its type and its data.
async fn event(caller: &mut Caller) -> (Option<String>, String, Value) {
    let text = caller.up_to("}\n\n").await;
    let text = text.strip_prefix("retry: 1000\n\n").unwrap_or(&text);
    let mut fields = text.lines().map(|line| line.split_once(": ").unwrap()).peekable();
    let id = fields
        .next_if(|(name, _)| *name == "id")
        .map(|(_, id)| id.to_owned());
    let (_, kind) = fields.next().unwrap();
    let (_, data) = fields.next().unwrap();
    (id, kind.to_owned(), serde_json::from_str(data).unwrap())
}

#[tokio::test]
async fn lines_of_the_log_are_for_operators_unless_the_model_gives_them_to_callers() {
    let guarded = Guarded::open().await;
    let mut open = fixture::object("open");
    open.logs.callers = true;
    let pools = [fixture::object("closed"), open].map(|model| guarded.house.by_hand(model));
    let caller = guarded.key("a", &[Scope::Submit, Scope::Read], |_| ());
    let operator = guarded.key("b", &[Scope::Admin], |_| ());
    for (name, pool) in ["closed", "open"].into_iter().zip(&pools) {
        pool.all_up();
        let submit = format!("POST /v1/models/{name}/tasks");
        let accepted = guarded.ask(&submit, &caller, r#"{"input":1}"#).await;
        let task = format!("/v1/tasks/{}", accepted.json()["task_id"].as_str().unwrap());
        let path = format!("{task}/events?logs=true");
        let held = pool.next_job().await;
        let line = LogLine {
            items: None,
            level: LogLevel::Info,
            text: "two\nlines".into(),
        };
        pool.logs(held.batch, vec![line]);
        pool.finish(
            held.batch,
            JobEnd::Items(vec![ItemEnd::Done(held.items[0].clone())]),
        );
        let ended = guarded.ask(&format!("GET {task}?wait=20s"), &operator, "").await;
        assert_eq!(ended.json()["status"], "SUCCESS", "{name}");
        for (key, may) in [(&operator, true), (&caller, name == "open")] {
            let line = format!("GET {path} HTTP/1.0\r\nauthorization: {key}");
            let (mut reader, head) = ask(&guarded.house, &line, "").await;
            if !may {
                assert!(head.starts_with("HTTP/1.0 403"), "{name}: {head}");
                continue;
            }
            let (id, kind, mut data) = event(&mut reader).await;
            let at = data.as_object_mut().and_then(|data| data.remove("at"));
            assert!(at.is_some_and(|at| at.is_string()), "{name}");
            assert_eq!((id, kind.as_str()), (None, "log"), "{name}");
            let wanted = json!({"attempt": 1, "number": 0, "level": "info", "text": "two\nlines"});
            assert_eq!(data, wanted, "{name}");
            assert_eq!(event(&mut reader).await.2["status"], "SUCCESS", "{name}");
        }
        let wrong = guarded.ask(&format!("GET {path}s"), &operator, "").await;
        assert_eq!(wrong.status, 400, "{wrong:?}");
    }
    guarded.house.close().await;
}

#[tokio::test]
async fn a_task_that_streams_is_followed_and_from_where_one_was() {
    let house = House::open().await;
    let pool = house.by_hand(streaming());
    pool.all_up();
    let path = house.submitted("talk", r#"{"input":1}"#).await;
    let held = pool.next_job().await;
    let follow = format!("GET {path}/events HTTP/1.0");
    let (mut caller, _) = ask(&house, &follow, "").await;
    assert_eq!(event(&mut caller).await.2["status"], "STARTED");
    pieces(&pool, held.batch, &[r#""a""#, "{\n\"b\": 1}"]);
    let (first, kind, data) = event(&mut caller).await;
    assert_eq!(
        (kind.as_str(), data),
        ("chunk", json!({"attempt": 1, "number": 0, "chunk": "a"}))
    );
    let (_, _, data) = event(&mut caller).await;
    assert_eq!((&data["number"], &data["chunk"]), (&json!(1), &json!({"b": 1})));
    let report = Report {
        items: None,
        fraction: 0.5,
        message: None,
    };
    pool.progress(held.batch, vec![report]);
    let (id, kind, data) = event(&mut caller).await;
    assert_eq!(
        (id, kind.as_str(), &data["fraction"]),
        (None, "progress", &json!(0.5))
    );
    let task = house.get(&path).await.json();
    assert_eq!(task["progress"], data);
    finish(&pool, &held, r#"["a",{"b":1}]"#);
    let (last, kind, data) = event(&mut caller).await;
    assert_eq!((kind.as_str(), &data["status"]), ("status", &json!("SUCCESS")));
    assert!(data.get("progress").is_none());
    assert!(caller.is_closed().await);

    let back = format!("{follow}\r\nlast-event-id: {}", first.unwrap());
    let (mut caller, _) = ask(&house, &back, "").await;
    let (_, kind, data) = event(&mut caller).await;
    assert_eq!(
        (kind.as_str(), &data["number"]),
        ("chunk", &json!(1)),
        "what it has is not sent again"
    );
    assert_eq!(event(&mut caller).await.0, last);
    assert!(caller.is_closed().await);
    let done = format!("{follow}\r\nlast-event-id: {}", last.unwrap());
    let (_, head) = ask(&house, &done, "").await;
    assert!(head.starts_with("HTTP/1.0 204 "), "{head:?}");

    // One of a server before this one has read of another run.
    let path = house.submitted("talk", r#"{"input":1}"#).await;
    let held = pool.next_job().await;
    pieces(&pool, held.batch, &["1"]);
    let back = format!("GET {path}/events HTTP/1.0\r\nlast-event-id: 3-17.4");
    let (mut caller, _) = ask(&house, &back, "").await;
    let (_, kind, data) = event(&mut caller).await;
    assert_eq!((kind.as_str(), data), ("restart", json!({"attempt": 1})));
    assert_eq!(event(&mut caller).await.2["number"], 0);
    finish(&pool, &held, "[1]");
    house.close().await;
}

#[tokio::test]
async fn a_prediction_is_answered_piece_by_piece_to_who_asks_for_that() {
    let house = House::open().await;
    let pool = house.by_hand(streaming());
    pool.all_up();
    let post = "POST /v1/models/talk/predict HTTP/1.0";
    let events = format!("{post}\r\naccept: text/event-stream");
    let (mut caller, head) = ask(&house, &events, r#"{"input":1}"#).await;
    for line in [
        "HTTP/1.0 200 OK",
        "content-type: text/event-stream",
        "cache-control: no-store",
    ] {
        assert!(head.contains(line), "{head:?}");
    }
    let held = pool.next_job().await;
    pieces(&pool, held.batch, &["1"]);
    let (id, kind, data) = event(&mut caller).await;
    assert_eq!((id, kind.as_str(), &data["chunk"]), (None, "chunk", &json!(1)));
    pool.kill(held.instance, DownReason::Exited(3));
    assert_eq!(event(&mut caller).await.1, "restart");
    pool.all_up();
    let held = pool.next_job().await;
    finish(&pool, &held, "[1]");
    let (_, kind, data) = event(&mut caller).await;
    assert_eq!(kind, "result");
    assert_eq!(data, json!({"result": [1], "model": "talk", "version": "7"}));
    assert!(caller.is_closed().await);

    let lines = format!("{post}\r\naccept: application/x-ndjson");
    let (mut caller, head) = ask(&house, &lines, r#"{"input":1}"#).await;
    assert!(head.contains("content-type: application/x-ndjson"), "{head:?}");
    let held = pool.next_job().await;
    pieces(&pool, held.batch, &["1"]);
    let line: Value = serde_json::from_str(&caller.up_to("}\n").await).unwrap();
    assert_eq!(
        line,
        json!({"event": "chunk", "attempt": 1, "number": 0, "chunk": 1})
    );
    finish(&pool, &held, "[1]");
    let line: Value = serde_json::from_str(&caller.up_to("}\n").await).unwrap();
    assert_eq!((&line["event"], &line["result"]), (&json!("result"), &json!([1])));

    let whole = ask(&house, post, r#"{"input":1}"#);
    let finish_it = async {
        let held = pool.next_job().await;
        pieces(&pool, held.batch, &["1"]);
        finish(&pool, &held, "[1]");
    };
    let ((mut caller, head), ()) = tokio::join!(whole, finish_it);
    assert!(head.contains("content-type: application/json"), "{head:?}");
    assert!(caller.up_to("}").await.starts_with(r#"{"result":[1]"#));
    house.close().await;
}

#[tokio::test]
async fn what_goes_wrong_is_an_answer_before_the_stream_and_an_event_in_it() {
    let house = House::open().await.with_echo().await;
    let pool = house.by_hand(streaming());
    pool.all_up();
    let post = |model: &str| {
        format!("POST /v1/models/{model}/predict HTTP/1.0\r\naccept: text/event-stream\r\nx-request-id: mine")
    };
    let (mut caller, head) = ask(&house, &post("echo"), r#"{"input":1}"#).await;
    assert!(head.starts_with("HTTP/1.0 406 "), "{head:?}");
    assert!(caller.up_to("}").await.contains("gives its results whole"));
    let (_, head) = ask(&house, &post("nobody"), r#"{"input":1}"#).await;
    assert!(head.starts_with("HTTP/1.0 404 "), "{head:?}");
    let (mut caller, head) = ask(&house, &post("talk"), r#"{"input":1}"#).await;
    assert!(head.starts_with("HTTP/1.0 200 "), "{head:?}");
    let held = pool.next_job().await;
    crate::house::fail(&pool, &held, "boom");
    let (_, kind, data) = event(&mut caller).await;
    assert_eq!(kind, "error");
    assert_eq!(
        (&data["code"], &data["status"], &data["request_id"]),
        (&json!("model_error"), &json!(500), &json!("mine"))
    );
    assert_eq!(data["error"]["message"], "boom");
    assert!(caller.is_closed().await);

    let (caller, _) = ask(&house, &post("talk"), r#"{"input":1}"#).await;
    let held = pool.next_job().await;
    drop(caller);
    until(|| !pool.cancelled().is_empty()).await;
    finish(&pool, &held, "1");
    house.close().await;
}

#[tokio::test]
async fn a_stream_tells_nothing_more_once_its_key_is_revoked() {
    let guarded = Guarded::open().await.with_echo().await;
    let operator = guarded.key("ops", &[Scope::Admin], |_| ());
    let watch = format!("GET /v1/events HTTP/1.0\r\nauthorization: {operator}");
    let (mut caller, _) = ask(&guarded.house, &watch, "").await;
    caller.up_to("retry: 1000\n\n").await;
    guarded.revoke_all();
    let other = guarded.key("ours", &[Scope::Submit], |_| ());
    guarded.submitted(&other, r#"{"input":1}"#).await;
    assert!(caller.is_closed().await);
    guarded.house.close().await;
}

#[tokio::test]
async fn all_tasks_are_watched_from_now_on_and_from_where_one_was() {
    let house = House::open().await.with_echo().await;
    let watch = "GET /v1/events?model=echo HTTP/1.0";
    let (mut caller, head) = ask(&house, watch, "").await;
    assert!(head.contains("content-type: text/event-stream"), "{head:?}");
    caller.up_to("retry: 1000\n\n").await;
    let path = house.submitted("echo", r#"{"input":1}"#).await;
    let mut seen = Vec::new();
    for wanted in ["PENDING", "STARTED", "SUCCESS"] {
        let (id, kind, data) = event(&mut caller).await;
        assert_eq!((kind.as_str(), &data["status"]), ("status", &json!(wanted)));
        assert_eq!(format!("/v1/tasks/{}", data["task_id"].as_str().unwrap()), path);
        seen.push(id.unwrap());
    }
    drop(caller);
    let back = format!("{watch}\r\nlast-event-id: {}", seen[1]);
    let (mut caller, _) = ask(&house, &back, "").await;
    assert_eq!(event(&mut caller).await.2["status"], "SUCCESS");
    let other = format!("{watch}\r\nlast-event-id: 1-2");
    let (mut caller, _) = ask(&house, &other, "").await;
    let (_, kind, data) = event(&mut caller).await;
    assert_eq!((kind.as_str(), data), ("gap", json!({"missed": null})));
    for (head, status) in [
        ("GET /v1/events?state=SUCCESS HTTP/1.0", "400"),
        ("GET /v1/events?status=DONE HTTP/1.0", "400"),
        ("GET /v1/events?model=ehco HTTP/1.0", "404"),
        ("GET /v1/events HTTP/1.0\r\nlast-event-id: x", "422"),
    ] {
        let (_, answer) = ask(&house, head, "").await;
        assert!(answer.starts_with(&format!("HTTP/1.0 {status} ")), "{answer:?}");
    }
    house.close().await;
}
