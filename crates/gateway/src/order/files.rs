//! Bodies that are a file, or a form with files, for object models with `files = true`: they become the JSON that the same
//! model would be sent otherwise, with each file in it as `{"$file": {"content_type", "filename", "data"}}`.
//!
//! So whatever a payload goes through (store, batches, the cache of results) knows of JSON only, and a caller who has only
//! JSON can send files too. What the bytes mean is the model's business: nothing here looks into a file.

use std::convert::Infallible;
use std::future::ready;

use axum::http::{HeaderMap, Uri, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use cresset_config::{Files, ModelConfig};
use cresset_task::{Code, Payload};
use futures_util::{FutureExt, stream};
use multer::{Field, Multipart};
use serde_json::value::RawValue;

use super::options::Options;
use super::{DEPTH_MAX, Form, Order, binary, is_deeper};
use crate::problem::Problem;
use crate::query::cut;
use crate::schema::FieldError;

/// Parts of a form at most: a form of people has a few, and each is looked up among those before it.
const PARTS_MAX: usize = 64;
/// Bytes of a part's name at most: it becomes a key of JSON.
const NAME_MAX: usize = 128;
/// Bytes of a file's name at most: as long as file systems take.
const FILENAME_MAX: usize = 255;
/// Bytes of a content type at most: it is kept with each file.
const TYPE_MAX: usize = 255;
/// Bytes of a part of text at most, which JSON may escape to six times as many. A file may be as long as a body.
const TEXT_MAX: usize = 1 << 20;
/// What a file without a type of its own is.
const ANY_TYPE: &str = "application/octet-stream";
/// What a file takes in JSON beside its text.
const FRAME: usize = 128;

/// Everything about such a request that is known before its body.
#[derive(Debug)]
pub(super) struct Head {
    content: Content,
    options: Options,
}

#[derive(Debug)]
enum Content {
    File { content_type: String },
    Form { boundary: String, taken: Files },
}

/// Reads all that is known before the body; `None` when the body is for others to read.
pub(super) fn head(
    headers: &HeaderMap,
    uri: &Uri,
    config: &ModelConfig,
    form: Form,
) -> Result<Option<Head>, Problem> {
    let Some(given) = headers
        .get(header::CONTENT_TYPE)
        .filter(|_| config.files.are_taken())
    else {
        return Ok(None);
    };
    let refused = |why: &str| {
        let shown = cut(&String::from_utf8_lossy(given.as_bytes()));
        Problem::new(
            Code::UnsupportedMediaType,
            format!("the Content-Type is `{shown}`, {why}"),
        )
    };
    let text = given
        .to_str()
        .map_err(|_| refused("which is not ASCII; say what the file is, such as `image/png`"))?
        .trim();
    let name = text
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let is_json = name == "application/json" || (name.starts_with("application/") && name.ends_with("+json"));
    if is_json {
        return Ok(None); // and what is wrong with its charset is told there
    }
    let content = if name == "multipart/form-data" {
        let boundary = multer::parse_boundary(text).map_err(|_| {
            refused("which has no boundary; let the client that makes the form write this header")
        })?;
        Content::Form {
            boundary,
            taken: config.files.clone(),
        }
    } else if is_media_type(&name) && text.len() <= TYPE_MAX {
        if !config.files.takes(&name) {
            return Err(refused(&format!(
                "and `{}` takes {}; send one of these, a form with them, or `application/json`",
                config.name,
                listed(&config.files)
            )));
        }
        let content_type = text.to_owned();
        Content::File { content_type }
    } else {
        return Err(refused(
            "which is no media type; say what the file is, such as `image/png`, or send `multipart/form-data` or \
             `application/json`",
        ));
    };
    let options = binary::options(headers, uri, config, form)?;
    Ok(Some(Head { content, options }))
}

/// The types that are taken, as `content_types` has them.
fn listed(files: &Files) -> String {
    let types: Vec<String> = files.types.iter().map(|range| format!("`{range}`")).collect();
    format!(
        "files of {} (`content_types` of its model.toml)",
        types.join(", ")
    )
}

/// `type/subtype` of the characters that RFC 9110 has for it.
fn is_media_type(name: &str) -> bool {
    let is_token = |text: &str| {
        !text.is_empty()
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    };
    name.split_once('/')
        .is_some_and(|(kind, subtype)| is_token(kind) && is_token(subtype))
}

/// Room for a body as JSON. What is large in a form are files too.
fn grown(body: usize) -> usize {
    body.div_ceil(3) * 4 + FRAME
}

impl Head {
    /// The whole request, now that its body is here.
    pub(super) fn order(self, body: &Bytes) -> Result<Order, Problem> {
        let text = match self.content {
            Content::File { content_type } => {
                let mut out = Vec::with_capacity(grown(body.len()));
                write_file(&mut out, &content_type, None, body);
                out
            }
            Content::Form { boundary, taken } => form(body, &boundary, &taken)?,
        };
        Ok(Order {
            input: Payload::Json(text.into()),
            options: self.options,
        })
    }
}

/// A form as a JSON object: the names of its parts, and what they hold.
fn form(body: &Bytes, boundary: &str, taken: &Files) -> Result<Vec<u8>, Problem> {
    let whole = stream::once(ready(Ok::<_, Infallible>(body.clone())));
    // All of it is here: reading it never waits, and is done on the spot.
    read_form(Multipart::new(whole, boundary), body.len(), taken)
        .now_or_never()
        .unwrap_or_else(|| {
            Err(Problem::new(
                Code::Internal,
                "a form that is here whole was waited for",
            ))
        })
}

async fn read_form(mut parts: Multipart<'_>, len: usize, taken: &Files) -> Result<Vec<u8>, Problem> {
    let mut out = Vec::with_capacity(grown(len));
    let mut names: Vec<String> = Vec::new();
    let malformed = |number: usize, error: &multer::Error| {
        let message = format!("the form cannot be read at its part {number}: {error}");
        Problem::new(Code::MalformedBody, message)
    };
    out.push(b'{');
    loop {
        let number = names.len() + 1;
        let part = match parts
            .next_field()
            .await
            .map_err(|error| malformed(number, &error))?
        {
            Some(part) => part,
            None => break,
        };
        if number > PARTS_MAX {
            return Err(wrong("input", format!("has more than {PARTS_MAX} parts")));
        }
        let name = part.name().unwrap_or_default().to_owned();
        if name.is_empty() || name.len() > NAME_MAX {
            let message = format!("part {number} of the form must have a name of 1 to {NAME_MAX} bytes");
            return Err(wrong("input", message));
        }
        let field = format!("input.{name}");
        if names.contains(&name) {
            return Err(wrong(&field, "is given twice".into()));
        }
        if !names.is_empty() {
            out.push(b',');
        }
        write_text(&mut out, &name);
        out.push(b':');
        let kind = Kind::of(&part, &field, taken)?;
        names.push(name);
        let bytes = part.bytes().await.map_err(|error| malformed(number, &error))?;
        kind.write(&mut out, &field, &bytes)?;
    }
    out.push(b'}');
    Ok(out)
}

/// What a part of a form is.
enum Kind {
    File { content_type: String, filename: String },
    Json,
    Text,
}

impl Kind {
    fn of(part: &Field<'_>, field: &str, taken: &Files) -> Result<Self, Problem> {
        let given = part.content_type().map(|mime| mime.as_ref());
        match part.file_name() {
            Some(filename) if filename.len() > FILENAME_MAX => {
                let message = format!(
                    "has a filename of {} bytes, at most {FILENAME_MAX} can be",
                    filename.len()
                );
                Err(wrong(field, message))
            }
            Some(_) if given.is_some_and(|given| given.len() > TYPE_MAX) => Err(wrong(
                field,
                format!("has a Content-Type of more than {TYPE_MAX} bytes"),
            )),
            Some(_) if !taken.takes(given.unwrap_or(ANY_TYPE)) => Err(Problem::new(
                Code::UnsupportedMediaType,
                format!(
                    "`{field}` is `{}`, and the model takes {}",
                    cut(given.unwrap_or(ANY_TYPE)),
                    listed(taken)
                ),
            )),
            Some(filename) => Ok(Self::File {
                content_type: given.unwrap_or(ANY_TYPE).to_owned(),
                filename: filename.to_owned(),
            }),
            None => match part.content_type().map(|mime| mime.essence_str()) {
                Some("application/json") => Ok(Self::Json),
                None | Some("text/plain") => Ok(Self::Text),
                Some(other) => Err(wrong(
                    field,
                    format!(
                        "is `{}` and has no filename; a file has one, other parts are text or `application/json`",
                        cut(other)
                    ),
                )),
            },
        }
    }

    fn write(&self, out: &mut Vec<u8>, field: &str, bytes: &[u8]) -> Result<(), Problem> {
        if let Self::File {
            content_type,
            filename,
        } = self
        {
            write_file(out, content_type, Some(filename), bytes);
            return Ok(());
        }
        let text = std::str::from_utf8(bytes)
            .map_err(|error| wrong(field, format!("is not UTF-8 at byte {}", error.valid_up_to())))?;
        if matches!(self, Self::Text) {
            if text.len() > TEXT_MAX {
                let message = format!(
                    "has {} bytes, text may have {TEXT_MAX}; send it as a file",
                    text.len()
                );
                return Err(wrong(field, message));
            }
            write_text(out, text);
            return Ok(());
        }
        let json: &RawValue =
            serde_json::from_str(text).map_err(|error| wrong(field, format!("is not JSON: {error}")))?;
        // The form itself is a level.
        if is_deeper(json.get(), DEPTH_MAX - 1) {
            return Err(wrong(
                field,
                format!("is nested deeper than {} levels", DEPTH_MAX - 1),
            ));
        }
        out.extend_from_slice(json.get().as_bytes());
        Ok(())
    }
}

fn write_file(out: &mut Vec<u8>, content_type: &str, filename: Option<&str>, data: &[u8]) {
    out.extend_from_slice(br#"{"$file":{"content_type":"#);
    write_text(out, content_type);
    out.extend_from_slice(br#","filename":"#);
    match filename {
        Some(filename) => write_text(out, filename),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(br#","data":""#);
    let start = out.len();
    // As long as `encode_slice` needs, padding and all.
    out.resize(start + data.len().div_ceil(3) * 4, 0);
    STANDARD
        .encode_slice(data, &mut out[start..])
        .expect("there is room for four bytes for each three");
    out.extend_from_slice(br#""}}"#);
}

fn write_text(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("a Vec takes any text");
}

fn wrong(field: &str, message: String) -> Problem {
    Problem::fields(vec![FieldError {
        field: field.into(),
        message,
    }])
}

#[cfg(test)]
mod tests;
