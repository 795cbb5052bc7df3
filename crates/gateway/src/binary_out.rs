//! A result, or an input given back, as the bytes of its tensors, for callers whose `Accept` asks for that.
//!
//! Refused, never turned into something else: a caller that reads bytes must not be given JSON unless it accepts both.

use axum::http::header::CONTENT_DISPOSITION;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use bytes::Bytes;
use cresset_config::{ModelConfig, ModelKind};
use cresset_task::{Code, DType, ModelName, Payload, Tensor, TensorSet, npy, safetensors};

use crate::answer::typed;
use crate::app::App;
use crate::file_out::{self, File};
use crate::media::{Accepted, DTYPE, MODEL, Media, SHAPE, VERSION, sizes};
use crate::problem::{Answer, Problem};

/// Who made a result.
pub(crate) struct Maker<'a> {
    /// The model.
    pub(crate) model: &'a ModelName,
    /// Its version.
    pub(crate) version: &'a str,
}

/// What is answered as bytes.
pub(crate) enum Choice<'p> {
    /// The only tensor: its elements and nothing else.
    Raw(&'p Tensor),
    /// The only tensor, as NumPy's file.
    Npy(&'p Tensor),
    /// All tensors by their names, as a safetensors file.
    Safetensors(&'p TensorSet),
    /// The file that the payload is: as its own type, or as bytes and no more.
    File(File<'p>, HeaderValue),
}

impl<'p> Choice<'p> {
    /// The tensors in this form, or why they have none.
    fn of(media: Media, set: &'p TensorSet) -> Result<Self, String> {
        let one = match set.0.as_slice() {
            [(_, tensor)] => Ok(tensor),
            several => Err(format!(
                "this has {} tensors, and such an answer is one",
                several.len()
            )),
        };
        match media {
            Media::Safetensors if set.0.iter().all(|(name, _)| safetensors::has_form(name)) => {
                Ok(Self::Safetensors(set))
            }
            Media::Safetensors => Err(safetensors::NoSafetensorsForm.to_string()),
            Media::Npy => one.and_then(|tensor| {
                if npy::has_form(tensor.dtype) {
                    Ok(Self::Npy(tensor))
                } else {
                    Err(no_npy(tensor.dtype))
                }
            }),
            Media::Raw | Media::Json => one.map(Self::Raw),
        }
    }
}

/// The form of the answer, when that form is bytes; `None` for JSON. Only where the model `has_files` a payload can be a file; asked
/// for callers only who want one.
pub(crate) fn choose<'p>(
    accepted: &Accepted,
    payload: &'p Payload,
    has_files: impl Fn() -> bool,
) -> Result<Option<Choice<'p>>, Problem> {
    let file = || File::of(payload).filter(|_| has_files());
    if accepted.names_more()
        && let Some(file) = file()
        && accepted.wants_file(&file.essence())
    {
        let media = file.media();
        return Ok(Some(Choice::File(file, media)));
    }
    let mut why = None;
    for media in accepted.in_order() {
        let choice = match (media, payload) {
            (Media::Json, _) => return Ok(None),
            (Media::Raw, Payload::Json(_)) => file()
                .map(|file| Choice::File(file, media.header()))
                .ok_or_else(|| "this is JSON".into()),
            (_, Payload::Json(_)) => Err("this is JSON".into()),
            (media, Payload::Tensors(set)) => Choice::of(media, set),
        };
        match choice {
            Ok(choice) => return Ok(Some(choice)),
            // What speaks against the form most wanted is told.
            Err(reason) => _ = why.get_or_insert(reason),
        }
    }
    Err(refused(accepted, &why.unwrap_or_default()))
}

/// Refuses what the declaration already rules out, before the model runs for nothing.
pub(crate) fn check(accepted: &Accepted, config: &ModelConfig) -> Result<(), Problem> {
    let mut why = None;
    for media in accepted.in_order() {
        let reason = match (media, config.kind(), config.outputs.as_slice()) {
            (Media::Json, _, _) => return Ok(()),
            // Only the result can tell.
            (Media::Raw, ModelKind::Object, _) if config.files.are_taken() => return Ok(()),
            (_, ModelKind::Object, _) => format!("model `{}` answers JSON", config.name),
            // Without a declaration only the result can tell.
            (_, ModelKind::Tensor, []) => return Ok(()),
            (Media::Safetensors, _, specs) if specs.iter().all(|spec| safetensors::has_form(&spec.name)) => {
                return Ok(());
            }
            (Media::Safetensors, ..) => safetensors::NoSafetensorsForm.to_string(),
            (Media::Npy, _, [only]) if !npy::has_form(only.dtype) => no_npy(only.dtype),
            (_, _, [_]) => return Ok(()),
            (_, _, several) => format!(
                "model `{}` gives {} tensors, and such an answer is one",
                config.name,
                several.len()
            ),
        };
        why.get_or_insert(reason);
    }
    Err(refused(accepted, &why.unwrap_or_default()))
}

/// The answer: the tensor's bytes as they are, or a file.
pub(crate) async fn answer(app: &App, choice: Choice<'_>, maker: Maker<'_>) -> Answer {
    let (media, body, only) = match choice {
        Choice::File(file, media) => {
            let (disposition, data) = (file.disposition(), file.into_data());
            let bytes = app.codec(data.len(), move || file_out::decoded(&data)).await??;
            let mut response = typed(StatusCode::OK, media, bytes);
            let headers = response.headers_mut();
            headers.insert(CONTENT_DISPOSITION, disposition);
            sign(headers, &maker);
            return Ok(response);
        }
        Choice::Raw(tensor) => (Media::Raw, tensor.data.clone(), Some(tensor)),
        Choice::Npy(tensor) => {
            let shared = tensor.clone(); // shares its bytes
            let file = app.codec(tensor.data.len(), move || npy::write(&shared)).await?;
            let file = file.map_err(|error| Problem::new(Code::NotAcceptable, error.to_string()))?;
            (Media::Npy, Bytes::from(file), Some(tensor))
        }
        Choice::Safetensors(set) => {
            let shared = set.clone(); // as above
            let file = app
                .codec(set.data_len(), move || safetensors::write(&shared))
                .await?;
            let file = file.map_err(|error| Problem::new(Code::NotAcceptable, error.to_string()))?;
            (Media::Safetensors, Bytes::from(file), None)
        }
    };
    let mut response = typed(StatusCode::OK, media.header(), body);
    let headers = response.headers_mut();
    if let Some(tensor) = only {
        headers.insert(SHAPE, header(&sizes(&tensor.shape)));
        headers.insert(DTYPE, header(tensor.dtype.name()));
    }
    sign(headers, &maker);
    Ok(response)
}

/// Says who made the result, where the body has no room for it.
pub(crate) fn sign(headers: &mut HeaderMap, maker: &Maker<'_>) {
    headers.insert(MODEL, header(maker.model.as_str()));
    headers.insert(VERSION, header(maker.version));
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

fn no_npy(dtype: DType) -> String {
    format!(
        "{}; `{}` and `{}` have it",
        npy::NoNpyForm(dtype),
        Media::Raw.name(),
        Media::Safetensors.name()
    )
}

fn refused(accepted: &Accepted, why: &str) -> Problem {
    let best = accepted.best().name();
    Problem::new(
        Code::NotAcceptable,
        format!("`Accept` asks for `{best}`, but {why}; `application/json` is always to be had"),
    )
}
