//! A body that is one tensor and nothing else; what a JSON body says beside its input is in the query and the headers.
//!
//! The tensor's bytes are the body's, never copied. NaN and infinity are let through: they are numbers to a model, and
//! only JSON lacks them.

use std::sync::Arc;

use axum::http::{HeaderMap, HeaderName, Uri};
use bytes::Bytes;
use cresset_config::{ModelConfig, ModelKind};
use cresset_task::tensor::RANK_MAX;
use cresset_task::{Code, DType, Payload, Shape, Tensor, TensorSet, TensorSpec, npy};
use serde_json::value::RawValue;

use super::{Form, Order, fields};
use crate::media::{DTYPE, METADATA, Media, SHAPE, sizes};
use crate::problem::Problem;
use crate::query::{self, cut};
use crate::schema::FieldError;

/// The name of the body in messages, as in JSON bodies.
const INPUT: &str = "input";

/// Everything about a binary request that is known before its body.
pub(super) struct Head {
    media: Media,
    spec: TensorSpec,
    /// As `Cresset-Shape` says.
    shape: Option<Shape>,
    /// All but the input.
    options: Options,
}

/// What stands beside the input.
#[derive(Default)]
struct Options {
    priority: i8,
    metadata: Option<Bytes>,
    timeout: Option<std::time::Duration>,
}

/// Reads all that is known before the body.
pub(super) fn head(
    media: Media,
    headers: &HeaderMap,
    uri: &Uri,
    config: &ModelConfig,
    form: Form,
) -> Result<Head, Problem> {
    let spec = only_input(media, config)?;
    let mut options = from_query(uri, config, form)?;
    let mut errors = Vec::new();
    let mut wrong = |field: &HeaderName, message: String| errors.push(error(title(field), message));
    match single(headers, &METADATA).and_then(|text| text.map(metadata).transpose()) {
        Ok(Some(_)) if form == Form::Predict => {
            wrong(&METADATA, "is kept with tasks; a prediction has none".into());
        }
        Ok(metadata) => options.metadata = metadata,
        Err(message) => wrong(&METADATA, message),
    }
    let shape = single(headers, &SHAPE)
        .and_then(|text| text.map(|t| shape(t, spec)).transpose())
        .unwrap_or_else(|message| {
            wrong(&SHAPE, message);
            None
        });
    match single(headers, &DTYPE) {
        Ok(Some(name)) if name != spec.dtype.name().as_bytes() => {
            let name = cut(&String::from_utf8_lossy(name));
            wrong(&DTYPE, format!("is `{name}`; {}", declared(spec)));
        }
        Ok(_) => {}
        Err(message) => wrong(&DTYPE, message),
    }
    if !errors.is_empty() {
        return Err(Problem::fields(errors));
    }
    Ok(Head {
        media,
        spec: spec.clone(),
        shape,
        options,
    })
}

/// Refuses the headers of binary bodies beside a JSON body: they would be passed over without a word.
pub(super) fn none(headers: &HeaderMap) -> Result<(), Problem> {
    for (name, instead) in [
        (&METADATA, "`metadata` beside `input`"),
        (&SHAPE, "its shape in its brackets"),
    ] {
        if headers.contains_key(name) {
            let message = format!("goes with binary bodies; a JSON body has {instead}");
            return Err(Problem::fields(vec![error(title(name), message)]));
        }
    }
    Ok(())
}

impl Head {
    /// How many of `bytes` bytes the body's reading looks at: bools are checked, everything else is taken as it is.
    pub(super) const fn work(&self, bytes: usize) -> usize {
        match self.spec.dtype {
            DType::Bool => bytes,
            _ => 0,
        }
    }

    /// The whole request, now that its body is here.
    pub(super) fn order(self, body: &Bytes) -> Result<Order, Problem> {
        let tensor = match self.media {
            Media::Npy => self.file(body)?,
            Media::Raw | Media::Json => self.raw(body)?,
        };
        if tensor.dtype == DType::Bool
            && let Some(at) = tensor.data.iter().position(|byte| *byte > 1)
        {
            let message = format!(
                "is {} at element {at}; a bool is the byte 0 or 1",
                tensor.data[at]
            );
            return Err(input(message));
        }
        let name: Arc<str> = self.spec.name;
        let Options {
            priority,
            metadata,
            timeout,
        } = self.options;
        Ok(Order {
            input: Payload::Tensors(TensorSet(vec![(name, tensor)])),
            priority,
            metadata,
            timeout,
        })
    }

