use cresset_celery::{JSON, Message, Properties, read};
use cresset_config::parse_model;
use serde_json::{Map, json};
use std::path::Path;

use super::*;

struct Folder;

impl cresset_config::Folder for Folder {
    fn dir(&self) -> &Path {
        Path::new("/models/m")
    }

    fn is_file(&self, path: &Path) -> bool {
        path.ends_with("model.py")
    }
}

fn model(toml: &str) -> ModelConfig {
    parse_model("model.toml", Some(toml), &Folder).unwrap()
}

fn one_tensor() -> ModelConfig {
    model("[[inputs]]\nname = \"x\"\ndtype = \"float32\"\nshape = [2]\n")
}

fn two_tensors(more: &str) -> ModelConfig {
    let input = |name: &str| format!("[[inputs]]\nname = \"{name}\"\ndtype = \"float32\"\nshape = []\n");
    model(&format!("{}{}{more}", input("a"), input("b")))
}

/// The input as JSON, or the exception as a line.
fn bound(config: &ModelConfig, args: serde_json::Value, kwargs: serde_json::Value) -> String {
    let body = json!([args, kwargs, {}]).to_string().into_bytes();
    let headers = Map::from_iter([("task".into(), json!("p.t.f")), ("id".into(), json!("1"))]);
    let message = Message::json(headers, Properties::default(), body);
    assert_eq!(message.content_type, JSON);
    match input("p.t.f", &read(&message).unwrap().body, config) {
        Ok(Payload::Json(text)) => String::from_utf8(text.to_vec()).unwrap(),
        Ok(Payload::Tensors(set)) => {
            let mut out = Vec::new();
            json::write_outputs(&set, &mut out);
            String::from_utf8(out).unwrap()
        }
        Err(exception) => exception.line(),
    }
}

#[test]
fn one_tensor_is_one_argument_by_any_name() {
    let model = one_tensor();
    assert_eq!(bound(&model, json!([[1, 2]]), json!({})), "[1.0,2.0]");
    assert_eq!(
        bound(&model, json!([]), json!({"input_data": [1, 2]})),
        "[1.0,2.0]"
    );
    assert_eq!(bound(&model, json!([{"x": [1, 2]}]), json!({})), "[1.0,2.0]");
    let wrong = bound(&model, json!([[1, "a"]]), json!({}));
    assert!(wrong.starts_with("ValueError: argument 1[1] "), "{wrong}");
    let missing = "TypeError: f() missing 1 required positional argument: 'x'";
    assert_eq!(bound(&model, json!([]), json!({})), missing);
    let many = "TypeError: f() takes 1 positional argument but 2 were given";
    assert_eq!(bound(&model, json!([[1, 2], 3]), json!({})), many);
}

#[test]
fn several_tensors_are_arguments_by_place_or_name() {
    let model = two_tensors("");
    let want = r#"{"a":1.0,"b":2.0}"#;
    assert_eq!(bound(&model, json!([1, 2]), json!({})), want);
    assert_eq!(bound(&model, json!([1]), json!({"b": 2})), want);
    assert_eq!(bound(&model, json!([{"b": 2, "a": 1}]), json!({})), want);
    let unknown = "TypeError: f() got an unexpected keyword argument 'c'";
    assert_eq!(bound(&model, json!([1, 2]), json!({"c": 3})), unknown);
    let named = two_tensors("[celery]\nparameters = [\"left\", \"right\"]\n");
    assert_eq!(bound(&named, json!([]), json!({"right": 2, "left": 1})), want);
    let wrong = bound(&named, json!([1]), json!({"right": "no"}));
    assert!(wrong.starts_with("ValueError: right "), "{wrong}");
}

#[test]
fn json_is_one_argument_or_an_object_of_the_named_ones() {
    let plain = model("");
    assert_eq!(bound(&plain, json!(["a"]), json!({})), "\"a\"");
    assert_eq!(bound(&plain, json!([]), json!({"text": "a"})), "\"a\"");
    assert_eq!(
        bound(&plain, json!([]), json!({"text": "a", "k": 1})),
        r#"{"text": "a", "k": 1}"#
    );
    assert!(bound(&plain, json!([]), json!({})).contains("missing 1 required"));
    assert!(bound(&plain, json!([1, 2]), json!({})).contains("takes 1 positional"));
    assert!(bound(&plain, json!([1]), json!({"k": 2})).contains("celery.parameters"));
    let named = model("[celery]\nparameters = [\"text\", \"k?\"]\n");
    assert_eq!(bound(&named, json!(["a"]), json!({})), r#"{"text": "a"}"#);
    assert_eq!(
        bound(&named, json!(["a", 2]), json!({})),
        r#"{"text": "a", "k": 2}"#
    );
    let one = model("[celery]\nparameters = [\"text\"]\n");
    assert_eq!(bound(&one, json!([]), json!({"text": "a"})), "\"a\"");
}
