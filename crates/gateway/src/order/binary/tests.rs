use super::*;
use crate::fixture;
use crate::problem::tests::document;
use cresset_task::{Shape, npy};
use proptest::prelude::*;
use serde_json::Value;

/// A model with one input.
fn one(dtype: DType, shape: &[i64]) -> ModelConfig {
    ModelConfig {
        inputs: vec![TensorSpec {
            name: "pixels".into(),
            dtype,
            shape: shape.to_vec(),
            allow_non_finite: false,
            pad: None,
        }],
        ..fixture::object("m")
    }
}

fn read(
    media: Media,
    config: &ModelConfig,
    headers: &[(HeaderName, &str)],
    query: &str,
    form: Form,
    body: &Bytes,
) -> Result<Order, Problem> {
    let headers = headers
        .iter()
        .map(|(name, value)| (name.clone(), value.parse().unwrap()))
        .collect();
    let uri = format!("/x{query}").parse().unwrap();
    head(media, &headers, &uri, config, form)?.order(body)
}

fn raw(config: &ModelConfig, headers: &[(HeaderName, &str)], body: &[u8]) -> Result<Order, Problem> {
    let body = Bytes::copy_from_slice(body);
    read(Media::Raw, config, headers, "", Form::Submit, &body)
}

fn file(config: &ModelConfig, headers: &[(HeaderName, &str)], tensor: &Tensor) -> Result<Order, Problem> {
    let body = npy::write(tensor).unwrap().into();
    read(Media::Npy, config, headers, "", Form::Submit, &body)
}

fn tensor(order: Order) -> Tensor {
    match order.input {
        Payload::Tensors(mut set) if set.0.len() == 1 && &*set.0[0].0 == "pixels" => set.0.remove(0).1,
        other => panic!("one tensor was expected: {other:?}"),
    }
}

fn refused(result: Result<Order, Problem>) -> Value {
    document(result.expect_err("this should be refused"))
}

fn detail(result: Result<Order, Problem>) -> String {
    refused(result)["detail"].as_str().unwrap().to_owned()
}

#[test]
fn the_tensor_shares_the_bodys_memory() {
    let config = one(DType::Float32, &[1, 8, 8]);
    let body = Bytes::from(vec![0xFF_u8; 256]); // NaN throughout
    let got = tensor(read(Media::Raw, &config, &[], "", Form::Submit, &body).unwrap());
    assert_eq!(
        (got.dtype, &got.shape, got.data.as_ptr()),
        (DType::Float32, &vec![1, 8, 8], body.as_ptr())
    );

    let body = Bytes::from(npy::write(&got).unwrap());
    let again = tensor(read(Media::Npy, &config, &[], "", Form::Submit, &body).unwrap());
    assert_eq!(again, got);
    assert!(body.as_ptr_range().contains(&again.data.as_ptr()));
}

#[test]
fn free_sizes_are_said_in_a_header() {
    let config = one(DType::Uint8, &[3, -1, -1]);
    for (said, shape) in [("3,2,1", vec![3, 2, 1]), (" 3 , 1,2 ", vec![3, 1, 2])] {
        assert_eq!(
            tensor(raw(&config, &[(SHAPE, said)], &[0; 6]).unwrap()).shape,
            shape
        );
    }
    assert_eq!(
        detail(raw(&config, &[], &[0; 6])),
        "`Cresset-Shape`: is missing; pixels is uint8 [3, -1, -1], and its free sizes (-1) must be said, such as \
         `Cresset-Shape: 3,2,2`"
    );
    for wrong in [
        "4,1,1",
        "3,1",
        "3,1,1,1",
        "3,x,1",
        "3,-1,2",
        "3,,2",
        "3,+1,2",
        "",
        "3,1,99999999999999999999999",
    ] {
        let problem = refused(raw(&config, &[(SHAPE, wrong)], &[0; 6]));
        assert_eq!(problem["code"], "invalid_input", "{wrong}");
        assert_eq!(problem["errors"][0]["field"], "Cresset-Shape", "{wrong}");
    }
    let mut headers = HeaderMap::new();
    for _ in 0..2 {
        headers.append(SHAPE, "3,2,1".parse().unwrap());
    }
    let uri = Uri::from_static("/x");
    assert!(head(Media::Raw, &headers, &uri, &config, Form::Submit).is_err());
    let scalar = one(DType::Int16, &[]);
    assert_eq!(
        tensor(raw(&scalar, &[(SHAPE, "")], &[1, 0]).unwrap()).shape,
        [0_usize; 0]
    );
}

#[test]
fn a_body_of_another_length_is_told_what_it_should_be() {
    let config = one(DType::Float32, &[1, 8, 8]);
    assert_eq!(
        detail(raw(&config, &[], &[0; 255])),
        "`input`: pixels is float32 [1, 8, 8]: 256 bytes, got 255"
    );
    let free = one(DType::Float64, &[-1, -1]);
    let huge = detail(raw(&free, &[(SHAPE, "9999999999,9999999999")], &[]));
    assert!(huge.ends_with("more bytes than can be, got 0"), "{huge}");
}

