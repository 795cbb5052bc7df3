//! Several named tensors as one body over real sockets, in and out.

use bytes::Bytes;
use cresset_config::ModelConfig;
use cresset_task::{DType, Tensor, TensorSet, TensorSpec, safetensors};
use serde_json::json;

use crate::fixture;
use crate::house::House;

const MEDIA: (&str, &str) = ("content-type", "application/x-safetensors");
const ACCEPT: (&str, &str) = ("accept", "application/x-safetensors");
const PREDICT: &str = "POST /v1/models/pair/predict";

/// A house with a model of `pixels` (two by two) and `scale`, which gives both back.
async fn house() -> House {
    let house = House::open().await.with_echo().await;
    house.automatic(fixture::tensors("pair")).all_up();
    house.until_ready().await;
    house
}

fn float32(shape: &[usize], values: &[f32]) -> Tensor {
    let data: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    Tensor::new(DType::Float32, shape.to_vec(), data.into()).unwrap()
}

fn pair() -> TensorSet {
    TensorSet(vec![
        ("pixels".into(), float32(&[2, 2], &[1.0, f32::NAN, 3.0, 4.0])),
        ("scale".into(), float32(&[], &[0.5])),
    ])
}

#[tokio::test]
async fn several_tensors_go_in_and_come_out_by_name() {
    let house = house().await;
    let mut caller = house.caller().await;
    let file = safetensors::write(&pair()).unwrap();
    for (content_type, accept) in [
        (MEDIA, ACCEPT),
        (
            ("content-type", "application/vnd.safetensors"),
            ("accept", "application/safetensors"),
        ),
    ] {
        let answer = caller.ask(PREDICT, &[content_type, accept], &file).await;
        assert_eq!((answer.status, &answer.body), (200, &file), "{answer:?}");
        for (name, value) in [
            ("content-type", Some("application/x-safetensors")),
            ("cresset-model", Some("pair")),
            ("cresset-version", Some("7")),
            ("cresset-shape", None),
            ("cresset-dtype", None),
        ] {
            assert_eq!(answer.header(name), value, "{name}");
        }
    }
    // Beside JSON on either side.
    let shuffled = TensorSet(vec![
        ("scale".into(), float32(&[], &[0.5])),
        ("pixels".into(), float32(&[2, 2], &[1.0, 2.0, 3.0, 4.0])),
    ]);
    let answer = caller
        .ask(PREDICT, &[MEDIA], safetensors::write(&shuffled).unwrap())
        .await;
    let result = json!({"pixels": [[1.0, 2.0], [3.0, 4.0]], "scale": 0.5});
    assert_eq!(answer.json()["result"], result);
    let body = json!({"input": {"pixels": [[1, 2], [3, 4]], "scale": 0.5}}).to_string();
    let answer = caller.ask(PREDICT, &[ACCEPT], body).await;
    let set = safetensors::parse(&Bytes::from(answer.body)).unwrap();
    assert_eq!(set.get("pixels"), shuffled.get("pixels"));
    house.close().await;
}

#[tokio::test]
async fn a_task_of_several_tensors_gives_its_result_in_the_forms_that_it_has() {
    let house = house().await;
    let mut caller = house.caller().await;
    let file = safetensors::write(&pair()).unwrap();
    let submit = "POST /v1/models/pair/tasks?priority=-3";
    let accepted = caller
        .ask(submit, &[MEDIA, ("cresset-metadata", r#"{"k":2}"#)], &file)
        .await;
    assert_eq!(accepted.status, 202, "{accepted:?}");
    let path = accepted.header("location").unwrap().to_owned();
    let get = format!("GET {path}/result?wait=20s");
    let answer = caller.ask(&get, &[ACCEPT], "").await;
    assert_eq!((answer.status, &answer.body), (200, &file));
    let json = caller.ask(&get, &[], "").await;
    assert_eq!(json.json()["scale"], json!(0.5));
    assert_eq!(
        (json.header("cresset-model"), json.header("cresset-version")),
        (Some("pair"), Some("7"))
    );
    let either = [("accept", "application/x-npy, application/x-safetensors;q=0.5")];
    assert_eq!(caller.ask(&get, &either, "").await.body, file);
    let raw = caller
        .ask(&get, &[("accept", "application/octet-stream")], "")
        .await;
    assert_eq!(raw.code(), "not_acceptable");
    let task = caller.get(&path).await.json();
    assert_eq!(
        (&task["priority"], &task["metadata"]),
        (&json!(-3), &json!({"k": 2}))
    );
    house.close().await;
}

#[tokio::test]
async fn a_file_that_does_not_fit_is_told_by_field_and_the_connection_goes_on() {
    let house = house().await;
    let mut caller = house.caller().await;
    let file = |set: Vec<(&str, Tensor)>| {
        let set = set
            .into_iter()
            .map(|(name, tensor)| (name.into(), tensor))
            .collect();
        safetensors::write(&TensorSet(set)).unwrap()
    };
    for (path, body, code, says) in [
        (
            PREDICT,
            file(vec![("pixels", float32(&[2, 2], &[0.0; 4]))]),
            "invalid_input",
            "`input.scale`: is missing; must be float32 []",
        ),
        (
            PREDICT,
            file(vec![
                ("pixels", float32(&[4], &[0.0; 4])),
                ("scale", float32(&[], &[1.0])),
            ]),
            "invalid_input",
            "`input.pixels`: is float32 [4]; must be float32 [2, 2]",
        ),
        (
            "POST /v1/models/pair/tasks",
            b"\x02\0\0\0\0\0\0\0{]".to_vec(),
            "malformed_body",
            "the body is not a whole safetensors file",
        ),
        (
            "POST /v1/models/echo/predict",
            file(vec![]),
            "unsupported_media_type",
            "model `echo` takes any JSON",
        ),
    ] {
        let problem = caller.ask(path, &[MEDIA], body).await.problem();
        assert_eq!(problem["code"], code);
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{detail}");
    }
    let good = safetensors::write(&pair()).unwrap();
    assert_eq!(caller.ask(PREDICT, &[MEDIA], good).await.status, 200);
    house.close().await;
}

#[tokio::test]
async fn every_element_type_of_one_input_has_this_form() {
    let house = House::open().await;
    for dtype in DType::ALL.iter().copied() {
        let input = TensorSpec {
            name: "x".into(),
            dtype,
            shape: vec![1],
            allow_non_finite: false,
            pad: None,
        };
        let model = ModelConfig {
            inputs: vec![input.clone()],
            outputs: vec![input],
            ..fixture::object(dtype.name())
        };
        house.automatic(model).all_up();
    }
    house.until_ready().await;
    let mut caller = house.caller().await;
    for dtype in DType::ALL.iter().copied() {
        let tensor = Tensor::new(dtype, vec![1], vec![1; dtype.size()].into()).unwrap();
        let file = safetensors::write(&TensorSet(vec![("x".into(), tensor)])).unwrap();
        let line = format!("POST /v1/models/{}/predict", dtype.name());
        let answer = caller.ask(&line, &[MEDIA, ACCEPT], &file).await;
        assert_eq!((answer.status, &answer.body), (200, &file), "{dtype}");
    }
    house.close().await;
}
