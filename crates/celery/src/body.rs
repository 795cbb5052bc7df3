//! A task's body: its arguments, and what is to follow. Arguments stay raw text: a model's own readers take them from there.

use std::borrow::Cow;

use cresset_task::Payload;
use serde::Deserialize;
use serde::de::Error as _;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::compress::{BadCompression, decompress};
use crate::message::{JSON, MSGPACK, Message};
use crate::msgpack;
use crate::ours;
use crate::parcel::Parcel;

/// The largest body, decompressed: as large as the largest request over HTTP by default.
pub const BODY_BYTES_MAX: usize = 64 << 20;
/// Deeper bodies are refused, as over HTTP.
pub const BODY_DEPTH_MAX: usize = 128;

/// A body, read.
#[derive(Clone, Debug, Default)]
pub struct Body {
    /// The positional arguments.
    pub args: Vec<Box<RawValue>>,
    /// The named ones.
    pub kwargs: Vec<(String, Box<RawValue>)>,
    /// The input itself, of a task that a server of ours has sent: it has no arguments.
    pub payload: Option<Payload>,
    /// The same where the message only refers to it.
    pub parcel: Option<Parcel>,
    /// What is to follow.
    pub embed: Embed,
}

/// What is to follow a task.
#[derive(Clone, Debug, Default, Deserialize, PartialEq)]
pub struct Embed {
    /// Sent after a success.
    #[serde(default)]
    pub callbacks: Option<Vec<Value>>,
    /// Sent after a failure.
    #[serde(default)]
    pub errbacks: Option<Vec<Value>>,
    /// The steps after this one; the next is the last.
    #[serde(default)]
    pub chain: Option<Vec<Value>>,
    /// The body of the chord that this is a part of.
    #[serde(default)]
    pub chord: Option<Value>,
}

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BadBody {
    #[error(
        "a pickled message is never loaded: set task_serializer = \"json\" (or \"msgpack\") in the application that sends it"
    )]
    Pickle,
    #[error("content type `{0}` is not read here: send with task_serializer = \"json\" or \"msgpack\"")]
    ContentType(String),
    #[error(transparent)]
    Compression(#[from] BadCompression),
    #[error("the body has more than {BODY_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the body holds NaN or infinity, which JSON has not")]
    NonFinite,
    #[error("the body cannot be read: {0}")]
    Malformed(String),
    #[error("the body is not [args, kwargs, embed]: {0}")]
    Shape(String),
}

/// The body as JSON text, no deeper than we go. Whether it is JSON, whoever reads it will see ([`because`]).
pub(crate) fn text(message: &Message) -> Result<Cow<'_, [u8]>, BadBody> {
    let is_msgpack = match message.content_type.as_str() {
        JSON => false,
        MSGPACK => true,
        "application/x-python-serialize" => return Err(BadBody::Pickle),
        other => return Err(BadBody::ContentType(other.chars().take(64).collect())),
    };
    let plain = match message.headers.get("compression").and_then(Value::as_str) {
        Some(method) => Cow::Owned(decompress(method, &message.body, BODY_BYTES_MAX)?),
        None if message.body.len() > BODY_BYTES_MAX => return Err(BadBody::TooLarge),
        None => Cow::Borrowed(message.body.as_slice()),
    };
    if is_msgpack {
        let text = msgpack::to_json(&plain, BODY_DEPTH_MAX).map_err(BadBody::Malformed)?;
        return Ok(Cow::Owned(text));
    }
    check_depth(&plain)?;
    Ok(plain)
}

/// That it is no deeper than we go.
fn check_depth(text: &[u8]) -> Result<(), BadBody> {
    if depth(text) > BODY_DEPTH_MAX {
        return Err(BadBody::Malformed(format!(
            "it is nested deeper than {BODY_DEPTH_MAX} levels"
        )));
    }
    Ok(())
}

/// That it is JSON, and no deeper than we go.
pub(crate) fn check_json(text: &[u8]) -> Result<(), BadBody> {
    check_depth(text)?;
    match serde_json::from_slice::<&RawValue>(text) {
        Ok(_) => Ok(()),
        Err(error) => Err(not_json(text, &error)),
    }
}

/// What is wrong with a text that could not be read as `shape` says: it is no JSON, or JSON of another shape.
pub(crate) fn because(text: &[u8], shape: String) -> BadBody {
    match serde_json::from_slice::<&RawValue>(text) {
        Ok(_) => BadBody::Shape(shape),
        Err(error) => not_json(text, &error),
    }
}

