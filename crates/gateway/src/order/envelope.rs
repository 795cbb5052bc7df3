//! The outer object of a body, its values still raw.

use std::borrow::Cow;
use std::fmt;

use cresset_task::Code;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::Form;
use crate::nearest::nearest;
use crate::problem::{FIELD_ERRORS_MAX, Problem};
use crate::query::cut;
use crate::schema::{FieldError, Position};

/// What a body may look like, for messages.
const SHAPE: &str = "the body must be one JSON object such as {\"input\": ...}";

/// The raw value of each known key. `null` options count as not given.
#[derive(Debug, Default)]
pub(super) struct Envelope<'a> {
    pub(super) input: Option<&'a str>,
    /// Options by name, in the order of the body; no name twice.
    pub(super) options: Vec<(&'static str, &'a str)>,
    /// Unknown and repeated keys.
    pub(super) errors: Vec<FieldError>,
}

/// Reads the outer object; checks that all of the body is JSON in UTF-8.
pub(super) fn read(body: &[u8], form: Form) -> Result<Envelope<'_>, Problem> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let read = reader
        .deserialize_map(Outer { form })
        .and_then(|envelope| reader.end().map(|()| envelope));
    read.map_err(|error| explain(body, &error))
}

/// Collects the keys of the outer object.
struct Outer {
    form: Form,
}

impl<'de> Visitor<'de> for Outer {
    type Value = Envelope<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Envelope<'de>, A::Error> {
        let mut envelope = Envelope::default();
        let mut seen = 0_u32;
        while let Some(Key(key)) = map.next_key()? {
            let place = self.form.keys().iter().position(|k| *k == key);
            let Some(place) = place else {
                map.next_value::<&RawValue>()?; // raw, so that its UTF-8 is checked too
                envelope.complain(&key, || unknown(&key, self.form));
                continue;
            };
            let is_twice = seen & (1 << place) != 0;
            if is_twice {
                envelope.complain(&key, || "is given twice".into());
            }
            seen |= 1 << place;
            let raw = map.next_value::<&'de RawValue>()?.get();
            match self.form.keys()[place] {
                "input" => envelope.input = Some(raw),
                name if raw != "null" && !is_twice => envelope.options.push((name, raw)),
                _ => {}
            }
        }
        Ok(envelope)
    }
}

impl Envelope<'_> {
    /// Notes a wrong key, up to as many as will be told, and one more so that "more" can be said.
    fn complain(&mut self, key: &str, message: impl FnOnce() -> String) {
        if self.errors.len() <= FIELD_ERRORS_MAX {
            self.errors.push(FieldError {
                field: cut(key),
                message: message(),
            });
        }
    }
}

fn unknown(key: &str, form: Form) -> String {
    if let Some(near) = nearest(key, form.keys()) {
        return format!("is not a known key; did you mean `{near}`?");
    }
    let known: Vec<_> = form.keys().iter().map(|k| format!("`{k}`")).collect();
    format!("is not a known key; known here are {}", known.join(", "))
}

/// A key, borrowed from the body unless it has escapes.
struct Key<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(text.to_owned())))
            }
        }
        input.deserialize_str(Text)
    }
}

/// serde_json's error in our words, with the byte at which reading stopped.
pub(super) fn explain(body: &[u8], error: &serde_json::Error) -> Problem {
    let malformed = |detail: String| Problem::new(Code::MalformedBody, detail);
    if body.iter().all(u8::is_ascii_whitespace) {
        return malformed(format!("the body is empty; {SHAPE}"));
    }
    if error.is_data() {
        let kind = match body.iter().find(|b| !b.is_ascii_whitespace()) {
            Some(b'[') => "an array",
            Some(b'"') => "a string",
            Some(b't' | b'f') => "true or false",
            Some(b'n') => "null",
            _ => "a number",
        };
        return malformed(format!("{SHAPE}; it is {kind}"));
    }
    let position = position(body, error);
    let text = error.to_string();
    let what = text
        .rsplit_once(" at line ")
        .map_or(text.as_str(), |(what, _)| what);
    let Position { byte, line, column } = position;
    let verb = if error.is_eof() {
        "ends too early"
    } else {
        "is not JSON"
    };
    malformed(format!(
        "the body {verb} at byte {byte} (line {line}, column {column}): {what}"
    ))
    .at(position)
}

/// serde_json counts lines, and columns from 1, both in bytes; a column of 0 stands before the line's first byte.
fn position(body: &[u8], error: &serde_json::Error) -> Position {
    let starts = std::iter::once(0).chain(
        body.iter()
            .enumerate()
            .filter(|(_, b)| **b == b'\n')
            .map(|(i, _)| i + 1),
    );
    let start = starts.clone().nth(error.line().saturating_sub(1)).unwrap_or(0);
    if error.is_eof() {
        // Nothing is wrong with the last byte: the next one is missing.
        let last = starts.last().unwrap_or(0);
        return Position {
            byte: body.len(),
            line: error.line(),
            column: body.len() - last + 1,
        };
    }
    Position {
        byte: start + error.column().saturating_sub(1),
        line: error.line(),
        column: error.column().max(1),
    }
}
