//! A result as the bytes of one tensor, for callers whose `Accept` asks for that.
//!
//! Refused, never turned into something else: a caller that reads bytes must not be given JSON unless it accepts both.

use axum::http::{HeaderValue, StatusCode};
use bytes::Bytes;
use cresset_config::{ModelConfig, ModelKind};
use cresset_task::{Code, DType, ModelName, Payload, Tensor, npy};

use crate::app::App;
use crate::media::{Accepted, DTYPE, MODEL, Media, SHAPE, VERSION, sizes};
use crate::problem::{Answer, Problem};
use crate::router::typed;

/// Who made a result.
pub(crate) struct Maker<'a> {
    /// The model.
    pub(crate) model: &'a ModelName,
    /// Its version.
    pub(crate) version: &'a str,
}

/// The form of the answer, and the tensor when that form is bytes.
pub(crate) fn choose<'p>(
    accepted: &Accepted,
    result: &'p Payload,
) -> Result<Option<(Media, &'p Tensor)>, Problem> {
    let only = match result {
        Payload::Tensors(set) => match set.0.as_slice() {
            [(_, tensor)] => Some(tensor),
            _ => None,
        },
        Payload::Json(_) => None,
    };
    let media = accepted.first(|media| match only {
        Some(tensor) => fits(media, tensor.dtype),
        None => media == Media::Json,
    });
    match (media, only) {
        (Some(Media::Json), _) => Ok(None),
        (Some(media), Some(tensor)) => Ok(Some((media, tensor))),
        _ => {
            let why = match (result, only) {
                (_, Some(tensor)) => no_form(tensor.dtype),
                (Payload::Json(_), None) => "the result is JSON".into(),
                (Payload::Tensors(set), None) => {
                    format!(
                        "the result has {} tensors, and such an answer is one",
                        set.0.len()
                    )
                }
            };
            Err(refused(accepted, &why))
        }
    }
}

/// Refuses what the declaration already rules out, before the model runs for nothing.
pub(crate) fn check(accepted: &Accepted, config: &ModelConfig) -> Result<(), Problem> {
    if accepted.first(|media| media == Media::Json).is_some() {
        return Ok(());
    }
    let why = match (config.kind(), config.outputs.as_slice()) {
        (ModelKind::Object, _) => format!("model `{}` answers JSON", config.name),
        // Without a declaration only the result can tell.
        (ModelKind::Tensor, []) => return Ok(()),
        (ModelKind::Tensor, [only]) if accepted.first(|media| fits(media, only.dtype)).is_some() => {
            return Ok(());
        }
        (ModelKind::Tensor, [only]) => no_form(only.dtype),
        (ModelKind::Tensor, several) => format!(
            "model `{}` gives {} tensors, and such an answer is one",
            config.name,
            several.len()
        ),
    };
    Err(refused(accepted, &why))
}

/// The answer: the tensor's bytes as they are, or its file.
pub(crate) async fn answer(app: &App, media: Media, tensor: &Tensor, maker: Maker<'_>) -> Answer {
    let body = match media {
        Media::Npy => {
            let tensor = tensor.clone(); // shares its bytes
            let weight = tensor.data.len();
            let file = app.codec(weight, move || npy::write(&tensor)).await?;
            Bytes::from(file.map_err(|error| Problem::new(Code::NotAcceptable, error.to_string()))?)
        }
        Media::Raw | Media::Json => tensor.data.clone(),
    };
    let mut response = typed(StatusCode::OK, media.header(), body);
    let shape = sizes(&tensor.shape);
    for (name, value) in [
        (SHAPE, shape.as_str()),
        (DTYPE, tensor.dtype.name()),
        (MODEL, maker.model.as_str()),
        (VERSION, maker.version),
    ] {
        response.headers_mut().insert(name, header(value));
    }
    Ok(response)
}

/// Text as a header. A version may be any line of text: what no header can carry becomes `?`.
fn header(text: &str) -> HeaderValue {
    HeaderValue::from_bytes(text.as_bytes()).unwrap_or_else(|_| {
        let plain: String = text
            .chars()
            .map(|c| if c.is_control() { '?' } else { c })
            .collect();
        HeaderValue::from_bytes(plain.as_bytes()).expect("text without control characters is a header value")
    })
}

/// True when an element type has this form.
fn fits(media: Media, dtype: DType) -> bool {
    media != Media::Npy || npy::has_form(dtype)
}

fn no_form(dtype: DType) -> String {
    format!("{}; `{}` has it", npy::NoNpyForm(dtype), Media::Raw.name())
}

fn refused(accepted: &Accepted, why: &str) -> Problem {
    let best = accepted.best().name();
    Problem::new(
        Code::NotAcceptable,
        format!("`Accept` asks for `{best}`, but {why}; `application/json` is always to be had"),
    )
}