#[test]
fn files_must_be_what_is_declared_and_said() {
    let config = one(DType::Float32, &[2, -1]);
    let of = |dtype: DType, shape: Shape| {
        let size = dtype.size() * shape.iter().product::<usize>();
        Tensor::new(dtype, shape, vec![0; size].into()).unwrap()
    };
    let good = of(DType::Float32, vec![2, 3]);
    assert!(file(&config, &[(SHAPE, "2,3"), (DTYPE, "float32")], &good).is_ok());
    assert_eq!(
        detail(file(&config, &[(SHAPE, "2,4")], &good)),
        "`input`: the .npy file is float32 [2, 3], but `Cresset-Shape` says [2, 4]"
    );
    assert_eq!(
        detail(file(&config, &[], &of(DType::Float64, vec![2, 3]))),
        "`input`: the .npy file is float64 [2, 3]; pixels is float32 [2, -1]"
    );
    assert!(file(&config, &[], &of(DType::Float32, vec![3, 2])).is_err());
    assert_eq!(
        detail(raw(&config, &[(SHAPE, "2,1"), (DTYPE, "float64")], &[0; 8])),
        "`Cresset-Dtype`: is `float64`; pixels is float32 [2, -1]"
    );
    let garbage = Bytes::from_static(b"garbage");
    let problem = refused(read(Media::Npy, &config, &[], "", Form::Submit, &garbage));
    assert_eq!(problem["code"], "malformed_body");
}

#[test]
fn a_bool_is_0_or_1() {
    let config = one(DType::Bool, &[3]);
    assert!(raw(&config, &[], &[0, 1, 1]).is_ok());
    assert_eq!(
        detail(raw(&config, &[], &[0, 1, 2])),
        "`input`: is 2 at element 2; a bool is the byte 0 or 1"
    );
}

#[test]
fn options_come_from_the_query_and_the_headers() {
    let config = one(DType::Uint8, &[1]);
    let body = Bytes::from_static(&[1]);
    let ask = |headers: &[(HeaderName, &str)], query: &str, form| {
        read(Media::Raw, &config, headers, query, form, &body)
    };
    let order = ask(&[(METADATA, r#"{"k" : [1]}"#)], "?priority=-7", Form::Submit).unwrap();
    assert_eq!(
        (order.options.priority, order.options.metadata.as_deref()),
        (-7, Some(&br#"{"k" : [1]}"#[..]))
    );
    let order = ask(&[], "?timeout=500ms", Form::Predict).unwrap();
    assert_eq!(order.options.timeout, Some(std::time::Duration::from_millis(500)));
    for (query, form, says) in [
        ("?priority=101", Form::Submit, "`priority` must be a whole number"),
        (
            "?priority=1&priority=1",
            Form::Submit,
            "`priority` is given twice",
        ),
        ("?timeout=2s", Form::Submit, "no parameter `timeout`"),
        ("?prio=1", Form::Submit, "no parameter `prio`"),
        ("?timeot=1", Form::Predict, "did you mean `timeout`?"),
        ("?timeout=0", Form::Predict, "`timeout` must be a duration"),
        ("?timeout=1h", Form::Predict, "this model answers within 20s"),
    ] {
        let problem = refused(ask(&[], query, form));
        assert_eq!(problem["code"], "bad_query", "{query}");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(says), "{detail}");
    }
    for (metadata, form) in [
        ("{\"k\":", Form::Submit),
        ("[1]", Form::Submit),
        ("{}", Form::Predict),
    ] {
        let problem = refused(ask(&[(METADATA, metadata)], "", form));
        assert_eq!(problem["errors"][0]["field"], "Cresset-Metadata", "{metadata}");
    }
}

#[test]
fn models_that_do_not_take_one_tensor_say_what_they_take() {
    for (config, says) in [
        (fixture::object("m"), "model `m` takes any JSON"),
        (
            fixture::tensors("m"),
            "model `m` takes 2 tensors, and such a body is one: send `Content-Type: application/x-safetensors`",
        ),
    ] {
        let problem = refused(raw(&config, &[], &[]));
        assert_eq!(problem["code"], "unsupported_media_type");
        let detail = problem["detail"].as_str().unwrap();
        assert!(
            detail.contains(says) && detail.ends_with("`application/json`"),
            "{detail}"
        );
    }
}

proptest! {
    #[test]
    fn foreign_requests_never_panic(
        body in proptest::collection::vec(any::<u8>(), 0..64),
        said in "[0-9, x]{0,12}",
        metadata in "[ -~]{0,20}",
        media in proptest::sample::select(vec![Media::Raw, Media::Npy, Media::Safetensors]),
    ) {
        for config in [one(DType::Float32, &[-1, 2]), one(DType::Bool, &[])] {
            let headers = [(SHAPE, said.as_str()), (METADATA, metadata.as_str())];
            match read(media, &config, &headers, "", Form::Submit, &Bytes::from(body.clone())) {
                Ok(order) => { tensor(order); }
                Err(problem) => { document(problem); }
            }
        }
    }
}

mod named;
