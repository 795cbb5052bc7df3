//! The body of a submit or a prediction: `{"input": X, ...options}`, read into typed values, in one pass where it is what
//! nearly everybody sends (`at_once`); or tensors as bytes (`binary`); or files (`files`).
//!
//! The input is never built as a tree: it stays raw text until the tensor scanner reads it, or for good (object
//! models; then it is a slice of the body, without a copy). Every wrong field is reported at once.

mod at_once;
mod binary;
mod envelope;
mod fields;
mod files;
mod options;
mod retry;

use bytes::Bytes;

use axum::http::request::Parts;
use cresset_config::{ModelConfig, ModelKind};
use cresset_task::{Callback, Events, Payload, Timestamp, json};
use serde_json::value::RawValue;

use crate::app::App;
use crate::coding::Coding;
use crate::media::Media;
use crate::problem::Problem;
use crate::query;
use crate::schema::FieldError;
use crate::upload::{Held, Received, Upload};
pub(crate) use binary::metadata_of;
use options::{Options, Raw};

/// Deeper JSON is refused: it is as deep as most JSON readers go (ours for results included), and Python's own limit
/// is not much further.
const DEPTH_MAX: usize = 128;

/// Which options a body may carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `POST /v1/models/{model}/tasks`.
    Submit,
    /// `POST /v1/models/{model}/predict`.
    Predict,
}

/// A body, understood.
#[derive(Debug, PartialEq)]
pub(crate) struct Order {
    /// The input, of the kind that the model takes.
    pub(crate) input: Payload,
    /// All the rest.
    pub(crate) options: Options,
}

/// Reads the body and understands it. The second value keeps the body's bytes counted while the request lives.
pub(crate) async fn receive(
    app: &App,
    parts: &Parts,
    upload: Upload,
    config: std::sync::Arc<ModelConfig>,
    form: Form,
) -> Result<(Order, Held), Problem> {
    let (headers, uri) = (&parts.headers, &parts.uri);
    let coding = Coding::of_body(headers)?;
    if let Some(head) = files::head(headers, uri, &config, form)? {
        let Received { bytes, held } = upload.read(coding).await?;
        let order = app.codec(bytes.len(), move || head.order(&bytes)).await??;
        return Ok((order, held));
    }
    let media = Media::of_body(headers)?;
    if media == Media::Json {
        query::none_with_json(uri, form.parameters())?;
        binary::none(headers)?;
        let Received { bytes, held } = upload.read(coding).await?;
        let order = app
            .codec(bytes.len(), move || parse(&bytes, &config, form))
            .await??;
        return Ok((order, held));
    }
    let head = binary::head(media, headers, uri, &config, form)?;
    let Received { bytes, held } = upload.read(coding).await?;
    let order = app.codec(head.work(&bytes), move || head.order(&bytes)).await??;
    Ok((order, held))
}

/// As [`receive`], of a body that is here already.
pub(crate) fn of_parts(
    headers: &axum::http::HeaderMap,
    uri: &axum::http::Uri,
    body: &Bytes,
    config: &ModelConfig,
    form: Form,
) -> Result<Order, Problem> {
    if let Some(head) = files::head(headers, uri, config, form)? {
        return head.order(body);
    }
    let media = Media::of_body(headers)?;
    if media == Media::Json {
        query::none_with_json(uri, form.parameters())?;
        binary::none(headers)?;
        return parse(body, config, form);
    }
    binary::head(media, headers, uri, config, form)?.order(body)
}

/// Understands a whole body.
pub(crate) fn parse(body: &Bytes, config: &ModelConfig, form: Form) -> Result<Order, Problem> {
    match at_once::read(body, config, form) {
        Some(order) => Ok(order),
        None => parse_in_turn(body, config, form),
    }
}

/// The same for any body: first what it consists of, then each part.
fn parse_in_turn(body: &Bytes, config: &ModelConfig, form: Form) -> Result<Order, Problem> {
    let envelope = envelope::read(body, form)?;
    let mut errors = envelope.errors;
    let options = options_of(envelope.options, config, &mut errors);
    let mut wrong = |field: String, message: String| errors.push(FieldError { field, message });
    let input = match envelope.input {
        None => {
            wrong(
                "input".into(),
                "is missing; the body is {\"input\": ...} and options beside it".into(),
            );
            None
        }
        Some(raw) => input(body, raw, config)
            .map_err(|(field, message)| wrong(field, message))
            .ok(),
    };
    match input {
        Some(input) if errors.is_empty() => Ok(Order { input, options }),
        _ => Err(Problem::fields(errors)),
    }
}

/// The options, and what is wrong with them.
fn options_of(raw: Vec<(&str, &str)>, config: &ModelConfig, errors: &mut Vec<FieldError>) -> Options {
    let (mut options, now) = (Options::default(), Timestamp::now());
    for (name, raw) in raw {
        if let Err(wrong) = options.take(name, raw, config, now) {
            errors.extend(wrong);
        }
    }
    if let Err((name, message)) = options.check() {
        errors.push(FieldError {
            field: name.into(),
            message,
        });
    }
    options
}

/// What is said beside an input, each option as JSON; every mistake at once.
pub(crate) fn said_in_json(raw: Vec<(&str, &str)>, config: &ModelConfig) -> Result<Options, Problem> {
    let mut errors = Vec::new();
    let options = options_of(raw, config, &mut errors);
    match errors.is_empty() {
        true => Ok(options),
        false => Err(Problem::fields(errors)),
    }
}

/// An input that is JSON and stands alone.
pub(crate) fn input_in_json(body: &Bytes, config: &ModelConfig) -> Result<Payload, Problem> {
    let raw: &RawValue = serde_json::from_slice(body).map_err(|error| envelope::explain(body, &error))?;
    input(body, raw.get(), config)
        .map_err(|(field, message)| Problem::fields(vec![FieldError { field, message }]))
}

/// Whom an address and events name, each as JSON, if they name anybody.
pub(crate) fn callback_of(url: &str, events: Option<&str>) -> Option<Callback> {
    let url = fields::callback_url(Raw::Json(url)).ok()?;
    let events = match events {
        Some(events) => fields::callback_events(Raw::Json(events)).ok()?,
        None => Events::default(),
    };
    Some(Callback { url, events })
}

/// The input as the model takes it, or the wrong field and why.
fn input(body: &Bytes, raw: &str, config: &ModelConfig) -> Result<Payload, (String, String)> {
    match config.kind() {
        ModelKind::Tensor => json::parse_inputs(raw.as_bytes(), &config.inputs)
            .map(Payload::Tensors)
            .map_err(|error| (under_input(&error.path), error.message)),
        ModelKind::Object if is_deeper(raw, DEPTH_MAX) => Err((
            "input".into(),
            format!("is nested deeper than {DEPTH_MAX} levels"),
        )),
        // `raw` lies within `body`: the payload shares its memory.
        ModelKind::Object => Ok(Payload::Json(body.slice_ref(raw.as_bytes()))),
    }
}

/// A path below the input, from the root of the body.
fn under_input(path: &str) -> String {
    let joint = if path.is_empty() || path.starts_with('[') {
        ""
    } else {
        "."
    };
    format!("input{joint}{path}")
}

/// True when valid JSON text nests deeper than `max` arrays and objects. Needs no stack, however deep it is.
fn is_deeper(json: &str, max: usize) -> bool {
    let mut depth = 0_usize;
    let mut bytes = json.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'[' | b'{' => {
                depth += 1;
                if depth > max {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => {
                while let Some(inside) = bytes.next() {
                    match inside {
                        b'"' => break,
                        b'\\' => drop(bytes.next()),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests;
