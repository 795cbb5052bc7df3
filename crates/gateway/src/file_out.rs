//! A payload that is a file (docs/decisions/0034), as the bytes that it is: for callers whose `Accept` names its type.
//!
//! The type and the name are claims of whoever made the file. So a browser is told to save it, not to show it, and nothing is put into
//! a header that no header can carry.

use std::borrow::Cow;

use axum::http::HeaderValue;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use cresset_task::{Code, Payload};
use serde::Deserialize;

use crate::media::Media;
use crate::problem::Problem;

/// What stands around a file's JSON; looked at before all of it is read.
const FRAME: &[u8] = br#"{"$file""#;

/// A file as JSON has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File<'p> {
    #[serde(borrow, default = "any_type")]
    content_type: Cow<'p, str>,
    #[serde(borrow, default)]
    filename: Option<Cow<'p, str>>,
    #[serde(borrow)]
    data: Cow<'p, str>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Framed<'p> {
    #[serde(borrow, rename = "$file")]
    file: File<'p>,
}

fn any_type() -> Cow<'static, str> {
    Cow::Borrowed(Media::Raw.name())
}

impl<'p> File<'p> {
    /// The file that the payload is, and nothing beside; `None` when it is something else.
    pub(crate) fn of(payload: &'p Payload) -> Option<Self> {
        let Payload::Json(text) = payload else {
            return None;
        };
        let begins = text.iter().filter(|byte| !byte.is_ascii_whitespace());
        if !begins.take(FRAME.len()).eq(FRAME) {
            return None;
        }
        let framed: Framed<'p> = serde_json::from_slice(text).ok()?;
        Some(framed.file)
    }

    /// The type without its parameters, in lower case.
    pub(crate) fn essence(&self) -> String {
        let name = self.content_type.split(';').next().unwrap_or_default();
        name.trim().to_ascii_lowercase()
    }

    /// The type, as a header.
    pub(crate) fn media(&self) -> HeaderValue {
        HeaderValue::from_str(&self.content_type).unwrap_or(Media::Raw.header())
    }

    /// That it is to be saved, and under which name.
    pub(crate) fn disposition(&self) -> HeaderValue {
        disposition(self.filename.as_deref())
    }

    /// The bytes, still as text, which [`decoded`] reads.
    pub(crate) fn into_data(self) -> String {
        self.data.into_owned()
    }
}

/// The bytes of a file.
pub(crate) fn decoded(data: &str) -> Result<Bytes, Problem> {
    STANDARD.decode(data).map(Bytes::from).map_err(|error| {
        let detail =
            format!("the `data` of the file is not base64: {error}; `application/json` has it as it is");
        Problem::new(Code::NotAcceptable, detail)
    })
}

/// RFC 6266: to be saved, under its name where it has one; in ASCII for old readers, and as it is for the others.
fn disposition(filename: Option<&str>) -> HeaderValue {
    let plain = HeaderValue::from_static("attachment");
    let Some(name) = filename.filter(|name| !name.is_empty()) else {
        return plain;
    };
    let kept = |c: char| c.is_ascii_alphanumeric() || "._- ".contains(c);
    let ascii: String = name.chars().map(|c| if kept(c) { c } else { '_' }).collect();
    let mut exact = String::new();
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-' => exact.push(char::from(byte)),
            other => exact.push_str(&format!("%{other:02X}")),
        }
    }
    HeaderValue::from_str(&format!(
        "attachment; filename=\"{ascii}\"; filename*=UTF-8''{exact}"
    ))
    .unwrap_or(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<(String, String, String)> {
        let payload = Payload::Json(Bytes::copy_from_slice(text.as_bytes()));
        let file = File::of(&payload)?;
        let shown = |value: HeaderValue| value.to_str().unwrap().to_owned();
        Some((shown(file.media()), shown(file.disposition()), file.into_data()))
    }

    #[test]
    fn only_what_is_a_file_and_nothing_beside_is_one() {
        let whole = r#" {"$file": {"content_type": "image/png", "filename": null, "data": "AA=="}}"#;
        let told =
            |media: &str, data: &str| Some((media.to_owned(), "attachment".to_owned(), data.to_owned()));
        assert_eq!(of(whole), told("image/png", "AA=="));
        assert_eq!(
            of(r#"{"$file":{"data":""}}"#),
            told("application/octet-stream", "")
        );
        assert_eq!(
            of(r#"{"$file":{"data":"\u0041A=="}}"#),
            told("application/octet-stream", "AA==")
        );
        // What no header can carry is no type.
        assert_eq!(
            of(r#"{"$file":{"content_type":"a\r\nb: c","data":""}}"#),
            told("application/octet-stream", "")
        );
        for other in [
            "null",
            "[]",
            r#"{"a":1}"#,
            r#"{"$file":1}"#,
            r#"{"$file":{}}"#,
            r#"{"$file":{"data":"","more":1}}"#,
            r#"{"$file":{"data":""},"more":1}"#,
        ] {
            assert_eq!(of(other), None, "{other}");
        }
    }

    #[test]
    fn a_name_is_told_in_ascii_and_as_it_is_and_breaks_out_of_nothing() {
        let named = |name: &str| disposition(Some(name)).to_str().unwrap().to_owned();
        assert_eq!(
            named("a b.png"),
            "attachment; filename=\"a b.png\"; filename*=UTF-8''a%20b.png"
        );
        assert_eq!(
            named("ä\".p\r\n/"),
            "attachment; filename=\"__.p___\"; filename*=UTF-8''%C3%A4%22.p%0D%0A%2F"
        );
        assert_eq!(named(""), "attachment");
    }

    #[test]
    fn what_is_not_base64_is_said_to_be_none() {
        assert_eq!(decoded("AAE=").unwrap(), [0, 1][..]);
        assert!(decoded("%").is_err() && decoded("AAE").is_err());
    }
}