    /// The elements alone.
    fn raw(&self, body: &Bytes) -> Result<Tensor, Problem> {
        let spec = &self.spec;
        let fixed = || {
            spec.shape
                .iter()
                .map(|size| usize::try_from(*size).ok())
                .collect()
        };
        let Some(shape) = self.shape.clone().or_else(fixed) else {
            let example: Vec<_> = spec.shape.iter().map(|n| if *n < 0 { 2 } else { *n }).collect();
            let message = format!(
                "is missing; {}, and its free sizes (-1) must be said, such as `{}: {}`",
                declared(spec),
                title(&SHAPE),
                sizes(&example),
            );
            return Err(Problem::fields(vec![error(title(&SHAPE), message)]));
        };
        let told = format!("{} is {} {shape:?}", spec.name, spec.dtype);
        let want = shape.iter().try_fold(spec.dtype.size(), |n, d| n.checked_mul(*d));
        Tensor::new(spec.dtype, shape, body.clone()).map_err(|_| {
            let want = want.map_or_else(|| "more bytes than can be".into(), |n| format!("{n} bytes"));
            input(format!("{told}: {want}, got {}", body.len()))
        })
    }

    /// NumPy's file.
    fn file(&self, body: &Bytes) -> Result<Tensor, Problem> {
        let (dtype, shape, data) = npy::parse(body).map_err(|error| {
            if error.is_sound() {
                input(format!("the .npy file cannot be taken: {error}"))
            } else {
                Problem::new(
                    Code::MalformedBody,
                    format!("the body is not a whole .npy file: {error}"),
                )
            }
        })?;
        let spec = &self.spec;
        if dtype != spec.dtype || !spec.admits(&shape) {
            return Err(input(format!(
                "the .npy file is {dtype} {shape:?}; {}",
                declared(spec)
            )));
        }
        if let Some(said) = &self.shape
            && *said != shape
        {
            return Err(input(format!(
                "the .npy file is {dtype} {shape:?}, but `{}` says {said:?}",
                title(&SHAPE)
            )));
        }
        Tensor::new(dtype, shape, data).map_err(|error| input(error.to_string()))
    }
}

/// The one input that a binary body is.
fn only_input(media: Media, config: &ModelConfig) -> Result<&TensorSpec, Problem> {
    let takes = match (config.kind(), config.inputs.as_slice()) {
        (ModelKind::Tensor, [only]) => return Ok(only),
        (ModelKind::Object, _) => "takes any JSON".to_owned(),
        (ModelKind::Tensor, several) => format!("takes {} tensors, and such a body is one", several.len()),
    };
    Err(Problem::new(
        Code::UnsupportedMediaType,
        format!(
            "the Content-Type is `{}`; model `{}` {takes}: send `Content-Type: application/json`",
            media.name(),
            config.name
        ),
    ))
}

fn from_query(uri: &Uri, config: &ModelConfig, form: Form) -> Result<Options, Problem> {
    let mut options = Options::default();
    for (name, value) in query::options(uri, form.parameters())? {
        let bad = |message: String| query::bad(format!("`{name}` {message}"));
        match &*name {
            "priority" => options.priority = fields::priority(&value).map_err(bad)?,
            _ => {
                let longest = config.limits.predict_timeout;
                options.timeout = Some(fields::timeout_text(&value, longest).map_err(bad)?);
            }
        }
    }
    Ok(options)
}

/// The value of a header that may be given once.
fn single<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h [u8]>, String> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    match values.next() {
        Some(_) => Err("is given twice".into()),
        None => Ok(first.map(|value| value.as_bytes())),
    }
}

fn metadata(text: &[u8]) -> Result<Bytes, String> {
    let raw: &RawValue = serde_json::from_slice(text)
        .map_err(|error| format!("must be a JSON object in UTF-8, and is not JSON: {error}"))?;
    fields::metadata(raw.get())
}

/// `3,64,64`, or nothing for a scalar; it must be a shape that the declaration admits.
fn shape(text: &[u8], spec: &TensorSpec) -> Result<Shape, String> {
    let wrong = |why: &str| {
        let text = cut(&String::from_utf8_lossy(text));
        format!("is `{text}`{why}; {}", declared(spec))
    };
    let digits = |size: &str| {
        size.bytes()
            .all(|b| b.is_ascii_digit())
            .then(|| size.parse().ok())?
    };
    let read = std::str::from_utf8(text).ok().and_then(|text| match text.trim() {
        "" => Some(Shape::new()),
        text => text
            .split(',')
            .take(RANK_MAX + 1)
            .map(|size| digits(size.trim()))
            .collect(),
    });
    let shape: Shape =
        read.ok_or_else(|| wrong(", which is not sizes with commas between them, such as `3,64,64`"))?;
    if spec.admits(&shape) {
        Ok(shape)
    } else {
        Err(wrong(""))
    }
}

/// `pixels is float32 [1, 8, 8]`.
fn declared(spec: &TensorSpec) -> String {
    format!("{} is {} {:?}", spec.name, spec.dtype, spec.shape)
}

/// A header's name as people write it.
fn title(name: &HeaderName) -> &'static str {
    match name {
        name if *name == SHAPE => "Cresset-Shape",
        name if *name == DTYPE => "Cresset-Dtype",
        _ => "Cresset-Metadata",
    }
}

fn input(message: String) -> Problem {
    Problem::fields(vec![error(INPUT, message)])
}

fn error(field: &str, message: String) -> FieldError {
    FieldError {
        field: field.into(),
        message,
    }
}

#[cfg(test)]
mod tests;
