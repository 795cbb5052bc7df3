//! A body that is tensors and nothing else; what a JSON body says beside its input is in the query and the headers.
//!
//! The tensors' bytes are the body's, never copied. NaN and infinity are let through: they are numbers to a model, and
//! only JSON lacks them.

mod named;
mod one;

use axum::http::{HeaderMap, HeaderName, Uri};
use bytes::Bytes;
use cresset_config::{ModelConfig, ModelKind};
use cresset_task::{Code, DType, Payload, Tensor, TensorSet, TensorSpec, Timestamp};
use serde_json::value::RawValue;

use super::options::{Options, Raw};
use super::{Form, Order, fields, retry};
use crate::media::{DTYPE, METADATA, Media, RETRY, SHAPE};
use crate::problem::Problem;
use crate::query;
use crate::schema::FieldError;
use named::Named;
use one::One;

/// The name of the body in messages, as in JSON bodies.
const INPUT: &str = "input";

/// Everything about a binary request that is known before its body.
pub(super) struct Head {
    content: Content,
    /// All but the input.
    options: Options,
}

/// What the body will be.
enum Content {
    One(One),
    Named(Named),
}

/// Reads all that is known before the body.
pub(super) fn head(
    media: Media,
    headers: &HeaderMap,
    uri: &Uri,
    config: &ModelConfig,
    form: Form,
) -> Result<Head, Problem> {
    let specs = inputs(media, config)?;
    let mut errors = Vec::new();
    let options = said(headers, uri, config, form, &mut errors)?;
    let content = match (media, specs) {
        (Media::Safetensors, specs) => Content::Named(Named::new(specs, headers, &mut errors)),
        (media, [spec, ..]) => Content::One(One::new(media, spec, headers, &mut errors)),
        (_, []) => unreachable!("a tensor model has inputs"),
    };
    if errors.is_empty() {
        Ok(Head { content, options })
    } else {
        Err(Problem::fields(errors))
    }
}

/// What a request whose body is nothing but its input says of the rest, in its query and headers.
pub(super) fn options(
    headers: &HeaderMap,
    uri: &Uri,
    config: &ModelConfig,
    form: Form,
) -> Result<Options, Problem> {
    let mut errors = Vec::new();
    let options = said(headers, uri, config, form, &mut errors)?;
    if errors.is_empty() {
        Ok(options)
    } else {
        Err(Problem::fields(errors))
    }
}

fn said(
    headers: &HeaderMap,
    uri: &Uri,
    config: &ModelConfig,
    form: Form,
    errors: &mut Vec<FieldError>,
) -> Result<Options, Problem> {
    let mut options = from_query(uri, config, form)?;
    match single(headers, &METADATA).and_then(|text| text.map(metadata).transpose()) {
        Ok(Some(_)) if form == Form::Predict => {
            let message = "is kept with tasks; a prediction has none";
            errors.push(error(title(&METADATA), message.into()));
        }
        Ok(metadata) => options.metadata = metadata,
        Err(message) => errors.push(error(title(&METADATA), message)),
    }
    if let Err(wrong) = retry_from(headers, config, form, &mut options) {
        errors.extend(wrong);
    }
    Ok(options)
}

/// Refuses the headers of binary bodies beside a JSON body: they would be passed over without a word.
pub(super) fn none(headers: &HeaderMap) -> Result<(), Problem> {
    for (name, instead) in [
        (&METADATA, "`metadata` beside `input`"),
        (&RETRY, "`retry` beside `input`"),
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
    /// How many of the body's bytes its reading looks at.
    pub(super) fn work(&self, body: &[u8]) -> usize {
        match &self.content {
            Content::One(one) => one.work(body),
            Content::Named(named) => named.work(body),
        }
    }

    /// The whole request, now that its body is here.
    pub(super) fn order(self, body: &Bytes) -> Result<Order, Problem> {
        let set = match self.content {
            Content::One(one) => TensorSet(vec![one.read(body)?]),
            Content::Named(named) => named.read(body)?,
        };
        Ok(Order {
            input: Payload::Tensors(set),
            options: self.options,
        })
    }
}

/// The inputs that a body of this form carries: exactly one, or any number where the form names its tensors.
fn inputs(media: Media, config: &ModelConfig) -> Result<&[TensorSpec], Problem> {
    let takes = match (config.kind(), config.inputs.as_slice()) {
        (ModelKind::Tensor, specs @ [_]) => return Ok(specs),
        (ModelKind::Tensor, specs) if media == Media::Safetensors => return Ok(specs),
        (ModelKind::Object, _) => "takes any JSON: send `application/json`".to_owned(),
        (ModelKind::Tensor, several) => format!(
            "takes {} tensors, and such a body is one: send `Content-Type: {}` or `application/json`",
            several.len(),
            Media::Safetensors.name()
        ),
    };
    let (media, name) = (media.name(), &config.name);
    Err(Problem::new(
        Code::UnsupportedMediaType,
        format!("the Content-Type is `{media}`; model `{name}` {takes}"),
    ))
}

fn from_query(uri: &Uri, config: &ModelConfig, form: Form) -> Result<Options, Problem> {
    let (mut options, now) = (Options::default(), Timestamp::now());
    let bad = |name: &str, message: String| query::bad(format!("`{name}` {message}"));
    for (name, value) in query::options(uri, form.parameters())? {
        options
            .set(&name, Raw::Text(&value), config, now)
            .map_err(|message| bad(&name, message))?;
    }
    options.check().map_err(|(name, message)| bad(name, message))?;
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

/// What the header says of metadata, where the body has no room for it.
pub(crate) fn metadata_of(headers: &HeaderMap) -> Result<Option<Bytes>, Problem> {
    let given = single(headers, &METADATA).and_then(|text| text.map(metadata).transpose());
    given.map_err(|message| Problem::fields(vec![error(title(&METADATA), message)]))
}

fn metadata(text: &[u8]) -> Result<Bytes, String> {
    let raw: &RawValue = serde_json::from_slice(text)
        .map_err(|error| format!("must be a JSON object in UTF-8, and is not JSON: {error}"))?;
    fields::metadata(Raw::Json(raw.get()))
}

/// What the header says of retries.
fn retry_from(
    headers: &HeaderMap,
    config: &ModelConfig,
    form: Form,
    options: &mut Options,
) -> Result<(), Vec<FieldError>> {
    let wrong = |message: String| vec![error(title(&RETRY), message)];
    let Some(text) = single(headers, &RETRY).map_err(wrong)? else {
        return Ok(());
    };
    if form == Form::Predict {
        return Err(wrong("is of tasks; a prediction is not tried again".into()));
    }
    let raw: &RawValue = serde_json::from_slice(text)
        .map_err(|error| wrong(format!("must be a JSON object, and is not JSON: {error}")))?;
    options.retry = retry::read(title(&RETRY), raw.get(), config)?;
    Ok(())
}

/// Refuses a bool that is neither 0 nor 1: torch and a model would not agree on what it is.
fn check_bools(tensor: &Tensor) -> Result<(), String> {
    let data = match tensor.dtype {
        DType::Bool => &tensor.data[..],
        _ => &[],
    };
    match data.iter().position(|byte| *byte > 1) {
        None => Ok(()),
        Some(at) => Err(format!(
            "is {} at element {at}; a bool is the byte 0 or 1",
            data[at]
        )),
    }
}

/// A header's name as people write it.
fn title(name: &HeaderName) -> &'static str {
    match name {
        name if *name == SHAPE => "Cresset-Shape",
        name if *name == DTYPE => "Cresset-Dtype",
        name if *name == RETRY => "Cresset-Retry",
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
