//! The wrapper that messages wear on Redis: one JSON object with the body as base64.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::message::{Message, Properties};

/// Where a message was sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Route {
    /// The exchange; empty: the routing key is a queue's name.
    pub exchange: String,
    /// The routing key.
    pub routing_key: String,
}

/// Bytes that are no envelope.
#[derive(Debug, thiserror::Error)]
pub enum BadEnvelope {
    /// Not JSON, or another object.
    #[error("the envelope cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    /// The body is said to be base64 and is not.
    #[error("the body is not base64: {0}")]
    Base64(#[from] base64::DecodeError),
}

#[derive(Deserialize)]
struct In<'a> {
    #[serde(borrow, default)]
    body: Cow<'a, str>,
    #[serde(rename = "content-encoding", default)]
    content_encoding: Option<String>,
    #[serde(rename = "content-type", default)]
    content_type: Option<String>,
    #[serde(default)]
    headers: Option<Map<String, Value>>,
    #[serde(default)]
    properties: InProperties,
}

#[derive(Default, Deserialize)]
struct InProperties {
    correlation_id: Option<Value>,
    reply_to: Option<Value>,
    priority: Option<Value>,
    delivery_mode: Option<Value>,
    body_encoding: Option<String>,
    #[serde(default)]
    delivery_info: Option<Map<String, Value>>,
}

/// Reads an envelope.
pub fn read_envelope(bytes: &[u8]) -> Result<(Message, Route), BadEnvelope> {
    let read: In<'_> = serde_json::from_slice(bytes)?;
    let body = match read.properties.body_encoding.as_deref() {
        Some("base64") => STANDARD.decode(read.body.as_bytes())?,
        _ => read.body.into_owned().into_bytes(),
    };
    let headers = read.headers.unwrap_or_default();
    let info = read.properties.delivery_info.unwrap_or_default();
    let is_marked = |map: &Map<String, Value>| map.get("redelivered").and_then(Value::as_bool) == Some(true);
    let text = |value: Option<Value>| value.and_then(|v| v.as_str().map(str::to_owned));
    let of_info = |name: &str| {
        info.get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let route = Route {
        exchange: of_info("exchange"),
        routing_key: of_info("routing_key"),
    };
    let properties = Properties {
        correlation_id: text(read.properties.correlation_id),
        reply_to: text(read.properties.reply_to),
        priority: read.properties.priority.and_then(|v| v.as_i64()),
        delivery_mode: read.properties.delivery_mode.and_then(|v| v.as_i64()),
        redelivered: is_marked(&headers) || is_marked(&info),
        delivered: 0,
    };
    let message = Message {
        headers,
        properties,
        content_type: read.content_type.unwrap_or_default(),
        content_encoding: read.content_encoding.unwrap_or_default(),
        body,
    };
    Ok((message, route))
}

/// Writes an envelope; `tag` is to be another one for each message.
#[must_use]
pub fn write_envelope(message: &Message, route: &Route, tag: &str) -> String {
    let of = &message.properties;
    let mut properties = Map::new();
    if let Some(id) = &of.correlation_id {
        properties.insert("correlation_id".into(), json!(id));
    }
    if let Some(queue) = &of.reply_to {
        properties.insert("reply_to".into(), json!(queue));
    }
    properties.insert("delivery_mode".into(), json!(of.delivery_mode.unwrap_or(2)));
    let info = json!({"exchange": route.exchange, "routing_key": route.routing_key});
    properties.insert("delivery_info".into(), info);
    properties.insert("priority".into(), json!(of.priority.unwrap_or(0)));
    properties.insert("body_encoding".into(), json!("base64"));
    properties.insert("delivery_tag".into(), json!(tag));
    json!({
        "body": STANDARD.encode(&message.body),
        "content-encoding": message.content_encoding,
        "content-type": message.content_type,
        "headers": message.headers,
        "properties": properties,
    })
    .to_string()
}
