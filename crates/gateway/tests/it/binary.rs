//! Tensors as bytes over real sockets, in and out, beside JSON on the same connection.

use bytes::Bytes;
use cresset_config::ModelConfig;
use cresset_task::{DType, Tensor, TensorSpec, npy};
use serde_json::json;

use crate::fixture;
use crate::house::{House, finish};

const RAW: (&str, &str) = ("content-type", "application/octet-stream");
const NPY: (&str, &str) = ("content-type", "application/x-npy");
const ACCEPT_RAW: (&str, &str) = ("accept", "application/octet-stream");
const ACCEPT_NPY: (&str, &str) = ("accept", "application/x-npy");
const PREDICT: &str = "POST /v1/models/digits/predict";
const TASKS: &str = "POST /v1/models/digits/tasks";

/// A model of one input, whose pool gives it back.
fn one(name: &str, dtype: DType, shape: &[i64]) -> ModelConfig {
    ModelConfig {
        inputs: vec![TensorSpec {
            name: "pixels".into(),
            dtype,
            shape: shape.to_vec(),
            allow_non_finite: false,
            pad: None,
        }],
        ..fixture::object(name)
    }
}

async fn house() -> House {
    let house = House::open().await;
    house
        .automatic(one("digits", DType::Float32, &[1, 8, 8]))
        .all_up();
    house.until_ready().await;
    house
}

/// 64 pixels, one of which is no number.
fn pixels() -> Vec<u8> {
    let nan = std::iter::once(f32::NAN);
    nan.chain((1_u8..64).map(f32::from))
        .flat_map(f32::to_le_bytes)
        .collect()
}

/// Eight rows of eight zeros, as JSON gives them.
fn zero_rows() -> Vec<[f32; 8]> {
    vec![[0.0; 8]; 8]
}

#[tokio::test]
async fn bytes_go_in_and_the_same_bytes_come_out() {
    let house = house().await;
    let mut caller = house.caller().await;
    let answer = caller.ask(PREDICT, &[RAW, ACCEPT_RAW], pixels()).await;
    assert_eq!((answer.status, &answer.body), (200, &pixels()));
    for (name, value) in [
        ("content-type", "application/octet-stream"),
        ("cresset-shape", "1,8,8"),
        ("cresset-dtype", "float32"),
        ("cresset-model", "digits"),
        ("cresset-version", "7"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }

    let tensor = Tensor::new(DType::Float32, vec![1, 8, 8], pixels().into()).unwrap();
    let file = npy::write(&tensor).unwrap();
    let answer = caller.ask(PREDICT, &[NPY, ACCEPT_NPY], &file).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some(NPY.1)));
    assert_eq!(answer.body, file);

    // The two need not be the same, and JSON is what comes out unless told.
    let zeros = vec![0; 256];
    let shaped = [RAW, ("cresset-shape", "1,8,8"), ("accept", "*/*")];
    let answer = caller.ask(PREDICT, &shaped, &zeros).await;
    assert_eq!(answer.json()["result"], json!([zero_rows()]));
    let input = json!({"input": [zero_rows()]}).to_string();
    let answer = caller.ask(PREDICT, &[ACCEPT_NPY], input).await;
    let (dtype, shape, data) = npy::parse(&Bytes::from(answer.body)).unwrap();
    assert_eq!(
        (dtype, shape, &data[..]),
        (DType::Float32, vec![1, 8, 8], &zeros[..])
    );
    house.close().await;
}

