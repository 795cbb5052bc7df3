//! What real producers, workers and tools wrote, read and written here.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cresset_celery::{
    Body, Event, Exception, Head, Identity, Meta, Request, Status, TaskEvent, Told, parse_time, read,
    read_envelope, read_stored, write_envelope,
};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::{capture, captures};

fn bytes(value: &Value) -> Vec<u8> {
    STANDARD.decode(value.as_str().unwrap()).unwrap()
}

/// Every message on a list of every capture of a producer.
fn produced() -> Vec<(String, Value)> {
    let mut items = Vec::new();
    for name in captures("A_redis_") {
        let capture = capture(&name);
        let keys = capture["broker_keys"]
            .as_object()
            .into_iter()
            .flat_map(|keys| keys.values());
        let old = capture["messages"]
            .as_object()
            .into_iter()
            .flat_map(|cases| cases.values());
        let lists = keys.map(|key| &key["items"]).chain(old);
        for item in lists.flat_map(|list| list.as_array().into_iter().flatten()) {
            let mut item = item.clone();
            if item.get("decoded").is_none() {
                // The captures of the older producer have these at the top.
                item["decoded"] = json!({"envelope": item["envelope"], "body_json": item["body_json"]});
            }
            items.push((name.clone(), item));
        }
    }
    items
}

/// The captures have long texts cut.
fn cut(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(cut).collect(),
        Value::String(text) => text.chars().take(100).collect::<String>().into(),
        other => other.clone(),
    }
}

/// Captures of what is not read here; their sender is told.
const REFUSED: &[(&str, &str)] = &[
    ("A_redis_serializer_pickle.json", "pickled"),
    ("A_redis_serializer_yaml.json", "application/x-yaml"),
    ("A_redis_compression_bzip2.json", "application/x-bz2"),
];

#[test]
fn every_message_of_a_real_producer_is_read_or_refused_by_its_name() {
    let produced = produced();
    assert!(produced.len() > 40, "{} messages", produced.len());
    let mut refused = 0;
    for (name, item) in produced {
        let (message, route) = read_envelope(&bytes(&item["raw_b64"])).unwrap();
        assert_eq!(route.exchange, "", "{name}");
        let headers = &item["decoded"]["envelope"]["headers"];
        match read(&message) {
            Ok(task) => {
                assert_eq!(json!(task.head.id), headers["id"], "{name}");
                assert_eq!(json!(task.head.name), headers["task"], "{name}");
                assert_eq!(
                    json!(task.head.retries),
                    headers.get("retries").cloned().unwrap_or(json!(0)),
                    "{name}"
                );
                let eta = headers.get("eta").and_then(Value::as_str);
                assert_eq!(task.head.eta, eta.map(|eta| parse_time(eta).unwrap()), "{name}");
                if let Some(wanted) = item["decoded"].get("body_json") {
                    let read: Value = serde_json::from_str(&task.body.to_json()).unwrap();
                    assert_eq!(cut(&read), cut(wanted), "{name}");
                }
            }
            Err(unread) => {
                refused += 1;
                let (_, why) = REFUSED.iter().find(|(file, _)| *file == name).expect(&name);
                assert!(unread.why.contains(why), "{name}: {}", unread.why);
                assert_eq!(json!(unread.head.unwrap().id), headers["id"], "{name}");
            }
        }
    }
    assert_eq!(refused, REFUSED.len());
}

#[test]
fn compressed_and_msgpack_bodies_say_what_the_plain_one_says() {
    let args = |name: &str| {
        let items = produced();
        let (_, item) = items.iter().find(|(file, _)| file == name).expect(name);
        let (message, _) = read_envelope(&bytes(&item["raw_b64"])).unwrap();
        let Body {
            args,
            kwargs,
            embed,
            payload,
            parcel,
        } = read(&message).unwrap().body;
        assert_eq!((embed.chord, payload, parcel), (None, None, None), "{name}");
        let all: Vec<_> = args.iter().chain(kwargs.iter().map(|(_, value)| value)).collect();
        all.iter()
            .map(|arg| serde_json::from_str::<Value>(arg.get()).unwrap())
            .collect::<Vec<_>>()
    };
    let zlib = args("A_redis_compression_zlib.json");
    assert!(!zlib.is_empty());
    for same in ["gzip", "zstd", "zlib_msgpack"] {
        assert_eq!(args(&format!("A_redis_compression_{same}.json")), zlib, "{same}");
    }
    assert!(!args("A_redis_serializer_msgpack.json").is_empty());
}

