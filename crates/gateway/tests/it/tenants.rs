//! Tenants: lists, purges, idempotency keys and WebSockets are of the caller's own. That no path shows another's is in `keys`.

use std::time::Duration;

use cresset_keys::Scope;
use cresset_task::Timestamp;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::fixture;
use crate::guarded::{BOTH, Guarded, UNKNOWN};
use crate::house::{LONG, until};
use crate::wire::Answer;

#[tokio::test]
async fn lists_and_purges_are_of_the_callers_tenant() {
    let guarded = Guarded::open().await.with_echo().await;
    let ours = guarded.key("ours", &BOTH, |_| {});
    let same = guarded.key("ours", &[Scope::Read], |_| {});
    let theirs = guarded.key("theirs", &BOTH, |_| {});
    let admin = guarded.key("ops", &[Scope::Admin], |_| {});
    let mine = guarded.ended(&ours, "1").await;
    let dead = guarded.ended(&ours, "\"poison\"").await;
    let other = guarded.ended(&theirs, "\"poison\"").await;
    let ids = |answer: Answer, list: &str| -> Vec<String> {
        let body = answer.json();
        let rows = body[list].as_array().unwrap().iter();
        rows.map(|row| row["task_id"].as_str().unwrap().to_owned())
            .collect()
    };
    for key in [&ours, &same] {
        assert_eq!(
            ids(guarded.ask("GET /v1/tasks", key, "").await, "tasks"),
            [dead.clone(), mine.clone()]
        );
        assert_eq!(
            guarded.ask("GET /v1/dead", key, "").await.json()["letters"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
    }
    assert_eq!(
        ids(guarded.ask("GET /v1/tasks", &theirs, "").await, "tasks"),
        [other]
    );
    assert_eq!(
        guarded.ask("GET /v1/tasks", &admin, "").await.json()["tasks"]
            .as_array()
            .unwrap()
            .len(),
        3
    );
    let gone = guarded.ask("DELETE /v1/dead?all=true", &theirs, "").await.json();
    assert_eq!(gone, json!({"purged": 1}));
    assert_eq!(
        guarded
            .ask(&format!("GET /v1/dead/{dead}"), &ours, "")
            .await
            .status,
        200
    );
    // Who replays it for them does not take it away from them.
    let replay = guarded
        .ask(&format!("POST /v1/dead/{dead}/replay"), &admin, "")
        .await
        .json();
    let again = format!("GET /v1/tasks/{}", replay["task_id"].as_str().unwrap());
    assert_eq!(guarded.ask(&again, &ours, "").await.status, 200);
    assert_eq!(guarded.ask(&again, &theirs, "").await.status, 404);
    guarded.house.close().await;
}

#[tokio::test]
async fn each_tenant_has_idempotency_keys_of_its_own() {
    let guarded = Guarded::open().await.with_echo().await;
    let ours = guarded.key("ours", &BOTH, |_| {});
    let same = guarded.key("ours", &BOTH, |_| {});
    let theirs = guarded.key("theirs", &BOTH, |_| {});
    let mut made = Vec::new();
    for key in [&ours, &same, &theirs] {
        let headers = [("authorization", key.as_str()), ("idempotency-key", "order-1")];
        let tasks = "POST /v1/models/echo/tasks";
        let answer = guarded
            .house
            .caller()
            .await
            .ask(tasks, &headers, r#"{"input": 1}"#)
            .await;
        made.push((
            answer.json()["task_id"].clone(),
            answer.header("idempotency-replayed").is_some(),
        ));
    }
    assert_eq!(made[0].0, made[1].0);
    assert_ne!(made[0].0, made[2].0);
    assert_eq!(
        made.iter().map(|(_, replayed)| *replayed).collect::<Vec<_>>(),
        [false, true, false]
    );
    guarded.house.close().await;
}

#[tokio::test]
async fn tasks_from_before_there_were_keys_are_seen_by_admins_only() {
    let guarded = Guarded::open().await.with_echo().await;
    let submission = cresset_engine::Submission {
        model: "echo".parse().unwrap(),
        input: cresset_task::Payload::Json(bytes::Bytes::from_static(b"1")),
        priority: 0,
        metadata: None,
        due_at: None,
        expires_at: None,
        deadline_at: None,
        cache: Default::default(),
        retry: None,
        trace: None,
        tenant: None,
        callback: None,
        idempotency_key: None,
        client: None,
    };
    let id = guarded.house.engine.submit(submission).await.unwrap().id;
    let ours = guarded.key("ours", &BOTH, |_| {});
    let admin = guarded.key("ops", &[Scope::Admin], |_| {});
    let line = format!("GET /v1/tasks/{id}");
    assert_eq!(guarded.ask(&line, &ours, "").await.code(), "unknown_task");
    assert_eq!(guarded.ask(&line, &admin, "").await.status, 200);
    guarded.house.close().await;
}

/// A WebSocket of this key, past the greeting.
async fn socket(guarded: &Guarded, key: &str) -> WebSocketStream<TcpStream> {
    let stream = TcpStream::connect(guarded.house.address).await.unwrap();
    let url = format!("ws://{}/v1/ws", guarded.house.address);
    let mut request = url.into_client_request().unwrap();
    request
        .headers_mut()
        .insert("authorization", key.parse().unwrap());
    let (mut socket, _) = client_async(request, stream).await.unwrap();
    assert_eq!(said(&mut socket).await["type"], "hello");
    socket
}

#[tokio::test]
async fn a_page_sends_its_key_among_the_protocols_and_it_is_not_sent_back() {
    let guarded = Guarded::open().await.with_echo().await;
    let key = guarded.key("ours", &BOTH, |_| {});
    let bare = key.trim_start_matches("Bearer ").to_owned();
    let open = async |protocols: &str, authorization: Option<&str>| {
        let stream = TcpStream::connect(guarded.house.address).await.unwrap();
        let url = format!("ws://{}/v1/ws", guarded.house.address);
        let mut request = url.into_client_request().unwrap();
        let headers = request.headers_mut();
        headers.insert("sec-websocket-protocol", protocols.parse().unwrap());
        if let Some(authorization) = authorization {
            headers.insert("authorization", authorization.parse().unwrap());
        }
        client_async(request, stream).await
    };
    let (mut socket, answer) = open(&format!("cresset.v1, cresset.key.{bare}"), None)
        .await
        .unwrap();
    assert_eq!(answer.headers()["sec-websocket-protocol"], "cresset.v1");
    assert!(!format!("{:?}", answer.headers()).contains(&bare));
    assert_eq!(said(&mut socket).await["type"], "hello");
    // What is asked on it is asked with the key.
    let task = guarded.ended(&key, "1").await;
    let told = asked(
        &mut socket,
        json!({"type": "subscribe", "ref": 1, "task_id": task}),
    )
    .await;
    assert_eq!(told["status"], 200, "{told}");

    let wrong = format!("cresset.v1, cresset.key.{}x", &bare[..bare.len() - 1]);
    for (protocols, authorization) in [
        (wrong.as_str(), None),
        ("cresset.v1, cresset.key.", None),
        ("cresset.v1", None),
        (&format!("cresset.v1, cresset.key.{bare}"), Some(key.as_str())),
        (
            &format!("cresset.v1, cresset.key.{bare}, cresset.key.{bare}"),
            None,
        ),
    ] {
        let refused = open(protocols, authorization).await.unwrap_err();
        let Error::Http(answer) = refused else {
            panic!("{protocols}: {refused}")
        };
        assert_eq!(answer.status(), 401, "{protocols}");
    }
    // Nowhere else is a key looked for there.
    let elsewhere = [("sec-websocket-protocol", format!("cresset.key.{bare}"))];
    let elsewhere = elsewhere.each_ref().map(|(name, value)| (*name, value.as_str()));
    let refused = guarded
        .house
        .caller()
        .await
        .ask("GET /v1/tasks", &elsewhere, "")
        .await;
    assert_eq!(refused.status, 401);
    guarded.house.close().await;
}

async fn said(socket: &mut WebSocketStream<TcpStream>) -> Value {
    loop {
        let next = tokio::time::timeout(LONG, socket.next()).await.expect("in time");
        match next.expect("not closed").unwrap() {
            Message::Text(text) => return serde_json::from_str(&text).unwrap(),
            Message::Ping(_) | Message::Pong(_) => {}
            other => panic!("{other:?}"),
        }
    }
}

async fn asked(socket: &mut WebSocketStream<TcpStream>, message: Value) -> Value {
    socket
        .send(Message::Text(message.to_string().into()))
        .await
        .unwrap();
    // A task that was submitted is followed, and may be told of first.
    loop {
        let told = said(socket).await;
        if told["type"] == "reply" {
            return told;
        }
    }
}

#[tokio::test]
async fn each_message_on_a_websocket_is_held_against_the_key_of_its_handshake() {
    let guarded = Guarded::open().await.with_echo().await;
    let ours = guarded.key("ours", &BOTH, |_| {});
    let theirs = guarded.key("theirs", &BOTH, |_| {});
    let reader = guarded.key("ours", &[Scope::Read], |_| {});
    let id = guarded.ended(&ours, "1").await;
    let mut other = socket(&guarded, &theirs).await;
    for what in ["subscribe", "cancel"] {
        let ask = |id: &str| json!({"type": what, "task_id": id});
        let crossed = asked(&mut other, ask(&id)).await;
        let unknown = asked(&mut other, ask(UNKNOWN)).await;
        assert_eq!(
            (&crossed["status"], &unknown["status"]),
            (&json!(404), &json!(404))
        );
        assert_eq!(crossed["body"]["code"], unknown["body"]["code"]);
    }
    let mut read_only = socket(&guarded, &reader).await;
    let submit = json!({"type": "submit", "model": "echo", "task": {"input": 1}});
    assert_eq!(asked(&mut read_only, submit.clone()).await["status"], 403);
    let followed = asked(&mut read_only, json!({"type": "subscribe", "task_id": id})).await;
    assert_eq!(followed["status"], 200);
    assert_eq!(asked(&mut other, submit.clone()).await["status"], 202);
    guarded.revoke_all();
    // Nothing comes on this one by itself: what is asked is answered still.
    assert_eq!(asked(&mut read_only, submit).await["status"], 401);
    for mut socket in [read_only, other] {
        let farewell = loop {
            if let Message::Close(frame) = socket.next().await.expect("a farewell").unwrap() {
                break frame.unwrap();
            }
        };
        assert_eq!(farewell.code, CloseCode::Policy, "{}", farewell.reason);
    }
    guarded.house.close().await;
}

#[tokio::test]
async fn who_waits_is_told_at_once_that_the_key_is_good_no_more() {
    let guarded = Guarded::open().await;
    guarded.house.by_hand(fixture::object("slow"));
    let key = guarded.key("ours", &BOTH, |_| {});
    let mut ids = Vec::new();
    for _ in 0..3 {
        let answer = guarded
            .ask("POST /v1/models/slow/tasks", &key, r#"{"input": 1}"#)
            .await;
        ids.push(answer.json()["task_id"].as_str().unwrap().to_owned());
    }
    let since = Instant::now();
    let (task, result) = (
        format!("GET /v1/tasks/{}?wait=5m", ids[0]),
        format!("GET /v1/tasks/{}/result?wait=5m", ids[1]),
    );
    let events = format!(
        "GET /v1/tasks/{}/events HTTP/1.1\r\nhost: x\r\nconnection: close\r\nauthorization: {key}\r\n\r\n",
        ids[2]
    );
    let mut follower = guarded.house.caller().await;
    follower.send(events).await;
    let follow = async {
        let mut all = Vec::new();
        follower.rest(&mut all).await;
        String::from_utf8(all).unwrap()
    };
    let revoke = async {
        let engine = &guarded.house.engine;
        // Who follows waits as well, for what comes next.
        until(|| (engine.residue().waiters, engine.residue().followers) == (3, 1)).await;
        guarded.revoke_all();
    };
    let (task, result, events, ()) = tokio::join!(
        guarded.ask(&task, &key, ""),
        guarded.ask(&result, &key, ""),
        follow,
        revoke,
    );
    for answer in [task, result] {
        assert_eq!((answer.status, answer.code().as_str()), (401, "unauthorized"));
        assert!(answer.text().contains("has been revoked"), "{answer:?}");
    }
    assert!(
        events.starts_with("HTTP/1.1 200 ") && events.ends_with("0\r\n\r\n"),
        "it had begun, and ended: {events}"
    );
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    // One whose time is over is told so, and so is one that is forgotten.
    let soon = Timestamp::now().plus(Duration::from_millis(500));
    let brief = guarded.key("ours", &BOTH, |key| key.expires_at = Some(soon));
    let answer = guarded
        .ask(&format!("GET /v1/tasks/{}?wait=5m", ids[0]), &brief, "")
        .await;
    assert_eq!(answer.status, 401);
    assert!(answer.text().contains("was good until"), "{answer:?}");
    guarded.house.close().await;
}
