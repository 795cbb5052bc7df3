use super::*;
use crate::fixture;
use crate::problem::tests::document;
use cresset_task::{DType, Tensor};
use proptest::prelude::*;
use serde_json::Value;
use std::time::Duration;

fn submit(body: impl Into<Vec<u8>>) -> Result<Order, Problem> {
    parse(&Bytes::from(body.into()), &fixture::object("m"), Form::Submit)
}

fn predict(body: impl Into<Vec<u8>>) -> Result<Order, Problem> {
    parse(&Bytes::from(body.into()), &fixture::object("m"), Form::Predict)
}

fn refused(result: Result<Order, Problem>) -> Value {
    document(result.expect_err("this body should be refused"))
}

fn text(order: &Order) -> &[u8] {
    match &order.input {
        Payload::Json(text) => text,
        Payload::Tensors(_) => panic!("JSON was expected"),
    }
}

#[test]
fn the_input_of_an_object_model_shares_the_bodys_memory() {
    let body = Bytes::from(r#" { "input" : {"a": [1, "]\"}"]} , "priority": -7 , "metadata": {"k" : 1} } "#);
    let order = parse(&body, &fixture::object("m"), Form::Submit).unwrap();
    assert_eq!(text(&order), br#"{"a": [1, "]\"}"]}"#);
    assert!(body.as_ptr_range().contains(&text(&order).as_ptr()));
    assert_eq!(
        (order.options.priority, order.options.metadata.as_deref()),
        (-7, Some(&br#"{"k" : 1}"#[..]))
    );
}

#[test]
fn any_json_may_be_an_input() {
    for input in ["null", "true", "3.5e-7", "\"x\"", "[]", "{}", r#"[{"input": 1}]"#] {
        assert_eq!(
            text(&submit(format!("{{\"input\":{input}}}")).unwrap()),
            input.as_bytes()
        );
    }
    assert_eq!(text(&submit(r#"{"\u0069nput": 1}"#).unwrap()), b"1");
}

#[test]
fn options_left_out_or_null_have_their_defaults() {
    for body in [r#"{"input":1}"#, r#"{"input":1,"priority":null,"metadata":null}"#] {
        let order = submit(body).unwrap();
        assert_eq!(
            (
                order.options.priority,
                order.options.metadata,
                order.options.timeout
            ),
            (0, None, None)
        );
    }
}

#[test]
fn tensors_are_read_as_declared() {
    let body = Bytes::from(r#"{"input": {"pixels": [[1, 2], [3, 4]], "scale": 0.5}}"#);
    let order = parse(&body, &fixture::tensors("m"), Form::Predict).unwrap();
    let Payload::Tensors(set) = order.input else {
        panic!("tensors were expected")
    };
    let bytes: Vec<u8> = [1.0_f32, 2.0, 3.0, 4.0]
        .iter()
        .flat_map(|x| x.to_le_bytes())
        .collect();
    assert_eq!(
        set.get("pixels"),
        Some(&Tensor::new(DType::Float32, vec![2, 2], bytes.into()).unwrap())
    );
    assert_eq!(set.get("scale").unwrap().shape, Vec::<usize>::new());
}

#[test]
fn a_wrong_tensor_is_told_with_its_place() {
    let body = Bytes::from(r#"{"input": {"pixels": [[1, 2], [3, "x"]], "scale": 0.5}}"#);
    let document = document(parse(&body, &fixture::tensors("m"), Form::Predict).unwrap_err());
    assert_eq!(document["errors"][0]["field"], "input.pixels[1][1]");
    let body = Bytes::from(r#"{"input": 5}"#);
    let document =
        crate::problem::tests::document(parse(&body, &fixture::tensors("m"), Form::Predict).unwrap_err());
    assert_eq!(document["errors"][0]["field"], "input");
}

#[test]
fn every_wrong_field_is_reported_at_once() {
    let body = r#"{"priority": 101, "metadata": [1], "prioritty": 1, "eta": 5, "countdown": -1, "expires": [], "metadata": {}, "callback_url": ""}"#;
    insta::assert_json_snapshot!(refused(submit(body)));
}

#[test]
fn options_of_the_wrong_kind_say_what_they_should_be() {
    for (field, value) in [
        ("priority", "1.5"),
        ("priority", "\"1\""),
        ("priority", "-101"),
        ("priority", "1e400"),
        ("metadata", "\"{}\""),
    ] {
        let document = refused(submit(format!(r#"{{"input":1,"{field}":{value}}}"#)));
        assert_eq!(
            (&document["code"], &document["errors"][0]["field"]),
            (&"invalid_input".into(), &field.into()),
            "{value}"
        );
    }
}

#[test]
fn metadata_is_bounded() {
    let of = |len: usize| format!(r#"{{"input":1,"metadata":{{"a":"{}"}}}}"#, "x".repeat(len - 8));
    assert_eq!(
        submit(of(fields::METADATA_MAX))
            .unwrap()
            .options
            .metadata
            .unwrap()
            .len(),
        fields::METADATA_MAX
    );
    let document = refused(submit(of(fields::METADATA_MAX + 1)));
    assert_eq!(
        document["errors"][0]["message"],
        "has 16385 bytes; it may have at most 16384"
    );
}

#[test]
fn a_timeout_is_a_duration_within_the_models() {
    for (value, ms) in [
        ("\"2s\"", 2000),
        ("2", 2000),
        ("0.25", 250),
        ("\"500ms\"", 500),
        ("20", 20_000),
    ] {
        let order = predict(format!(r#"{{"input":1,"timeout":{value}}}"#)).unwrap();
        assert_eq!(order.options.timeout, Some(Duration::from_millis(ms)), "{value}");
    }
    for value in ["0", "-1", "\"soon\"", "1e400", "true", "[]", "20.5", "\"1h\""] {
        let document = refused(predict(format!(r#"{{"input":1,"timeout":{value}}}"#)));
        assert_eq!(document["errors"][0]["field"], "timeout", "{value}");
    }
}

#[test]
fn a_start_and_an_end_are_instants_or_durations_from_now() {
    let before = Timestamp::now();
    let options = |body: &str| submit(format!(r#"{{"input":1,{body}}}"#)).unwrap().options;
    let at = "2099-01-31T08:00:00Z".parse().unwrap();
    assert_eq!(options(r#""eta":"2099-01-31T09:00:00+01:00""#).due_at, Some(at));
    assert_eq!(
        options(r#""expires":"2099-01-31T08:00:00Z""#).expires_at,
        Some(at)
    );
    assert!(
        options(r#""eta":"2001-01-31T08:00:00Z""#).due_at.is_some(),
        "a start that has passed is at once"
    );
    for body in [r#""countdown":2.5"#, r#""countdown":"2500ms""#] {
        let due = options(body).due_at.unwrap();
        assert!((2_400..9_000).contains(&due.since(before).as_millis()), "{body}");
    }
    assert!(
        options(r#""expires":"2001-01-31T08:00:00Z""#)
            .expires_at
            .is_some()
    );
    let end = options(r#""expires":"1h""#).expires_at.unwrap();
    assert!((3_599..3_609).contains(&end.since(before).as_secs()));
    for (body, field) in [
        (r#""eta":"tomorrow""#, "eta"),
        (r#""eta":5"#, "eta"),
        (r#""countdown":-1"#, "countdown"),
        (r#""countdown":1e12"#, "countdown"),
        (r#""expires":0"#, "expires"),
        (r#""expires":true"#, "expires"),
        (r#""countdown":60,"expires":30"#, "expires"),
        (r#""eta":"2099-01-31T08:00:00Z","countdown":1"#, "countdown"),
    ] {
        let document = refused(submit(format!(r#"{{"input":1,{body}}}"#)));
        assert_eq!(document["errors"][0]["field"], field, "{body}");
    }
}

#[test]
fn each_form_has_its_own_options() {
    assert_eq!(
        refused(predict(r#"{"input":1,"priority":1}"#))["errors"][0]["field"],
        "priority"
    );
    assert_eq!(
        refused(submit(r#"{"input":1,"timeout":1}"#))["errors"][0]["field"],
        "timeout"
    );
}

#[test]
fn a_body_that_is_not_an_object_is_malformed() {
    for (body, kind) in [
        ("[1]", "an array"),
        ("3", "a number"),
        ("\"x\"", "a string"),
        ("null", "null"),
        (" true", "true or false"),
    ] {
        let document = refused(submit(body));
        assert_eq!(document["code"], "malformed_body");
        assert!(
            document["detail"]
                .as_str()
                .unwrap()
                .ends_with(&format!("it is {kind}")),
            "{document}"
        );
    }
    for body in ["", " \n"] {
        assert!(
            refused(submit(body))["detail"]
                .as_str()
                .unwrap()
                .starts_with("the body is empty")
        );
    }
}

#[test]
fn malformed_bodies_say_where_reading_stopped() {
    let cases: [(&[u8], [usize; 3]); 7] = [
        (b"hello", [0, 1, 1]),
        (b"{\"input\" 1}", [9, 1, 10]),
        (b"{\"input\":1,}", [11, 1, 12]),
        (b"{\n\"input\": [1,\n 2", [17, 3, 3]),
        (b"{\"input\":1} x", [12, 1, 13]),
        (b"{\"input\": nul}", [13, 1, 14]),
        (b"{'input': 1}", [1, 1, 2]),
    ];
    for (body, [byte, line, column]) in cases {
        let document = refused(submit(body));
        assert_eq!(document["code"], "malformed_body");
        let want = serde_json::json!({"byte": byte, "line": line, "column": column});
        assert_eq!(
            document["position"],
            want,
            "{} {document}",
            String::from_utf8_lossy(body)
        );
    }
    insta::assert_json_snapshot!(refused(submit("{\"input\": [1, 2")));
}

#[test]
fn text_that_is_not_utf8_is_malformed() {
    for body in [
        &b"{\"input\": \"\xff\"}"[..],
        b"{\"\xff\": 1}",
        b"\xff\xfe{}",
        b"{\"input\": 1, \"x\": \"\xc3\"}",
    ] {
        assert_eq!(
            refused(submit(body))["code"],
            "malformed_body",
            "{}",
            String::from_utf8_lossy(body)
        );
    }
}

#[test]
fn nesting_is_bounded_and_costs_no_stack() {
    let nested = |depth: usize| format!(r#"{{"input":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
    assert!(submit(nested(DEPTH_MAX)).is_ok());
    let document = refused(submit(nested(DEPTH_MAX + 1)));
    assert_eq!(
        document["errors"][0]["message"],
        "is nested deeper than 128 levels"
    );
    assert_eq!(refused(submit(nested(100_000)))["code"], "invalid_input");
    assert_eq!(
        refused(submit(format!(r#"{{"input":{}"#, "[".repeat(100_000))))["code"],
        "malformed_body"
    );
    let body = Bytes::from(nested(100_000));
    assert_eq!(document_of_tensor_model(&body)["code"], "invalid_input");
    let strange = format!(
        r#"{{"input":1,"x":{}{}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    assert_eq!(refused(submit(strange))["errors"][0]["field"], "x");
}

fn document_of_tensor_model(body: &Bytes) -> Value {
    document(parse(body, &fixture::tensors("m"), Form::Submit).unwrap_err())
}

#[test]
fn brackets_in_strings_are_not_depth() {
    assert!(!is_deeper(r#"["[[[[", "\"[[", "\\"]"#, 1));
    assert!(is_deeper(r#"["\\[", [1]]"#, 1));
}

#[test]
fn a_million_unknown_keys_make_a_short_answer() {
    let keys: Vec<_> = (0..100_000).map(|i| format!("\"k{i}\":0")).collect();
    let document = refused(submit(format!("{{{}}}", keys.join(","))));
    assert_eq!(document["errors"].as_array().unwrap().len(), 16);
    let long = refused(submit(format!(r#"{{"input":1,"{}":0}}"#, "k".repeat(100_000))));
    assert!(long.to_string().len() < 1000);
}

proptest! {
    #[test]
    fn foreign_bytes_never_panic(body in proptest::collection::vec(any::<u8>(), 0..200), envelope: bool) {
        let body = if envelope { [b"{\"input\":", &body[..], b"}"].concat() } else { body };
        let body = Bytes::from(body);
        for form in [Form::Submit, Form::Predict] {
            for config in [fixture::object("m"), fixture::tensors("m")] {
                if let Err(problem) = parse(&body, &config, form) {
                    document(problem);
                }
            }
        }
    }

    #[test]
    fn what_serde_reads_we_read(key in "[a-z]{1,9}", value in "\\PC{0,20}", priority in -100_i8..=100) {
        let body = serde_json::json!({"input": {key: value}, "priority": priority});
        let order = submit(body.to_string()).unwrap();
        prop_assert_eq!(order.options.priority, priority);
        prop_assert_eq!(serde_json::from_slice::<Value>(text(&order)).unwrap(), body["input"].clone());
    }
}