#[test]
fn an_envelope_reads_back_as_it_was_written() {
    for (name, item) in produced() {
        let (message, route) = read_envelope(&bytes(&item["raw_b64"])).unwrap();
        let written = write_envelope(&message, &route, "a-tag");
        assert_eq!(
            read_envelope(written.as_bytes()).unwrap(),
            (message, route),
            "{name}"
        );
        // The same keys in the same order: others' code may count on more than it should.
        let keys = |text: &[u8]| {
            let value: Value = serde_json::from_slice(text).unwrap();
            value.as_object().unwrap().keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(keys(written.as_bytes()), keys(&bytes(&item["raw_b64"])), "{name}");
    }
}

/// The last text of those published in a capture whose text has `what`.
fn published(name: &str, what: &str) -> Value {
    let capture = capture(name);
    let texts = capture["publish_sequence"].as_array().unwrap().iter();
    let text = texts
        .map(|p| p["text"].as_str().unwrap())
        .rfind(|text| text.contains(what))
        .unwrap();
    serde_json::from_str(text).unwrap()
}

fn raw(text: &str) -> Box<RawValue> {
    RawValue::from_string(text.into()).unwrap()
}

#[test]
fn results_are_written_as_a_real_worker_writes_them() {
    let same = |head: &Head, status: &Status, children: &[Value], extended, real: Value| {
        let done = real["date_done"].as_str().and_then(parse_time);
        let meta = Meta {
            head,
            status,
            children,
            done,
            extended,
        };
        let ours: Value = serde_json::from_str(&meta.text()).unwrap();
        // As texts, so that the order of the keys counts.
        assert_eq!(ours.to_string(), real.to_string());
    };
    let head = |id: &str| Head {
        id: id.into(),
        ..Head::default()
    };

    let real = published("B_redis_link_children.json", "[[[");
    let children = real["children"].as_array().unwrap().clone();
    same(
        &head("res-link"),
        &Status::Success(raw("5")),
        &children,
        None,
        real,
    );

    let real = published("B_redis_link_children.json", "\"result\": 15");
    let child = Head {
        parent_id: Some("res-link".into()),
        ..head(real["task_id"].as_str().unwrap())
    };
    same(&child, &Status::Success(raw("15")), &[], None, real);

    let real = published("B_redis_link_children.json", "STARTED");
    let started = Status::Started {
        pid: u32::try_from(real["result"]["pid"].as_u64().unwrap()).unwrap(),
        node: real["result"]["hostname"].as_str().unwrap().into(),
    };
    let child = Head {
        parent_id: Some("res-link".into()),
        ..head(real["task_id"].as_str().unwrap())
    };
    same(&child, &started, &[], None, real);

    let real = published("B_redis_expired.json", "REVOKED");
    same(
        &head("res-exp"),
        &Status::Revoked(Exception::revoked("expired")),
        &[],
        None,
        real,
    );

    let real = published("B_redis_failure_builtin_extended.json", "FAILURE");
    let exception = Exception::builtin("ValueError", real["result"]["exc_message"][0].as_str().unwrap());
    let status = Status::Failure(exception, real["traceback"].as_str().unwrap().into());
    let failed = Head {
        name: real["name"].as_str().unwrap().into(),
        ..head(real["task_id"].as_str().unwrap())
    };
    let done = real["date_done"].as_str().and_then(parse_time);
    let worker = real["worker"].as_str().unwrap().to_owned();
    let meta = Meta {
        head: &failed,
        status: &status,
        children: &[],
        done,
        extended: Some((&worker, "celery")),
    };
    let ours: Value = serde_json::from_str(&meta.text()).unwrap();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&ours), keys(&real));
}

