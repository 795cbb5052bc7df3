//! Pickles, held to what Python makes of them: the same as of the JSON text that they were written from.

use std::io::Write as _;
use std::process::{Command, Stdio};

use cresset_celery::pickle;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

/// Reads lines of a JSON text and a pickle in hex, and fails at the first that are not the same, types and order of keys included.
const COMPARE: &str = r"
import json, pickle, sys
count = 0
for line in sys.stdin:
    text, pickled = json.loads(line)
    assert repr(json.loads(text)) == repr(pickle.loads(bytes.fromhex(pickled))), line
    count += 1
print(count)
";

/// Any JSON, as deep and as odd as a few hundred tries make it.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-300_i64..300).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 8, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::hash_map(any::<String>(), inner, 0..8)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

#[test]
fn python_loads_what_the_json_says() {
    let mut texts: Vec<String> = [
        r#""\ud800 \udc00\ud83d\ude00 \\\" é""#,
        "123456789012345678901234567890",
        "-170141183460469231731687303715884105728",
        "1e400",
        "-0",
        "-0.0",
        "1E5",
        "{\"a\": 1, \"a\": 2}",
        " [ ] ",
        "{}",
        "255",
        "256",
        "-1",
        "2147483648",
        "-2147483649",
    ]
    .map(str::to_owned)
    .to_vec();
    texts.push(format!("{}1{}", "[".repeat(120), "]".repeat(120)));
    let mut runner = TestRunner::deterministic();
    for _ in 0..300 {
        texts.push(any_json().new_tree(&mut runner).unwrap().current().to_string());
    }
    let mut python = Command::new("python3")
        .args(["-c", COMPARE])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is there");
    let mut lines = String::new();
    for text in &texts {
        let hex: String = pickle(text)
            .unwrap()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        lines.push_str(&format!("{}\n", json!([text, hex])));
    }
    python.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        texts.len().to_string()
    );
}