#[tokio::test]
async fn a_task_of_bytes_keeps_its_options_and_gives_its_result_in_every_form() {
    let house = house().await;
    let mut caller = house.caller().await;
    let headers = [RAW, ("cresset-metadata", r#"{"k" : 1}"#)];
    let accepted = caller
        .ask(&format!("{TASKS}?priority=9"), &headers, vec![0; 256])
        .await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let path = accepted.header("location").unwrap().to_owned();
    let task = caller.get(&format!("{path}?wait=20s")).await.json();
    assert_eq!(
        (&task["status"], &task["priority"], &task["metadata"]),
        (&json!("SUCCESS"), &json!(9), &json!({"k": 1}))
    );
    let get = format!("GET {path}/result");
    let raw = caller.ask(&get, &[ACCEPT_RAW], "").await;
    assert_eq!((raw.status, &raw.body), (200, &vec![0; 256]));
    assert_eq!(
        (
            raw.header("cresset-shape"),
            raw.header("cresset-version"),
            raw.header("cresset-model")
        ),
        (Some("1,8,8"), Some("7"), Some("digits"))
    );
    let file = caller.ask(&get, &[ACCEPT_NPY], "").await;
    assert!(file.body.starts_with(b"\x93NUMPY") && file.body.ends_with(&[0; 256]));
    let either = caller
        .ask(
            &get,
            &[("accept", "application/x-npy;q=0.5, application/json")],
            "",
        )
        .await;
    assert_eq!(either.json(), json!([zero_rows()]));
    house.close().await;
}

#[tokio::test]
async fn a_task_that_has_not_ended_is_answered_as_json_whatever_is_accepted() {
    let house = House::open().await;
    let pool = house.by_hand(one("digits", DType::Uint8, &[]));
    pool.all_up();
    house.until_ready().await;
    let mut caller = house.caller().await;
    let accepted = caller.ask(TASKS, &[RAW, ACCEPT_RAW], [5]).await;
    let path = accepted.header("location").unwrap().to_owned();
    let held = pool.next_job().await;
    let answer = caller.ask(&format!("GET {path}/result"), &[ACCEPT_RAW], "").await;
    assert_eq!(
        (accepted.status, answer.status, answer.header("content-type")),
        (202, 202, Some("application/json"))
    );
    finish(&pool, &held, "1");
    house.close().await;
}

#[tokio::test]
async fn bodies_that_do_not_fit_are_told_and_the_connection_goes_on() {
    let house = house().await.with_echo().await;
    house.automatic(fixture::tensors("pair")).all_up();
    house.until_ready().await;
    let mut caller = house.caller().await;
    for (line, headers, body, code, says) in [
        (
            TASKS,
            vec![RAW],
            &[0; 255][..],
            "invalid_input",
            "pixels is float32 [1, 8, 8]: 256 bytes, got 255",
        ),
        (
            PREDICT,
            vec![RAW, ("cresset-shape", "8,8")],
            &[0; 256],
            "invalid_input",
            "`Cresset-Shape`: is `8,8`",
        ),
        (
            PREDICT,
            vec![NPY],
            b"\x93NUMPY\x09\x00",
            "malformed_body",
            "version 9.0",
        ),
        (
            PREDICT,
            vec![],
            b"{\"input\": 1",
            "malformed_body",
            "ends too early",
        ),
        (
            PREDICT,
            vec![RAW, ("content-encoding", "br")],
            b"",
            "unsupported_media_type",
            "gzip",
        ),
        (
            "POST /v1/models/echo/predict",
            vec![RAW],
            b"x",
            "unsupported_media_type",
            "takes any JSON",
        ),
        (
            "POST /v1/models/pair/tasks",
            vec![NPY],
            b"x",
            "unsupported_media_type",
            "takes 2 tensors",
        ),
        (
            "POST /v1/models/digits/tasks?timeout=2s",
            vec![RAW],
            &[0; 256],
            "bad_query",
            "takes `priority`",
        ),
        (
            "POST /v1/models/digits/tasks?priority=2",
            vec![],
            b"{\"input\": 1}",
            "bad_query",
            "beside `input`",
        ),
        (
            TASKS,
            vec![("cresset-metadata", "{}")],
            b"{\"input\": 1}",
            "invalid_input",
            "`Cresset-Metadata`",
        ),
    ] {
        let answer = caller.ask(line, &headers, body).await;
        let problem = answer.problem();
        assert_eq!(problem["code"], code, "{line} {headers:?}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{detail}");
    }
    assert_eq!(caller.ask(PREDICT, &[RAW], pixels()).await.status, 200);
    house.close().await;
}

#[tokio::test]
async fn what_has_no_such_form_is_not_acceptable() {
    let house = house().await.with_echo().await;
    house.automatic(fixture::tensors("pair")).all_up();
    house.automatic(one("brain", DType::Bfloat16, &[1])).all_up();
    let declared = ModelConfig {
        outputs: one("x", DType::Bfloat16, &[1]).inputs,
        ..one("declared", DType::Float32, &[1])
    };
    // By hand: a model that is asked would never answer.
    house.by_hand(declared).all_up();
    house.until_ready().await;
    let mut caller = house.caller().await;
    let pair = r#"{"input": {"scale": 0.5, "pixels": [[1, 2], [3, 4]]}}"#;
    for (model, accept, body, says) in [
        ("echo", ACCEPT_RAW, r#"{"input": 1}"#, "model `echo` answers JSON"),
        ("pair", ACCEPT_NPY, pair, "this has 2 tensors"),
        (
            "brain",
            ACCEPT_NPY,
            r#"{"input": [1]}"#,
            "bfloat16 has no .npy form",
        ),
        (
            "declared",
            ACCEPT_NPY,
            r#"{"input": [1]}"#,
            "bfloat16 has no .npy form",
        ),
    ] {
        let line = format!("POST /v1/models/{model}/predict");
        let answer = caller.ask(&line, &[accept], body).await;
        let problem = answer.problem();
        assert_eq!(
            (answer.status, &problem["code"]),
            (406, &json!("not_acceptable")),
            "{model}"
        );
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{detail}");
    }
    let path = house.submitted("echo", r#"{"input": 1}"#).await;
    let result = format!("GET {path}/result?wait=20s");
    assert_eq!(
        caller.ask(&result, &[ACCEPT_RAW], "").await.code(),
        "not_acceptable"
    );
    let both = ("accept", "application/octet-stream, application/json;q=0.1");
    assert_eq!(caller.ask(&result, &[both], "").await.json(), json!(1));
    let raw = caller
        .ask("POST /v1/models/brain/predict", &[RAW, ACCEPT_RAW], [0x80, 0x3f])
        .await;
    assert_eq!(
        (raw.body.as_slice(), raw.header("cresset-dtype")),
        (&[0x80, 0x3f][..], Some("bfloat16"))
    );
    house.close().await;
}
