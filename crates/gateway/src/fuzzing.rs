//! Requests as strangers write them, held to what the readers promise: for fuzz/targets. Not compiled into a server.
//!
//! The bytes are: a letter for the model and the route, a line with the target, lines of headers, an empty line, the body. Heads
//! are split by hyper in the server; here by lines, for it is our reading of them that is looked at.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, Uri};
use bytes::Bytes;
use cresset_config::{Folder, ModelConfig, parse_model};
use cresset_task::{ClientKey, Payload};

use crate::media::Accepted;
use crate::order::{self, Form};
use crate::problem::Problem;
use crate::request_id::RequestId;
use crate::{cache_control, duration, events, idempotency, prefer, query, task_json};

const WAIT_MAX: Duration = Duration::from_secs(300);

/// Models of each kind: any JSON; one input with a free size, which is padded; two inputs.
static MODELS: LazyLock<Vec<ModelConfig>> = LazyLock::new(|| {
    let one = "[[inputs]]\nname = \"x\"\ndtype = \"float32\"\nshape = [-1, 2]\npad = 0\n";
    let two = "[[inputs]]\nname = \"a\"\ndtype = \"int64\"\nshape = [2]\n[[inputs]]\nname = \"b\"\ndtype = \"uint8\"\nshape = []\n";
    let out = "[[outputs]]\nname = \"y\"\ndtype = \"float32\"\nshape = [1]\n";
    let texts = [String::new(), format!("{one}{out}"), format!("{two}{out}")];
    let model = |text: &String| {
        parse_model("model.toml", Some(&format!("name = \"m\"\n{text}")), &AnyFile).expect("it is valid")
    };
    texts.iter().map(model).collect()
});

/// A folder that has every file.
struct AnyFile;

impl Folder for AnyFile {
    fn dir(&self) -> &Path {
        static DIR: LazyLock<PathBuf> = LazyLock::new(|| PathBuf::from("/models/m"));
        &DIR
    }

    fn is_file(&self, _path: &Path) -> bool {
        true
    }
}

/// A request with a body.
pub fn request(data: &[u8]) {
    let Some((choice, rest)) = data.split_first() else {
        return;
    };
    let Some((uri, headers, body)) = split(rest) else {
        return;
    };
    let model = &MODELS[usize::from(*choice) % MODELS.len()];
    let form = if choice.is_ascii_uppercase() {
        Form::Submit
    } else {
        Form::Predict
    };
    match order::of_parts(&headers, &uri, &body, model, form) {
        Err(problem) => is_told(&problem),
        Ok(order) => {
            // Whatever is taken in can be stored, found again, and shown.
            let (kind, stored) = (order.input.kind(), order.input.encode());
            assert_eq!(Payload::decode(kind, &stored).as_ref(), Ok(&order.input));
            let mut shown = Vec::new();
            task_json::write_payload(&order.input, &mut shown);
            is_json(&shown);
            order
                .options
                .metadata
                .iter()
                .for_each(|metadata| is_json(metadata));
            assert!((-100..=100).contains(&order.options.priority));
        }
    }
    head(&uri, &headers);
}

/// What is read of a head whatever the body is.
fn head(uri: &Uri, headers: &HeaderMap) {
    match query::wait(uri, WAIT_MAX) {
        Ok(wait) => assert!(wait.is_none_or(|wait| wait <= WAIT_MAX)),
        Err(problem) => is_told(&problem),
    }
    // Between the signs there is nothing: no parameter.
    let is_bare = uri
        .query()
        .is_none_or(|query| query.bytes().all(|byte| byte == b'&'));
    query::none(uri).iter().for_each(|()| assert!(is_bare));
    let preference = prefer::Preference::of(headers, WAIT_MAX);
    assert!(preference.wait.is_none_or(|wait| wait <= WAIT_MAX));
    assert_eq!(preference.takes_a_task(), preference.applied(true).is_some());
    events::last_seen(headers).err().iter().for_each(is_told);
    cache_control::wanted(headers).err().iter().for_each(is_told);
    match idempotency::key(headers) {
        Err(problem) => is_told(&problem),
        Ok(None) => {}
        // A key is the same key when it is sent in quotes.
        Ok(Some(key)) => {
            let text = key.as_str();
            let quoted = format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
            let value = HeaderValue::from_str(&quoted).expect("a key is visible ASCII");
            let again = HeaderMap::from_iter([(idempotency::IDEMPOTENCY_KEY, value)]);
            assert!(idempotency::key(&again).is_ok_and(|again| again == Some(key.clone())));
        }
    }
    assert!(Accepted::of(headers).in_order().next().is_some());
    assert!(!RequestId::of(headers).as_str().is_empty());
    for value in headers.values().filter_map(|value| value.to_str().ok()) {
        if let Ok(client) = ClientKey::named(value) {
            assert_eq!(client.as_str().parse().as_ref(), Ok(&client));
        }
    }
}

/// Durations, here and in the settings: none is read that cannot be, and what is shown reads as what it was.
pub fn durations(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Some(read) = duration::parse(text) {
        let whole = Duration::from_millis(
            u64::try_from(read.as_millis())
                .unwrap_or(u64::MAX / 8)
                .min(u64::MAX / 8),
        );
        let again = duration::parse(&duration::show(whole)).expect("what is shown can be read");
        // A number of seconds is a float's: beyond 2^53 thousandths it is not exact.
        assert!(
            whole.as_millis() > 1 << 53 || again.abs_diff(whole) < Duration::from_millis(1),
            "{text}"
        );
    }
    if let Some(read) = cresset_config::parse_duration(text) {
        assert!(text.chars().any(char::is_numeric), "{text} is {read:?}");
    }
}

/// Target, headers and body. `None` when a server would not have come so far.
fn split(data: &[u8]) -> Option<(Uri, HeaderMap, Bytes)> {
    let (first, mut rest) = line(data)?;
    let uri = first.try_into().ok()?;
    let mut headers = HeaderMap::new();
    loop {
        let (one, below) = line(rest)?;
        rest = below;
        if one.is_empty() {
            return Some((uri, headers, Bytes::copy_from_slice(rest)));
        }
        let colon = one.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&one[..colon]).ok()?;
        headers.append(name, HeaderValue::from_bytes(one[colon + 1..].trim_ascii()).ok()?);
    }
}

fn line(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = data.iter().position(|byte| *byte == b'\n')?;
    Some((&data[..end], &data[end + 1..]))
}

/// A refusal is a whole answer with a problem document, and the caller's fault.
fn is_told(problem: &Problem) {
    let answer = problem.whole_answer();
    assert!(
        answer.starts_with(b"HTTP/1.1 4"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    let end = answer
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .expect("a head has an end");
    is_json(&answer[end + 4..]);
}

fn is_json(text: &[u8]) {
    let shown = String::from_utf8_lossy(text);
    assert!(
        serde_json::from_slice::<serde::de::IgnoredAny>(text).is_ok(),
        "{shown}"
    );
}
