//! Whatever bytes come, the readers end, and say something.

use cresset_celery::{
    JSON, MSGPACK, Message, Properties, Request, Told, read, read_envelope, read_sent, read_stored,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

/// The content types of tasks that servers of ours send each other.
const OURS: [&str; 2] = ["application/x-cresset-json", "application/x-cresset-tensors"];

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "\\PC{0,6}".prop_map(Value::from),
        Just(json!("2026-01-01T00:00:00")),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec(("[a-z]{1,4}", inner), 0..4)
                .prop_map(|entries| Value::Object(entries.into_iter().collect())),
        ]
    })
}

fn headers() -> impl Strategy<Value = Map<String, Value>> {
    let name = prop_oneof![
        Just("task"),
        Just("id"),
        Just("eta"),
        Just("expires"),
        Just("retries"),
        Just("timelimit"),
        Just("stamps"),
        Just("stamped_headers"),
        Just("compression"),
        Just("group_index"),
    ];
    let value = prop_oneof![
        json_value(),
        Just(json!("t")),
        Just(json!("zlib")),
        Just(json!([30, null]))
    ];
    prop::collection::vec((name.prop_map(str::to_owned), value), 0..8).prop_map(Map::from_iter)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn any_message_is_a_task_or_refused_in_words(
        headers in headers(),
        body in prop_oneof![
            json_value().prop_map(|value| value.to_string().into_bytes()),
            (json_value(), json_value(), json_value()).prop_map(|(a, k, e)| json!([a, k, e]).to_string().into_bytes()),
            prop::collection::vec(any::<u8>(), 0..40),
        ],
        content_type in prop_oneof![Just(JSON), Just(MSGPACK), Just("text/plain"), Just(OURS[0]), Just(OURS[1])],
    ) {
        let message = Message {
            headers,
            properties: Properties::default(),
            content_type: content_type.into(),
            content_encoding: "utf-8".into(),
            body,
        };
        match read(&message) {
            Ok(task) => {
                prop_assert!(!task.head.id.is_empty() && !task.head.name.is_empty());
                prop_assert!(serde_json::from_str::<Value>(&task.body.to_json()).is_ok());
            }
            Err(unread) => prop_assert!(!unread.why.is_empty()),
        }
        let _ = Request::read(&message, "a@b", 0.0);
    }

    #[test]
    fn any_result_is_one_or_a_failure_in_words(
        status in prop_oneof![Just("SUCCESS"), Just("FAILURE"), Just("REVOKED"), Just("STARTED"), Just("RETRY"), Just("OWN")],
        result in json_value(),
        rest in json_value(),
        bytes in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let said = json!({"status": status, "result": result, "traceback": rest, "task_id": rest}).to_string();
        let ours = [&[0xc1][..], &bytes].concat();
        for bytes in [said.into_bytes(), rest.to_string().into_bytes(), bytes, ours] {
            let stored = read_stored(&bytes);
            let message = Message::json(Map::new(), Properties::default(), bytes);
            for told in [stored, read_sent(&message).1] {
                match told {
                    Told::Success(text) => prop_assert!(serde_json::from_str::<Value>(&text).is_ok()),
                    Told::Tensors(_) | Told::Parcel(_) => {}
                    Told::Failure(failure) => prop_assert!(!failure.type_.is_empty()),
                    Told::Going(fraction, _) => prop_assert!((0.0..=1.0).contains(&fraction)),
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_an_envelope_or_none(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let _ = read_envelope(&bytes);
    }

    /// What a task says survives being sent again.
    #[test]
    fn a_body_is_written_as_it_was_read(
        args in prop::collection::vec(json_value(), 0..4),
        kwargs in prop::collection::hash_map("[a-z]{1,4}", json_value(), 0..4),
    ) {
        let text = json!([args, kwargs, {"callbacks": [], "errbacks": null, "chain": null, "chord": null}]);
        let headers = Map::from_iter([("task".into(), json!("t")), ("id".into(), json!("é/1"))]);
        let task = read(&Message::json(headers, Properties::default(), text.to_string().into_bytes())).unwrap();
        prop_assert_eq!(serde_json::from_str::<Value>(&task.body.to_json()).unwrap(), text);
    }
}

#[test]
fn the_old_protocol_is_read() {
    let body = json!({"task": "t", "id": "1", "args": [1], "kwargs": {"b": 2}, "retries": 1, "taskset": "g",
        "eta": null, "callbacks": [{"task": "u"}], "utc": true});
    let message = Message::json(Map::new(), Properties::default(), body.to_string().into_bytes());
    let task = read(&message).unwrap();
    assert_eq!(
        (
            task.head.name.as_str(),
            task.head.retries,
            task.head.group.as_deref()
        ),
        ("t", 1, Some("g"))
    );
    assert_eq!(
        task.body.to_json(),
        r#"[[1], {"b": 2}, {"callbacks":[{"task":"u"}],"errbacks":null,"chain":null,"chord":null}]"#
    );
    let nameless = Message::json(Map::new(), Properties::default(), b"{\"id\": \"1\"}".to_vec());
    assert!(read(&nameless).unwrap_err().why.contains("task"));
}