fn not_json(text: &[u8], error: &serde_json::Error) -> BadBody {
    if has_non_finite(text) {
        BadBody::NonFinite
    } else {
        BadBody::Malformed(error.to_string())
    }
}

/// Calls `see` with each byte that is outside of strings, and its place.
fn outside_strings(text: &[u8], mut see: impl FnMut(usize, u8)) {
    let (mut inside, mut escaped) = (false, false);
    for (at, byte) in text.iter().copied().enumerate() {
        if !inside {
            inside = byte == b'"';
            see(at, byte);
        } else if escaped {
            escaped = false;
        } else {
            escaped = byte == b'\\';
            inside = byte != b'"';
        }
    }
}

fn depth(text: &[u8]) -> usize {
    let (mut now, mut most) = (0_usize, 0_usize);
    outside_strings(text, |_, byte| match byte {
        b'[' | b'{' => {
            now += 1;
            most = most.max(now);
        }
        b']' | b'}' => now = now.saturating_sub(1),
        _ => {}
    });
    most
}

/// Python writes these words where JSON has none.
fn has_non_finite(text: &[u8]) -> bool {
    let mut found = false;
    outside_strings(text, |at, byte| {
        let rest = text.get(at..).unwrap_or_default();
        found |= matches!(byte, b'N' | b'I') && (rest.starts_with(b"NaN") || rest.starts_with(b"Infinity"));
    });
    found
}

/// Arguments by name, in their order.
#[derive(Default)]
pub(crate) struct Named(pub(crate) Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Named {
    fn deserialize<D: serde::Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> serde::de::Visitor<'de> for Entries {
            type Value = Named;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Named, A::Error> {
                let mut entries: Vec<(String, Box<RawValue>)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Box<RawValue>>()? {
                    if entries.iter().any(|(known, _)| *known == name) {
                        return Err(A::Error::custom(format!("`{name}` is there twice")));
                    }
                    entries.push((name, value));
                }
                Ok(Named(entries))
            }
        }
        reader.deserialize_map(Entries)
    }
}

impl Body {
    /// Reads a body of the current protocol.
    pub(crate) fn of(message: &Message) -> Result<Self, BadBody> {
        if let Some(parcel) = ours::parcel(message)? {
            return Ok(Self {
                parcel: Some(parcel),
                ..Self::default()
            });
        }
        if let Some(payload) = ours::input(message)? {
            return Ok(Self {
                payload: Some(payload),
                ..Self::default()
            });
        }
        let text = text(message)?;
        let shape = |error: serde_json::Error| because(&text, error.to_string());
        let (args, kwargs, embed): (Vec<Box<RawValue>>, Named, Option<Map<String, Value>>) =
            serde_json::from_slice(&text).map_err(shape)?;
        let embed = match embed {
            None => Embed::default(),
            Some(map) => serde_json::from_value(Value::Object(map)).map_err(shape)?,
        };
        Ok(Self {
            args,
            kwargs: kwargs.0,
            embed,
            payload: None,
            parcel: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> Result<Body, BadBody> {
        Body::of(&Message::json(Map::new(), Default::default(), text.into()))
    }

    #[test]
    fn arguments_stay_as_they_were_written() {
        let read = body(r#"[[1.50, {"a": "\u00e9"}], {"k": null}, {"chain": []}]"#).unwrap();
        let args: Vec<_> = read.args.iter().map(|a| a.get()).collect();
        assert_eq!(args, ["1.50", r#"{"a": "\u00e9"}"#]);
        assert_eq!(read.kwargs[0].1.get(), "null");
        assert_eq!(read.embed.chain, Some(vec![]));
        assert_eq!(body("[[], {}, null]").unwrap().embed, Embed::default());
    }

    #[test]
    fn other_bodies_are_refused_in_words() {
        let says = |text: &str| body(text).unwrap_err().to_string();
        assert!(says("[]").contains("[args, kwargs, embed]"));
        assert!(says("[1, {}, {}]").contains("[args, kwargs, embed]"));
        assert!(says("[[], [], {}]").contains("[args, kwargs, embed]"));
        assert!(says("[[NaN], {}, {}]").contains("NaN"));
        assert!(says("[[\"NaN\", -Infinity], {}, {}]").contains("infinity"));
        assert!(says("[[").contains("cannot be read"));
        assert!(says(&"[".repeat(500)).contains("deeper"));
        assert!(says(r#"[[], {"a": 1, "a": 2}, {}]"#).contains("twice"));
    }
}