#[test]
fn requests_of_real_tools_are_understood() {
    for (name, method) in [
        ("C_redis_control_inspect_ping.json", "ping"),
        ("C_redis_control_inspect_ping_pattern.json", "ping"),
        ("C_redis_control_revoke_many.json", "revoke"),
    ] {
        let capture = capture(name);
        let sent = &capture["requests"][0];
        let mut envelope = sent["envelope_without_body"].clone();
        envelope["body"] = sent["body_b64"].clone();
        let (message, _) = read_envelope(envelope.to_string().as_bytes()).unwrap();
        let request = Request::read(&message, "w1@lab", 0.0).expect(name);
        assert_eq!(request.method, method);
        assert!(request.target.is_some());
        if method == "revoke" {
            assert_eq!(request.ids("task_id"), ["id-a", "id-b"]);
            assert!(!request.flag("terminate"));
        }
        assert_eq!(
            Request::read(&message, "w1@lab", 1e18),
            None,
            "it is stale by then"
        );
    }
}

#[test]
fn events_have_what_a_real_workers_have() {
    let who = Identity {
        node: "w2@lab".into(),
        pid: 1,
        version: "1".into(),
    };
    let capture = capture("C_redis_events.json");
    let real = |type_: &str| {
        let examples = capture["examples"].as_array().unwrap();
        let found = examples.iter().find(|e| e["event"]["type"] == type_);
        found.unwrap_or_else(|| panic!("no {type_}")).clone()
    };
    let head = Head {
        id: "x".into(),
        ..Head::default()
    };
    let worker = |what| Event::Worker {
        what,
        active: 0,
        processed: 0,
        load: [0.0; 3],
    };
    let task = |what| Event::Task(&head, what);
    let revoked = TaskEvent::Revoked {
        terminated: false,
        expired: true,
    };
    for (type_, event) in [
        ("worker-online", worker("online")),
        ("worker-heartbeat", worker("heartbeat")),
        ("worker-offline", worker("offline")),
        ("task-received", task(TaskEvent::Received)),
        ("task-started", task(TaskEvent::Started)),
        ("task-succeeded", task(TaskEvent::Succeeded("5", 0.1))),
        ("task-failed", task(TaskEvent::Failed("ValueError('x')", ""))),
        ("task-retried", task(TaskEvent::Retried("ValueError('x')", ""))),
        ("task-revoked", task(revoked)),
    ] {
        let real = real(type_);
        let ours = event.to_value(&who, 1, parse_time("2026-01-01T00:00:00").unwrap());
        let keys = |value: &Value| {
            let mut keys: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
            keys.sort();
            keys
        };
        assert_eq!(keys(&ours), keys(&real["event"]), "{type_}");
        assert_eq!(ours["type"], type_);
        let channel = real["channel"].as_str().unwrap();
        assert!(
            channel.ends_with(&format!("/{}", event.routing_key())),
            "{channel}"
        );
    }
}

#[test]
fn what_celery_stores_is_read_as_it_was_meant() {
    let said = |name: &str, part: &str| read_stored(published(name, part).to_string().as_bytes());
    assert_eq!(
        said("B_redis_link_children.json", "\"result\": 15"),
        Told::Success("15".into())
    );
    let started = said("B_redis_failure_builtin_extended.json", "STARTED");
    assert_eq!(
        started,
        Told::Going(0.0, Some("started by wrextended@lab".into()))
    );
    let Told::Failure(failure) = said("B_redis_failure_builtin_extended.json", "FAILURE") else {
        panic!("no failure")
    };
    assert_eq!(
        (failure.type_.as_str(), failure.message.as_str()),
        ("ValueError", "boom")
    );
    assert!(failure.traceback.unwrap().ends_with("ValueError: boom\n"));
    let Told::Failure(expired) = said("B_redis_expired.json", "REVOKED") else {
        panic!("no failure")
    };
    assert!(expired.message.contains("expired"), "{}", expired.message);
}
