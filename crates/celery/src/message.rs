//! A message as every broker carries it: headers, properties, a body.

use serde_json::{Map, Value};

/// The content type of JSON.
pub const JSON: &str = "application/json";
/// The content type of msgpack.
pub const MSGPACK: &str = "application/x-msgpack";

/// One message, whichever broker it came by.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Message {
    /// The headers. A task's name is among them, unless it is of the old protocol.
    pub headers: Map<String, Value>,
    /// What is beside the headers.
    pub properties: Properties,
    /// How the body is serialized.
    pub content_type: String,
    /// `utf-8` or `binary`.
    pub content_encoding: String,
    /// The body, as it was before any encoding of the broker's.
    pub body: Vec<u8>,
}

/// What a message carries beside its headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties {
    /// The task's id.
    pub correlation_id: Option<String>,
    /// The queue on which the sender listens for results.
    pub reply_to: Option<String>,
    /// What is urgent; its meaning is the broker's.
    pub priority: Option<i64>,
    /// 2: kept on disk by a broker that has one.
    pub delivery_mode: Option<i64>,
    /// It was delivered before.
    pub redelivered: bool,
    /// How often, where the broker counts that; 0 otherwise.
    pub delivered: u64,
}

impl Message {
    /// One of our own, with a JSON body.
    #[must_use]
    pub fn json(headers: Map<String, Value>, properties: Properties, body: Vec<u8>) -> Self {
        Self {
            headers,
            properties,
            content_type: JSON.into(),
            content_encoding: "utf-8".into(),
            body,
        }
    }
}
