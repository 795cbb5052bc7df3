//! The values of `model.toml` that have a grammar of their own: names, versions, entries, element types.

use std::path::{Component, Path};
use std::time::Duration;

use cresset_task::{DType, ModelName};

use crate::field::{Given, Refusal, quote, take_path};
use crate::model::Entry;
use crate::model_keys::Draft;
use crate::suggest::nearest;
use crate::tensor_keys::TensorDraft;
use crate::units::{parse_duration, show_duration};

/// The longest version text: it appears in every result.
const VERSION_MAX: usize = 64;
/// The longest description: it is one line of a listing.
const DESCRIPTION_MAX: usize = 1024;
/// The longest tensor name: it appears in every request.
const TENSOR_NAME_MAX: usize = 128;
/// The oldest Python 3 whose minor version the child supports.
const PYTHON_MINOR_MIN: u32 = 9;

pub(crate) fn set_name(m: &mut Draft, text: &str) -> Result<(), Refusal> {
    match text.parse() {
        Ok(name) => {
            m.name = Some(name);
            Ok(())
        }
        Err(rule) => Err(
            Refusal::new(format!("{} is not a model name: {rule}", quote(text)))
                .maybe_hint(name_like(text).map(|name| format!("\"{name}\" would be one"))),
        ),
    }
}

/// A model name that looks like `text`, if there is one.
pub(crate) fn name_like(text: &str) -> Option<String> {
    let mapped: String = text
        .trim()
        .chars()
        .map(|c| c.to_ascii_lowercase())
        .map(|c| {
            if c.is_ascii_alphanumeric() || matches!(c, '_' | '.') {
                c
            } else {
                '-'
            }
        })
        .collect();
    let name = mapped.trim_matches(['-', '_', '.']);
    name.parse::<ModelName>().ok().map(|name| name.to_string())
}

pub(crate) fn set_version(m: &mut Draft, text: &str) -> Result<(), Refusal> {
    m.version = Some(one_line(text, VERSION_MAX)?);
    Ok(())
}

pub(crate) fn set_description(m: &mut Draft, text: &str) -> Result<(), Refusal> {
    m.description = Some(one_line(text, DESCRIPTION_MAX)?);
    Ok(())
}

fn one_line(text: &str, max: usize) -> Result<String, Refusal> {
    let text = text.trim();
    match text.chars().count() {
        0 => Err(Refusal::new("must not be empty")),
        n if n > max => Err(Refusal::new(format!(
            "must have at most {max} characters, has {n}"
        ))),
        _ if text.chars().any(char::is_control) => {
            Err(Refusal::new("must be one line without control characters"))
        }
        _ => Ok(text.to_owned()),
    }
}

pub(crate) fn show_entry(entry: &Entry) -> String {
    match &entry.attribute {
        Some(attribute) => format!("{}:{attribute}", entry.file),
        None => entry.file.clone(),
    }
}

pub(crate) fn set_entry(m: &mut Draft, text: &str) -> Result<(), Refusal> {
    let (file, attribute) = match text.split_once(':') {
        Some((file, attribute)) => (file, Some(attribute)),
        None => (text, None),
    };
    let outside = Path::new(file)
        .components()
        .any(|c| !matches!(c, Component::Normal(_)));
    if file.is_empty() || outside || file.contains('\0') {
        return Err(Refusal::new(format!(
            "must name a file inside the folder, such as \"model.py\", is {}",
            quote(text)
        )));
    }
    if let Some(name) = attribute.filter(|name| !is_identifier(name)) {
        return Err(Refusal::new(format!(
            "must have the name of a class or function after the colon, has {}",
            quote(name)
        )));
    }
    m.entry = Entry {
        file: file.into(),
        attribute: attribute.map(Into::into),
    };
    Ok(())
}

/// A Python identifier (the interpreter normalises letters beyond ASCII, and will say if one is not there).
fn is_identifier(name: &str) -> bool {
    let mut chars = name.chars();
    chars.next().is_some_and(|c| c == '_' || c.is_alphabetic())
        && chars.all(|c| c == '_' || c.is_alphanumeric())
}

/// What `limits.cancel_grace` takes.
pub(crate) const CANCEL_GRACE_FORM: &str = "a duration up to 1d in quotes, such as \"30s\", or \"none\"";
/// What is killed a day later was as good as left alone.
const CANCEL_GRACE_MAX: Duration = Duration::from_secs(86_400);
/// No grace ends.
const NO_KILL: &str = "none";

pub(crate) fn set_cancel_grace(slot: &mut Option<Duration>, text: &str) -> Result<(), Refusal> {
    *slot = match text {
        NO_KILL => None,
        text => match parse_duration(text).filter(|grace| *grace <= CANCEL_GRACE_MAX) {
            Some(grace) => Some(grace),
            None => {
                return Err(Refusal::new(format!(
                    "must be {CANCEL_GRACE_FORM}, is {}",
                    quote(text)
                )));
            }
        },
    };
    Ok(())
}

pub(crate) fn show_cancel_grace(grace: Option<Duration>) -> String {
    grace.map_or_else(|| NO_KILL.into(), show_duration)
}

pub(crate) fn set_path(slot: &mut Option<String>, text: &str) -> Result<(), Refusal> {
    take_path(Given::Word(text))?;
    *slot = Some(text.to_owned());
    Ok(())
}

pub(crate) fn set_python_version(m: &mut Draft, text: &str) -> Result<(), Refusal> {
    let parts: Option<Vec<u32>> = text.split('.').map(|p| p.parse().ok()).collect();
    match parts.as_deref() {
        Some([3, minor] | [3, minor, _]) if *minor >= PYTHON_MINOR_MIN => {
            m.python_version = Some(text.to_owned());
            Ok(())
        }
        Some([3, _] | [3, _, _] | [2, ..]) => Err(Refusal::new(format!(
            "must be 3.{PYTHON_MINOR_MIN} or newer, is {}",
            quote(text)
        ))),
        _ => Err(Refusal::new(format!(
            "must be a Python version such as \"3.11\" or \"3.11.7\", is {}",
            quote(text)
        ))),
    }
}

pub(crate) fn set_tensor_name(t: &mut TensorDraft, text: &str) -> Result<(), Refusal> {
    if text.trim() != text {
        return Err(Refusal::new(format!(
            "must not begin or end with a space, is {}",
            quote(text)
        )));
    }
    t.name = Some(one_line(text, TENSOR_NAME_MAX)?);
    Ok(())
}

pub(crate) fn set_dtype(t: &mut TensorDraft, text: &str) -> Result<(), Refusal> {
    match text.parse() {
        Ok(dtype) => {
            t.dtype = Some(dtype);
            Ok(())
        }
        Err(bad) => {
            let alias = match text.trim_start_matches("torch.").trim_start_matches("np.") {
                "float" | "f32" | "fp32" => Some("float32"),
                "double" | "f64" | "fp64" => Some("float64"),
                "half" | "f16" | "fp16" => Some("float16"),
                "bf16" => Some("bfloat16"),
                "long" | "int" | "i64" => Some("int64"),
                "i32" => Some("int32"),
                "byte" | "u8" => Some("uint8"),
                "boolean" => Some("bool"),
                other => nearest(other, DType::ALL.iter().map(|d| d.name())),
            };
            let refusal = Refusal::new(format!("{} is {bad}", quote(text)));
            Err(refusal.maybe_hint(alias.map(|near| format!("did you mean \"{near}\"?"))))
        }
    }
}
