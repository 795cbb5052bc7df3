//! WebSockets, spoken by a client of its own kind.

use std::time::Duration;

use cresset_runner::{LogLevel, LogLine, Report};
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::fixture;
use crate::house::{House, LONG, finish};

/// A caller, past the greeting.
struct Socket(WebSocketStream<TcpStream>);

impl Socket {
    async fn open(house: &House) -> Self {
        let stream = TcpStream::connect(house.address).await.unwrap();
        let url = format!("ws://{}/v1/ws", house.address);
        let (socket, response) = client_async(url, stream).await.unwrap();
        assert_eq!(response.status(), 101);
        let mut socket = Self(socket);
        let hello = socket.hear().await;
        assert_eq!((&hello["type"], &hello["version"]), (&json!("hello"), &json!(1)));
        assert_eq!(hello["limits"]["message_bytes"], 65_536);
        socket
    }

    async fn say(&mut self, message: Value) {
        self.0
            .send(Message::Text(message.to_string().into()))
            .await
            .unwrap();
    }

    async fn next(&mut self) -> Option<Result<Message, Error>> {
        tokio::time::timeout(LONG, self.0.next()).await.expect("in time")
    }

    async fn hear(&mut self) -> Value {
        loop {
            match self.next().await.expect("not closed").unwrap() {
                Message::Text(text) => return serde_json::from_str(&text).unwrap(),
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn closed(&mut self) -> Option<CloseFrame> {
        match self.next().await.expect("a farewell").unwrap() {
            Message::Close(frame) => frame,
            other => panic!("{other:?}"),
        }
    }
}

fn id_of(path: &str) -> &str {
    path.trim_start_matches("/v1/tasks/")
}

#[tokio::test]
async fn tasks_are_submitted_and_followed_to_their_ends_on_one_connection() {
    let house = House::open().await.with_echo().await;
    let mut socket = Socket::open(&house).await;
    for (reference, input) in [(json!(1), 10), (json!("two"), 20)] {
        socket
            .say(json!({"type": "submit", "ref": reference, "model": "echo",
                "task": {"input": input, "metadata": {"n": input}}}))
            .await;
    }
    let (mut replies, mut results) = (Vec::new(), Vec::new());
    while results.len() < 2 {
        let told = socket.hear().await;
        match told["type"].as_str().unwrap() {
            "reply" => {
                assert_eq!(
                    (&told["status"], &told["body"]["status"]),
                    (&json!(202), &json!("PENDING"))
                );
                replies.push(told["ref"].clone());
            }
            "status" if told["task"]["status"] == "SUCCESS" => {
                assert_eq!(told["task"]["metadata"]["n"], told["task"]["result"]);
                results.push(told["task"]["result"].as_i64().unwrap());
            }
            "status" => {}
            other => panic!("{other}"),
        }
    }
    replies.sort_by_key(Value::to_string);
    results.sort_unstable();
    assert_eq!((replies, results), (vec![json!("two"), json!(1)], vec![10, 20]));
    assert_eq!(
        house.engine.residue().followers,
        0,
        "an end is the last that is told"
    );
    house.close().await;
}

#[tokio::test]
async fn a_task_is_subscribed_to_from_where_one_was_and_cancelled() {
    let house = House::open().await;
    house.by_hand(fixture::object("slow"));
    let path = house.submitted("slow", r#"{"input":1}"#).await;
    let id = id_of(&path);
    let mut socket = Socket::open(&house).await;
    let subscribe = json!({"type": "subscribe", "ref": 1, "task_id": id});
    socket.say(subscribe.clone()).await;
    let reply = socket.hear().await;
    assert_eq!(
        reply,
        json!({"type": "reply", "ref": 1, "status": 200, "body": {"task_id": id}})
    );
    let pending = socket.hear().await;
    assert_eq!(pending["task"], house.get(&path).await.json());
    // Twice is once.
    socket.say(subscribe).await;
    assert_eq!(socket.hear().await["type"], "reply");
    assert_eq!(house.engine.residue().followers, 1);
    socket.say(json!({"type": "unsubscribe", "task_id": id})).await;
    assert_eq!(socket.hear().await["body"]["task_id"], id);
    crate::house::until(|| house.engine.residue().followers == 0).await;
    socket
        .say(json!({"type": "subscribe", "task_id": id, "seen": pending["id"]}))
        .await;
    assert_eq!(socket.hear().await["type"], "reply");
    socket
        .say(json!({"type": "cancel", "ref": "c", "task_id": id}))
        .await;
    let mut told = [socket.hear().await, socket.hear().await];
    told.sort_by_key(|told| told["type"].to_string());
    let [reply, end] = told;
    assert_eq!(
        (&reply["ref"], &reply["body"]["cancelled"]),
        (&json!("c"), &json!("before"))
    );
    assert_eq!(end["task"]["status"], "REVOKED");
    assert!(end["id"].as_u64() > pending["id"].as_u64());
    house.close().await;
}

#[tokio::test]
async fn the_lines_of_a_task_are_not_for_sockets() {
    let house = House::open().await;
    let pool = house.by_hand(fixture::object("talks"));
    pool.all_up();
    let path = house.submitted("talks", r#"{"input":1}"#).await;
    let held = pool.next_job().await;
    let mut socket = Socket::open(&house).await;
    socket
        .say(json!({"type": "subscribe", "task_id": id_of(&path)}))
        .await;
    assert_eq!(socket.hear().await["type"], "reply");
    assert_eq!(socket.hear().await["task"]["status"], "STARTED");
    let line = LogLine {
        items: None,
        level: LogLevel::Error,
        text: "not for you".into(),
    };
    pool.logs(held.batch, vec![line]);
    let report = Report {
        items: None,
        fraction: 0.5,
        message: None,
    };
    pool.progress(held.batch, vec![report]);
    assert_eq!(socket.hear().await["type"], "progress");
    finish(&pool, &held, "1");
    assert_eq!(socket.hear().await["task"]["status"], "SUCCESS");
    house.close().await;
}

#[tokio::test]
async fn what_is_refused_over_http_is_refused_in_the_same_words() {
    let house = House::open().await.with_echo().await;
    let mut socket = Socket::open(&house).await;
    let unknown = "019ac000-0000-7000-8000-000000000001";
    for (ask, status, code) in [
        (
            json!({"type": "subscribe", "task_id": unknown}),
            404,
            "unknown_task",
        ),
        (json!({"type": "cancel", "task_id": unknown}), 404, "unknown_task"),
        (
            json!({"type": "submit", "model": "eco", "task": {"input": 1}}),
            404,
            "unknown_model",
        ),
        (
            json!({"type": "submit", "model": "echo", "task": {"input": 1, "priorty": 2}}),
            422,
            "invalid_input",
        ),
        (
            json!({"type": "submit", "model": "echo", "task": {"input": 1}, "idempotency_key": "a\nb"}),
            422,
            "invalid_input",
        ),
        (json!({"type": "subscribe"}), 422, "invalid_input"),
        (json!({"type": "shout"}), 422, "invalid_input"),
        (json!([1]), 400, "malformed_body"),
    ] {
        socket.say(ask.clone()).await;
        let reply = socket.hear().await;
        assert_eq!(
            (&reply["status"], &reply["body"]["code"]),
            (&json!(status), &json!(code)),
            "{ask}: {reply}"
        );
    }
    let body = r#"{"input":1,"priorty":2}"#;
    let http = house.post("/v1/models/echo/tasks", body).await.json();
    socket
        .say(json!({"type": "submit", "model": "echo", "task": {"input": 1, "priorty": 2}}))
        .await;
    assert_eq!(socket.hear().await["body"]["errors"], http["errors"]);
    house.close().await;
}

#[tokio::test]
async fn what_is_no_message_ends_the_connection_with_the_reason() {
    let house = House::open().await.with_echo().await;
    for (message, code) in [
        (Message::Binary(vec![1].into()), CloseCode::Unsupported),
        (Message::Text("x".repeat(70_000).into()), CloseCode::Size),
    ] {
        let mut socket = Socket::open(&house).await;
        socket.0.send(message).await.unwrap();
        assert_eq!(socket.closed().await.expect("a reason").code, code);
    }
    // A frame without a mask, and one whose text is no UTF-8.
    for (bytes, code) in [
        (&[0x81, 0x01, b'x'][..], CloseCode::Protocol),
        (&[0x81, 0x81, 0, 0, 0, 0, 0xff], CloseCode::Invalid),
        (&[0xf1, 0x80, 0, 0, 0, 0], CloseCode::Protocol),
    ] {
        let mut socket = Socket::open(&house).await;
        tokio::io::AsyncWriteExt::write_all(socket.0.get_mut(), bytes)
            .await
            .unwrap();
        assert_eq!(socket.closed().await.expect("a reason").code, code, "{bytes:?}");
    }
    house.close().await;
}

#[tokio::test]
async fn a_stopping_server_says_so_and_one_who_goes_leaves_nothing_behind() {
    let house = House::open().await;
    let pool = house.by_hand(fixture::object("slow"));
    pool.all_up();
    let path = house.submitted("slow", r#"{"input":1}"#).await;
    let held = pool.next_job().await;
    let mut gone = Socket::open(&house).await;
    let mut stays = Socket::open(&house).await;
    for socket in [&mut gone, &mut stays] {
        socket
            .say(json!({"type": "subscribe", "task_id": id_of(&path)}))
            .await;
        assert_eq!(socket.hear().await["type"], "reply");
        assert_eq!(socket.hear().await["task"]["status"], "STARTED");
    }
    drop(gone);
    crate::house::until(|| house.engine.residue().followers == 1).await;
    finish(&pool, &held, "[7]");
    assert_eq!(stays.hear().await["task"]["result"], json!([7]));
    house.stop.cancel();
    let farewell = stays.closed().await.expect("a reason");
    assert_eq!(
        (farewell.code, farewell.reason.as_str()),
        (CloseCode::Away, "the server stops")
    );
    house.close().await;
}

#[tokio::test]
async fn only_a_handshake_of_this_site_opens_one() {
    let house = House::open().await.with_echo().await;
    let plain = house.get("/v1/ws").await;
    assert_eq!(
        (
            plain.status,
            plain.header("upgrade"),
            plain.header("sec-websocket-version")
        ),
        (426, Some("websocket"), Some("13"))
    );
    assert_eq!(plain.json()["code"], "upgrade_required");
    let url = format!("ws://{}/v1/ws", house.address);
    for (name, value, status) in [
        ("origin", "http://evil.example".to_owned(), 403),
        ("origin", "null".into(), 403),
        ("origin", format!("http://{}", house.address), 101),
        ("sec-websocket-protocol", "graphql-ws".into(), 400),
        ("sec-websocket-version", "8".into(), 426),
        ("sec-websocket-key", "short".into(), 400),
    ] {
        let mut request = url.as_str().into_client_request().unwrap();
        request
            .headers_mut()
            .insert(name, HeaderValue::try_from(&value).unwrap());
        let stream = TcpStream::connect(house.address).await.unwrap();
        // The client checks the key itself, so ask by hand where it would.
        let got = match client_async(request, stream).await {
            Ok((_, response)) => response.status().as_u16(),
            Err(Error::Http(response)) => response.status().as_u16(),
            Err(other) => panic!("{name}: {value}: {other}"),
        };
        assert_eq!(got, status, "{name}: {value}");
    }
    let mut request = url.as_str().into_client_request().unwrap();
    let names = HeaderValue::from_static("other, cresset.v1");
    request.headers_mut().insert("sec-websocket-protocol", names);
    let stream = TcpStream::connect(house.address).await.unwrap();
    let (_, response) = client_async(request, stream).await.unwrap();
    assert_eq!(response.headers()["sec-websocket-protocol"], "cresset.v1");
    house.close().await;
}

#[tokio::test]
async fn a_page_that_may_ask_over_http_may_open_one() {
    let options = cresset_gateway::GatewayOptions {
        cors_origins: vec!["https://app.example".into()],
        ..Default::default()
    };
    let house = House::with(options).await.with_echo().await;
    for (origin, status) in [("https://app.example", 101), ("https://app.example.evil", 403)] {
        let url = format!("ws://{}/v1/ws", house.address);
        let mut request = url.into_client_request().unwrap();
        request
            .headers_mut()
            .insert("origin", HeaderValue::from_static(origin));
        let stream = TcpStream::connect(house.address).await.unwrap();
        let got = match client_async(request, stream).await {
            Ok((_, response)) => response.status().as_u16(),
            Err(Error::Http(response)) => response.status().as_u16(),
            Err(other) => panic!("{origin}: {other}"),
        };
        assert_eq!(got, status, "{origin}");
    }
    house.close().await;
}

#[tokio::test]
async fn an_open_socket_is_not_idle_and_who_speaks_before_the_answer_is_hung_up_on() {
    let options = cresset_gateway::GatewayOptions {
        idle_timeout: Duration::from_millis(20),
        head_timeout: Duration::from_millis(20),
        ..Default::default()
    };
    let house = House::with(options).await.with_echo().await;
    let mut caller = house.caller().await;
    // The handshake and a message in one write: {"type":"x"}, masked with zeros.
    let message = br#"{"type":"x"}"#;
    let mut bytes = b"GET /v1/ws HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
        sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        .to_vec();
    bytes.extend([0x81, 0x80 | message.len() as u8, 0, 0, 0, 0]);
    bytes.extend(message);
    caller.send(bytes).await;
    assert!(caller.is_closed().await);
    let since = tokio::time::Instant::now();
    let mut socket = Socket::open(&house).await;
    // Long polls stand for time that passes: far more than the connection may be idle.
    let path = house.submitted("echo", r#"{"input":1,"countdown":"1h"}"#).await;
    house.get(&format!("{path}?wait=100ms")).await;
    assert!(since.elapsed() > Duration::from_millis(80));
    socket.say(json!({"type": "shout"})).await;
    assert_eq!(socket.hear().await["status"], 422);
    house.close().await;
}
