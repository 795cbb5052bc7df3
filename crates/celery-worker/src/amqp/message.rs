//! Messages as AMQP carries them: the headers in a table, everything else in properties of their own, the body as it is.

use cresset_celery::{Message, Properties};
use lapin::BasicProperties;
use lapin::types::ShortString;
use serde_json::{Map, Value};

use super::table;

/// Headers larger than this do not go: a message's headers must fit into one frame, and a broker ends the connection of whoever
/// sends a larger one. Its own default is 128 KiB for a frame.
const HEADERS_MAX: usize = 120 * 1024;
/// Set by quorum queues: how often a message was delivered before.
const DELIVERY_COUNT: &str = "x-delivery-count";
/// How all of these begin.
const BROKERS_PREFIX: &str = "x-";
/// What a broker writes into the headers of a message that has been through a queue: not the sender's.
const BROKERS_OWN: [&str; 9] = [
    DELIVERY_COUNT,
    "x-acquired-count",
    "x-death",
    "x-first-death-exchange",
    "x-first-death-queue",
    "x-first-death-reason",
    "x-last-death-exchange",
    "x-last-death-queue",
    "x-last-death-reason",
];

/// A delivered message.
pub(super) fn read(given: &BasicProperties, body: Vec<u8>, redelivered: bool) -> Message {
    let text = |value: &Option<ShortString>| value.as_ref().map(|text| text.as_str().to_owned());
    let mut headers = given.headers().as_ref().map(table::to_json).unwrap_or_default();
    let delivered = headers.get(DELIVERY_COUNT).and_then(Value::as_u64).unwrap_or(0);
    headers.retain(|name, _| !(name.starts_with(BROKERS_PREFIX) && BROKERS_OWN.contains(&name.as_str())));
    let properties = Properties {
        correlation_id: text(given.correlation_id()),
        reply_to: text(given.reply_to()),
        priority: given.priority().map(i64::from),
        delivery_mode: given.delivery_mode().map(i64::from),
        redelivered: redelivered || delivered > 0,
        delivered,
    };
    Message {
        headers,
        properties,
        content_type: text(given.content_type()).unwrap_or_default(),
        content_encoding: text(given.content_encoding()).unwrap_or_default(),
        body,
    }
}

/// The properties of a message to send; or why it cannot be sent.
pub(super) fn write(message: &Message) -> Result<BasicProperties, String> {
    let of = &message.properties;
    let short = |name: &str, text: &str| {
        ShortString::try_new(text).map_err(|error| format!("its {name} cannot be sent: {error}"))
    };
    let size = size(&message.headers);
    if size > HEADERS_MAX {
        return Err(format!(
            "its headers must be at most {HEADERS_MAX} bytes, are {size}: a broker takes no larger ones"
        ));
    }
    let mut properties = BasicProperties::default()
        .with_content_type(short("content type", &message.content_type)?)
        .with_content_encoding(short("content encoding", &message.content_encoding)?)
        .with_headers(table::of_json(&message.headers)?)
        .with_delivery_mode(
            of.delivery_mode
                .and_then(|mode| u8::try_from(mode).ok())
                .unwrap_or(2),
        )
        .with_priority(of.priority.unwrap_or(0).clamp(0, 255) as u8);
    if let Some(id) = &of.correlation_id {
        properties = properties.with_correlation_id(short("id", id)?);
    }
    if let Some(queue) = &of.reply_to {
        properties = properties.with_reply_to(short("reply queue", queue)?);
    }
    Ok(properties)
}

/// About what headers take in a frame; never less.
fn size(headers: &Map<String, Value>) -> usize {
    fn one(value: &Value) -> usize {
        9 + match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(one).sum(),
            Value::Object(map) => size(map),
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
    }
    headers
        .iter()
        .map(|(name, value)| 1 + name.len() + one(value))
        .sum()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_message_survives_both_ways() {
        let properties = Properties {
            correlation_id: Some("any/id é".into()),
            reply_to: Some("queue".into()),
            priority: Some(7),
            delivery_mode: Some(1),
            ..Properties::default()
        };
        let headers = Map::from_iter([("task".into(), json!("a.b"))]);
        let message = Message::json(headers, properties, b"[]".to_vec());
        let sent = write(&message).unwrap();
        assert_eq!(read(&sent, b"[]".to_vec(), false), message);
        assert!(read(&sent, Vec::new(), true).properties.redelivered);
    }

    #[test]
    fn what_a_broker_wrote_is_not_the_senders() {
        let headers = json!({"task": "a", "x-delivery-count": 3, "x-death": [{"count": 1}], "x-mine": 1});
        let Value::Object(headers) = headers else { panic!() };
        let sent = write(&Message::json(headers, Properties::default(), Vec::new())).unwrap();
        let message = read(&sent, Vec::new(), false);
        assert_eq!(
            (message.properties.delivered, message.properties.redelivered),
            (3, true)
        );
        assert_eq!(Value::Object(message.headers), json!({"task": "a", "x-mine": 1}));
    }

    #[test]
    fn what_would_end_the_connection_is_not_sent() {
        let large = Map::from_iter([("h".into(), json!("x".repeat(HEADERS_MAX)))]);
        assert!(
            write(&Message::json(large, Properties::default(), Vec::new()))
                .unwrap_err()
                .contains("headers")
        );
        let properties = Properties {
            correlation_id: Some("i".repeat(256)),
            ..Properties::default()
        };
        assert!(
            write(&Message::json(Map::new(), properties, Vec::new()))
                .unwrap_err()
                .contains("id")
        );
    }
}
