//! Task messages, read: the current protocol (2) and the one before it.

use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::body::{self, BadBody, Body, Embed};
use crate::exception::Exception;
use crate::head::Head;
use crate::message::Message;

/// A task, understood.
#[derive(Clone, Debug)]
pub struct Task {
    /// Who it is, and what is asked for beside its arguments.
    pub head: Arc<Head>,
    /// Its arguments, and what is to follow.
    pub body: Body,
    /// The headers as they came, for sending it again.
    pub headers: Map<String, Value>,
}

/// A message that is no task that could be run.
#[derive(Debug)]
pub struct Unread {
    /// Why, for the log.
    pub why: String,
    /// Who it is, when that much could be read: the sender can be told.
    pub head: Option<Box<Head>>,
    /// What the sender is told.
    pub exception: Exception,
}

/// Reads a message.
pub fn read(message: &Message) -> Result<Task, Box<Unread>> {
    if !message.headers.contains_key("task") {
        return read_old(message);
    }
    let refused = |why: String, exception: Exception| {
        Box::new(Unread {
            why,
            head: Head::at_least(&message.headers, &message.properties).map(Box::new),
            exception,
        })
    };
    let invalid = |why: String| {
        let exception = Exception::invalid_task(&why);
        refused(why, exception)
    };
    let head = Head::of(&message.headers, &message.properties).map_err(|error| invalid(error.to_string()))?;
    let body = Body::of(message).map_err(|error| match error {
        BadBody::NonFinite => refused(
            error.to_string(),
            Exception::builtin("ValueError", &error.to_string()),
        ),
        error => invalid(error.to_string()),
    })?;
    Ok(Task {
        head: Arc::new(head),
        body,
        headers: message.headers.clone(),
    })
}

/// The old protocol has everything in the body, as one map.
fn read_old(message: &Message) -> Result<Task, Box<Unread>> {
    let nameless = |why: String| {
        Box::new(Unread {
            exception: Exception::invalid_task(&why),
            why,
            head: None,
        })
    };
    let text = body::text(message).map_err(|error| nameless(error.to_string()))?;
    let no_task = |_| {
        let why = "neither its headers nor its body name a task";
        match body::because(&text, why.into()) {
            BadBody::Shape(why) => nameless(why),
            error => nameless(error.to_string()),
        }
    };
    let mut fields: Map<String, Value> = serde_json::from_slice(&text).map_err(no_task)?;
    let refused = |why: String, fields: &Map<String, Value>| {
        Box::new(Unread {
            exception: Exception::invalid_task(&why),
            why,
            head: Head::at_least(fields, &message.properties).map(Box::new),
        })
    };
    if let Some(group) = fields.remove("taskset") {
        fields.entry("group").or_insert(group);
    }
    let head = Head::of(&fields, &message.properties).map_err(|error| refused(error.to_string(), &fields))?;
    let raw = |value: &Value| RawValue::from_string(value.to_string());
    let malformed = |error: serde_json::Error| refused(format!("its body cannot be read: {error}"), &fields);
    let args = match fields.get("args") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(items)) => items
            .iter()
            .map(raw)
            .collect::<Result<_, _>>()
            .map_err(malformed)?,
        Some(_) => return Err(refused("its args are not an array".into(), &fields)),
    };
    let kwargs = match fields.get("kwargs") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Object(map)) => map
            .iter()
            .map(|(name, value)| Ok((name.clone(), raw(value)?)))
            .collect::<Result<_, _>>()
            .map_err(malformed)?,
        Some(_) => return Err(refused("its kwargs are not an object".into(), &fields)),
    };
    let list = |name: &str| fields.get(name).and_then(Value::as_array).cloned();
    let embed = Embed {
        callbacks: list("callbacks"),
        errbacks: list("errbacks"),
        chain: None,
        chord: fields.get("chord").filter(|chord| !chord.is_null()).cloned(),
    };
    let mut headers = Map::new();
    for name in ["task", "id", "group", "retries", "eta", "expires", "timelimit"] {
        if let Some(value) = fields.get(name) {
            headers.insert(name.into(), value.clone());
        }
    }
    Ok(Task {
        head: Arc::new(head),
        body: Body {
            args,
            kwargs,
            embed,
            payload: None,
            parcel: None,
        },
        headers,
    })
}
