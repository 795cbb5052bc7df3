use cresset_config::ModelConfig;
use serde_json::{Value, json};

use super::*;
use crate::fixture;

fn files_model() -> ModelConfig {
    ModelConfig {
        files: Files::as_bytes(),
        ..fixture::object("resize")
    }
}

fn read_as(content_type: &str, query: &str, body: &[u8], config: &ModelConfig) -> Result<Value, String> {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, content_type.parse().unwrap());
    let uri: Uri = format!("/v1/models/resize/tasks{query}").parse().unwrap();
    let told = |problem: Problem| String::from_utf8(problem.whole_answer()).unwrap();
    let head = head(&headers, &uri, config, Form::Submit).map_err(told)?;
    let head = head.ok_or("not for us")?;
    let order = head.order(&Bytes::copy_from_slice(body)).map_err(told)?;
    match order.input {
        Payload::Json(text) => Ok(serde_json::from_slice(&text).unwrap()),
        Payload::Tensors(_) => panic!("a file became tensors"),
    }
}

fn read(content_type: &str, body: &[u8]) -> Result<Value, String> {
    read_as(content_type, "", body, &files_model())
}

/// A form whose boundary is `b`, of parts with their heads.
fn form_of(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (head, data) in parts {
        body.extend_from_slice(format!("--b\r\nContent-Disposition: form-data; {head}\r\n\r\n").as_bytes());
        body.extend_from_slice(data);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--b--\r\n");
    body
}

fn read_form(parts: &[(&str, &[u8])]) -> Result<Value, String> {
    read("multipart/form-data; boundary=b", &form_of(parts))
}

#[test]
fn a_body_of_any_type_is_a_file() {
    for (content_type, body, data) in [
        ("image/png", &b"\x89PNG\0"[..], "iVBORwA="),
        ("application/octet-stream", b"", ""),
        ("text/plain; charset=latin1", b"\xe4", "5A=="),
        ("application/x-npy", b"abc", "YWJj"),
    ] {
        let file = json!({"content_type": content_type, "filename": null, "data": data});
        assert_eq!(read(content_type, body), Ok(json!({"$file": file})));
    }
}

#[test]
fn a_form_is_an_object_of_its_parts() {
    let read = read_form(&[
        ("name=\"width\"", b"64"),
        (
            "name=\"say \\\"x\\\"\"\r\nContent-Type: application/json",
            b"{\"a\": [1]}",
        ),
        (
            "name=\"image\"; filename=\"a b.png\"\r\nContent-Type: image/png",
            b"\x89PNG",
        ),
        ("name=\"plain\"; filename=\"\"", b"--b"),
    ])
    .unwrap();
    assert_eq!(read["width"], "64");
    let image = json!({"content_type": "image/png", "filename": "a b.png", "data": "iVBORw=="});
    assert_eq!(read["image"], json!({"$file": image}));
    assert_eq!(read["plain"]["$file"]["content_type"], ANY_TYPE);
    assert_eq!(read.as_object().unwrap().len(), 4);
}

#[test]
fn json_and_models_that_take_no_files_are_for_others() {
    for json in [
        "application/json",
        "application/json; charset=latin1",
        "application/ld+json",
    ] {
        assert_eq!(read(json, b"{}"), Err("not for us".into()));
    }
    assert_eq!(
        read_as("image/png", "", b"", &fixture::object("resize")),
        Err("not for us".into())
    );
}

#[test]
fn what_is_wrong_is_named() {
    let long = "x".repeat(TYPE_MAX);
    for (content_type, words) in [
        ("png", "which is no media type"),
        ("image/", "which is no media type"),
        (&*format!("image/{long}"), "which is no media type"),
        ("multipart/form-data", "which has no boundary"),
    ] {
        let told = read(content_type, b"").unwrap_err();
        assert!(told.contains(words) && told.contains("415"), "{told}");
    }
    let long_name = format!("name=\"{}\"", "x".repeat(NAME_MAX + 1));
    let long_filename = format!("name=\"a\"; filename=\"{}\"", "x".repeat(FILENAME_MAX + 1));
    let deep = "[".repeat(DEPTH_MAX) + &"]".repeat(DEPTH_MAX);
    let of_json = "name=\"a\"\r\nContent-Type: application/json";
    for (parts, words) in [
        (
            &[("name=\"a\"", &b"1"[..]), ("name=\"a\"", b"2")][..],
            "is given twice",
        ),
        (&[("filename=\"a\"", b"1")], "part 1 of the form must have a name"),
        (&[(&*long_name, b"1")], "must have a name of 1 to 128 bytes"),
        (&[(&*long_filename, b"1")], "has a filename of 256 bytes"),
        (&[("name=\"a\"", &*vec![b'x'; TEXT_MAX + 1])], "send it as a file"),
        (&[("name=\"a\"", b"\xff")], "is not UTF-8 at byte 0"),
        (&[(of_json, b"{")], "is not JSON"),
        (&[(of_json, deep.as_bytes())], "is nested deeper than 127 levels"),
        (
            &[("name=\"a\"\r\nContent-Type: image/png", b"1")],
            "has no filename",
        ),
    ] {
        let told = read_form(parts).unwrap_err();
        assert!(told.contains(words), "{told}");
    }
    let names: Vec<String> = (0..=PARTS_MAX).map(|i| format!("name=\"{i}\"")).collect();
    let many: Vec<(&str, &[u8])> = names.iter().map(|name| (&**name, &b""[..])).collect();
    assert!(read_form(&many).unwrap_err().contains("has more than 64 parts"));
    assert!(read_form(&many[1..]).is_ok());
    let cut = &form_of(&[("name=\"a\"", b"1")])[..40];
    let told = read("multipart/form-data; boundary=b", cut).unwrap_err();
    assert!(
        told.contains("cannot be read at its part 1") && told.contains("400"),
        "{told}"
    );
}

#[test]
fn types_that_the_model_does_not_name_are_refused() {
    let mut config = files_model();
    config.files.types = ["image/*", "application/pdf"]
        .map(|text| text.parse().unwrap())
        .into();
    let read = |content_type: &str, body: &[u8]| read_as(content_type, "", body, &config);
    assert!(read("Image/PNG; q=1", b"").is_ok());
    assert_eq!(read("application/json", b"{}"), Err("not for us".into()));
    let told = read("text/plain; charset=utf-8", b"").unwrap_err();
    let words =
        "and `resize` takes files of `image/*`, `application/pdf` (`content_types` of its model.toml)";
    assert!(told.contains(words) && told.contains("415"), "{told}");
    let form = |head: &str| read("multipart/form-data; boundary=b", &form_of(&[(head, b"1")]));
    assert!(form("name=\"a\"; filename=\"a\"\r\nContent-Type: application/pdf").is_ok());
    assert!(form("name=\"a\"").is_ok());
    let told = form("name=\"a\"; filename=\"a\"").unwrap_err();
    let words = "`input.a` is `application/octet-stream`, and the model takes files of `image/*`";
    assert!(told.contains(words) && told.contains("415"), "{told}");
}

#[test]
fn options_are_in_the_query_as_with_tensors() {
    assert!(read_as("image/png", "?priority=5", b"", &files_model()).is_ok());
    let told = read_as("image/png", "?priority=500", b"", &files_model()).unwrap_err();
    assert!(told.contains("`priority`"), "{told}");
}
