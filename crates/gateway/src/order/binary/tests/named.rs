//! Bodies of named tensors.

use super::*;
use cresset_task::safetensors;

fn spec(name: &str, dtype: DType, shape: &[i64]) -> TensorSpec {
    TensorSpec {
        name: name.into(),
        dtype,
        shape: shape.to_vec(),
        allow_non_finite: false,
        pad: None,
    }
}

/// A model of three inputs.
fn three() -> ModelConfig {
    ModelConfig {
        inputs: vec![
            spec("pixels", DType::Float32, &[2, -1]),
            spec("mask", DType::Bool, &[2]),
            spec("scale", DType::Bfloat16, &[]),
        ],
        ..fixture::object("m")
    }
}

fn zeros(dtype: DType, shape: &[usize]) -> Tensor {
    let size = dtype.size() * shape.iter().product::<usize>();
    Tensor::new(dtype, shape.to_vec(), vec![0; size].into()).unwrap()
}

fn file(tensors: Vec<(&str, Tensor)>) -> Bytes {
    let set = tensors.into_iter().map(|(name, tensor)| (name.into(), tensor));
    safetensors::write(&TensorSet(set.collect())).unwrap().into()
}

fn good() -> Vec<(&'static str, Tensor)> {
    vec![
        ("scale", zeros(DType::Bfloat16, &[])),
        ("pixels", zeros(DType::Float32, &[2, 3])),
        ("mask", zeros(DType::Bool, &[2])),
    ]
}

fn ask(config: &ModelConfig, headers: &[(HeaderName, &str)], body: &Bytes) -> Result<Order, Problem> {
    super::read(Media::Safetensors, config, headers, "", Form::Submit, body)
}

#[test]
fn tensors_are_taken_by_name_into_declared_order_and_share_the_bodys_memory() {
    let body = file(good());
    let Payload::Tensors(set) = ask(&three(), &[], &body).unwrap().input else {
        panic!("tensors were expected")
    };
    let names: Vec<_> = set.0.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["pixels", "mask", "scale"]);
    assert_eq!(set.get("pixels").unwrap().shape, [2, 3]);
    for (_, tensor) in &set.0 {
        assert!(body.as_ptr_range().contains(&tensor.data.as_ptr()));
    }
    let one = super::one(DType::Float32, &[1]);
    let body = file(vec![("pixels", zeros(DType::Float32, &[1]))]);
    assert_eq!(super::tensor(ask(&one, &[], &body).unwrap()).shape, [1]);
}

#[test]
fn options_come_from_the_query_and_the_headers_as_with_one_tensor() {
    let body = file(good());
    let headers = [(METADATA, r#"{"k":1}"#)];
    let order = super::read(
        Media::Safetensors,
        &three(),
        &headers,
        "?priority=3",
        Form::Submit,
        &body,
    );
    let order = order.unwrap();
    assert_eq!(
        (order.options.priority, order.options.metadata.as_deref()),
        (3, Some(&br#"{"k":1}"#[..]))
    );
    let order = super::read(
        Media::Safetensors,
        &three(),
        &[],
        "?timeout=1s",
        Form::Predict,
        &body,
    );
    assert_eq!(
        order.unwrap().options.timeout,
        Some(std::time::Duration::from_secs(1))
    );
}

#[test]
fn everything_that_differs_from_the_declaration_is_told_at_once_by_name() {
    let body = file(vec![
        ("pixel", zeros(DType::Float32, &[2, 3])),
        ("scale", zeros(DType::Float32, &[1])),
        ("zebra", zeros(DType::Uint8, &[])),
        (
            "mask",
            Tensor::new(DType::Bool, vec![2], Bytes::from_static(&[1, 2])).unwrap(),
        ),
    ]);
    insta::assert_json_snapshot!(refused(ask(&three(), &[], &body)));
    let mut twice = good();
    twice.push(("mask", zeros(DType::Bool, &[2])));
    let problem = refused(ask(&three(), &[], &file(twice)));
    assert_eq!(
        (&problem["code"], &problem["detail"]),
        (
            &"invalid_input".into(),
            &"`input.mask`: is in the file twice".into()
        )
    );
    let header = r#"{"scale":{"dtype":"F8_E5M2","shape":[],"data_offsets":[0,1]}}"#;
    let length = (header.len() as u64).to_le_bytes();
    let body = [&length, header.as_bytes(), &[0]].concat().into();
    assert_eq!(
        detail(ask(&three(), &[], &body)),
        "`input.scale`: has elements of the type F8_E5M2, which no input has"
    );
}

#[test]
fn more_strangers_than_can_be_told_are_counted() {
    let names: Vec<String> = (0..100).map(|i| format!("stranger {i}")).collect();
    let tensors = names.iter().map(|name| (name.as_str(), zeros(DType::Uint8, &[])));
    let problem = refused(ask(&three(), &[], &file(tensors.collect())));
    assert_eq!(problem["errors"].as_array().unwrap().len(), 16);
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .starts_with("more than 16 fields are wrong")
    );
}

#[test]
fn a_broken_file_is_no_body() {
    for (body, says) in [
        (Bytes::from_static(b""), "it ends within its header"),
        (file(good()).slice(..60), "it ends within its header"),
        (file(good()).slice(..file(good()).len() - 1), "ends at byte"),
        (
            Bytes::from(npy::write(&zeros(DType::Uint8, &[])).unwrap()),
            "its header has",
        ),
    ] {
        let problem = refused(ask(&three(), &[], &body));
        assert_eq!(problem["code"], "malformed_body");
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.starts_with("the body is not a whole safetensors file: ") && detail.contains(says),
            "{detail}"
        );
    }
}

#[test]
fn headers_that_say_what_the_file_says_are_refused() {
    let headers = [(SHAPE, "2,3"), (DTYPE, "float32")];
    let problem = refused(ask(&three(), &headers, &file(good())));
    let fields: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| &e["field"])
        .collect();
    assert_eq!(fields, ["Cresset-Shape", "Cresset-Dtype"]);
}

#[test]
fn only_what_is_looked_at_counts_as_work() {
    let body = file(good());
    let work = |config: &ModelConfig| {
        let uri = Uri::from_static("/x");
        head(Media::Safetensors, &HeaderMap::new(), &uri, config, Form::Submit)
            .unwrap()
            .work(&body)
    };
    assert_eq!(work(&three()), body.len(), "it has bools");
    assert_eq!(
        work(&super::one(DType::Float32, &[1])),
        safetensors::head_len(&body)
    );
}
