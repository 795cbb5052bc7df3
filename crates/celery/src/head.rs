//! What a task's headers say. Every one but the task's name and its id may be missing: older producers leave many out.

use cresset_task::Timestamp;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::message::Properties;
use crate::ours;
use crate::time::parse_time;

/// A task's headers, understood.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Head {
    /// Any text: the client may choose it.
    pub id: String,
    /// The task's name.
    pub name: String,
    /// It does not start before.
    pub eta: Option<Timestamp>,
    /// It does not start after, but is revoked.
    pub expires: Option<Timestamp>,
    /// The group that it is part of.
    pub group: Option<String>,
    /// Its place in that group.
    pub group_index: Option<i64>,
    /// How often it has been tried again.
    pub retries: u32,
    /// In seconds; the hard one fails it.
    pub hard_limit: Option<f64>,
    /// The first task of all that led to this one.
    pub root_id: Option<String>,
    /// The task that sent this one.
    pub parent_id: Option<String>,
    /// Its arguments, for people.
    pub argsrepr: String,
    /// Its named arguments, for people.
    pub kwargsrepr: String,
    /// What a scheduler (beat) calls its entry that sent it.
    pub periodic_task_name: Option<String>,
    /// Its result is not wanted; `None`: the task decides.
    pub ignore_result: Option<bool>,
    /// Names of the headers that are stamps.
    pub stamped_headers: Vec<String>,
    /// Their values.
    pub stamps: Map<String, Value>,
    /// Where results go with the RPC backend.
    pub reply_to: Option<String>,
    /// As the broker means it.
    pub priority: i64,
    /// It was delivered before.
    pub redelivered: bool,
    /// How often, where the broker counts that; 0 otherwise.
    pub delivered: u64,
    /// A server of ours has sent it, and reads what comes back as ours.
    pub is_ours: bool,
    /// Which message of its task this is, where it says so: a redelivered one is the same, one that was sent again is another.
    pub copy: Option<String>,
    /// The store where a large result may be left for whoever has sent it.
    pub store: Option<Uuid>,
}

/// A header that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("header `{name}` must be {form}")]
pub(crate) struct BadHeader {
    name: &'static str,
    form: &'static str,
}

fn bad(name: &'static str, form: &'static str) -> BadHeader {
    BadHeader { name, form }
}

const A_TIME: &str = "a time in ISO 8601";

impl Head {
    /// The task's id and name alone, from headers of which others may be wrong.
    pub(crate) fn at_least(headers: &Map<String, Value>, properties: &Properties) -> Option<Self> {
        let text = |name: &str| headers.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            id: text("id").filter(|id| !id.is_empty())?,
            name: text("task").unwrap_or_default(),
            group: text("group"),
            group_index: headers.get("group_index").and_then(Value::as_i64),
            root_id: text("root_id"),
            parent_id: text("parent_id"),
            argsrepr: text("argsrepr").unwrap_or_default(),
            kwargsrepr: text("kwargsrepr").unwrap_or_default(),
            periodic_task_name: text("periodic_task_name"),
            ignore_result: headers.get("ignore_result").and_then(Value::as_bool),
            reply_to: properties.reply_to.clone().filter(|queue| !queue.is_empty()),
            priority: properties.priority.unwrap_or(0),
            redelivered: properties.redelivered,
            delivered: properties.delivered,
            is_ours: ours::is_ours(headers),
            copy: ours::copy(headers),
            store: ours::store(headers),
            ..Self::default()
        })
    }

    /// All of it. `fields` are the headers, or the body's map in the old protocol.
    pub(crate) fn of(fields: &Map<String, Value>, properties: &Properties) -> Result<Self, BadHeader> {
        let head = Self::at_least(fields, properties).ok_or(bad("id", "a text that is not empty"))?;
        if head.name.is_empty() {
            return Err(bad("task", "a task's name"));
        }
        let of = |name: &str| fields.get(name).filter(|value| !value.is_null());
        let time = |name: &'static str| match of(name) {
            None => Ok(None),
            Some(value) => {
                let at = value.as_str().and_then(parse_time);
                at.map(Some).ok_or(bad(name, A_TIME))
            }
        };
        let retries = match of("retries") {
            None => 0,
            Some(value) => {
                let number = value.as_u64().and_then(|n| u32::try_from(n).ok());
                number.ok_or(bad("retries", "a whole number"))?
            }
        };
        let hard_limit = match of("timelimit") {
            None => None,
            Some(Value::Array(limits)) => match limits.first().filter(|limit| !limit.is_null()) {
                None => None,
                Some(limit) => {
                    let seconds = limit.as_f64().filter(|s| *s > 0.0);
                    Some(seconds.ok_or(bad("timelimit", "two numbers of seconds, or null"))?)
                }
            },
            Some(_) => return Err(bad("timelimit", "two numbers of seconds, or null")),
        };
        let stamped = of("stamped_headers").and_then(Value::as_array);
        let stamped = stamped.map(|names| {
            names
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect()
        });
        Ok(Self {
            eta: time("eta")?,
            expires: time("expires")?,
            retries,
            hard_limit,
            stamped_headers: stamped.unwrap_or_default(),
            stamps: of("stamps")
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default(),
            ..head
        })
    }
}
