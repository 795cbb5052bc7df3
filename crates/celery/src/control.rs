//! Remote control: requests that all workers hear, and a worker's replies.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::body;
use crate::message::{Message, Properties};

/// Ids that one request may name.
const IDS_MAX: usize = 50_000;

/// A request.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// What is to be done.
    pub method: String,
    /// With what.
    pub arguments: Map<String, Value>,
    /// Where the reply goes; nowhere: none is wanted.
    pub target: Option<Target>,
    /// The sender's clock.
    pub clock: u64,
}

/// Where a reply goes.
#[derive(Clone, Debug, PartialEq)]
pub struct Target {
    /// The exchange.
    pub exchange: String,
    /// The routing key.
    pub routing_key: String,
    /// Given back.
    pub ticket: Value,
}

#[derive(Deserialize)]
struct In {
    method: String,
    #[serde(default)]
    arguments: Option<Map<String, Value>>,
    #[serde(default)]
    destination: Option<Vec<String>>,
    #[serde(default)]
    pattern: Option<String>,
    #[serde(default)]
    matcher: Option<String>,
    #[serde(default)]
    ticket: Value,
    #[serde(default)]
    reply_to: Option<Map<String, Value>>,
}

impl Request {
    /// Reads a request; `None` for one that is not for this node, is stale, or is none. `now` is in seconds.
    #[must_use]
    pub fn read(message: &Message, node: &str, now: f64) -> Option<Self> {
        let stale = message.headers.get("expires").and_then(Value::as_f64);
        if stale.is_some_and(|expires| expires < now) {
            return None;
        }
        let read: In = serde_json::from_slice(&body::text(message).ok()?).ok()?;
        let is_for_us = match (read.destination.as_deref(), read.pattern.as_deref()) {
            (Some(nodes @ [_, ..]), _) => nodes.iter().any(|name| name == node),
            (_, Some(pattern)) if read.matcher.as_deref().unwrap_or("glob") == "glob" => glob(pattern, node),
            // A grammar of its own, which hardly anybody uses: whoever asks so is not meant to reach all.
            (_, Some(_)) => false,
            (_, None) => true,
        };
        if !is_for_us {
            return None;
        }
        let target = read.reply_to.and_then(|to| {
            let of = |name: &str| to.get(name).and_then(Value::as_str).map(str::to_owned);
            Some(Target {
                exchange: of("exchange")?,
                routing_key: of("routing_key")?,
                ticket: read.ticket,
            })
        });
        Some(Self {
            method: read.method,
            arguments: read.arguments.unwrap_or_default(),
            target,
            clock: message.headers.get("clock").and_then(Value::as_u64).unwrap_or(0),
        })
    }

    /// The ids under this name: one text, or an array of them.
    #[must_use]
    pub fn ids(&self, name: &str) -> Vec<String> {
        match self.arguments.get(name) {
            Some(Value::String(id)) => vec![id.clone()],
            Some(Value::Array(ids)) => ids
                .iter()
                .filter_map(Value::as_str)
                .take(IDS_MAX)
                .map(str::to_owned)
                .collect(),
            _ => Vec::new(),
        }
    }

    /// A flag under this name; false when it is not there.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        self.arguments.get(name).and_then(Value::as_bool).unwrap_or(false)
    }
}

/// The request that no worker run these tasks, or go on with them if it may end a process for that.
#[must_use]
pub fn revoke(ids: &[&str], terminate: bool) -> Message {
    let body = json!({
        "method": "revoke",
        "arguments": {"task_id": ids, "terminate": terminate, "signal": "SIGTERM"},
        "destination": null,
        "pattern": null,
        "matcher": null,
    });
    Message::json(Map::new(), Properties::default(), body.to_string().into_bytes())
}

/// The message that answers a request.
#[must_use]
pub fn reply(node: &str, value: Value, ticket: &Value, clock: u64) -> Message {
    let body = Value::Object(Map::from_iter([(node.to_owned(), value)]));
    let headers = Map::from_iter([("ticket".into(), ticket.clone()), ("clock".into(), json!(clock))]);
    let properties = Properties {
        delivery_mode: Some(1),
        ..Properties::default()
    };
    Message::json(headers, properties, body.to_string().into_bytes())
}

/// `*` and `?`, as in a shell. Linear in both but for one step back at each star.
fn glob(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) = (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                back = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || text.get(t) == Some(c) => {
                p += 1;
                t += 1;
            }
            _ => match back {
                None => return false,
                Some((star, from)) => {
                    back = Some((star, from + 1));
                    p = star + 1;
                    t = from + 1;
                }
            },
        }
    }
    pattern.get(p..).is_none_or(|rest| rest.iter().all(|c| *c == '*'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: &Value, headers: Value) -> Option<Request> {
        let Value::Object(headers) = headers else { panic!() };
        let message = Message::json(headers, Properties::default(), body.to_string().into_bytes());
        Request::read(&message, "a@b", 100.0)
    }

    #[test]
    fn a_request_is_for_all_or_for_those_it_names() {
        let ping = |rest: Value| {
            let mut body = json!({"method": "ping", "arguments": {}});
            body.as_object_mut()
                .unwrap()
                .extend(rest.as_object().unwrap().clone());
            request(&body, json!({})).is_some()
        };
        assert!(ping(json!({})));
        assert!(ping(json!({"destination": null, "pattern": null})));
        assert!(ping(json!({"destination": []})));
        assert!(ping(json!({"destination": ["a@b"]})));
        assert!(!ping(json!({"destination": ["c@d"]})));
        assert!(ping(json!({"pattern": "a*", "matcher": "glob"})));
        assert!(!ping(json!({"pattern": "c*"})));
        assert!(!ping(json!({"pattern": ".*", "matcher": "pcre"})));
        assert!(request(&json!({"method": "ping"}), json!({"expires": 99.0})).is_none());
        assert!(request(&json!([1]), json!({})).is_none());
    }

    #[test]
    fn what_is_revoked_here_is_understood_here() {
        let request = Request::read(&revoke(&["a", "b"], true), "a@b", 100.0).unwrap();
        assert_eq!(
            (request.method.as_str(), request.ids("task_id")),
            ("revoke", vec!["a".into(), "b".into()])
        );
        assert!(request.flag("terminate") && request.target.is_none());
    }

    #[test]
    fn globs_match_as_in_a_shell() {
        for (pattern, text, is) in [
            ("*", "", true),
            ("a?c*", "abcd", true),
            ("*b*d", "abcbd", true),
            ("*b", "abc", false),
            ("", "a", false),
            ("a", "", false),
        ] {
            assert_eq!(glob(pattern, text), is, "{pattern} {text}");
        }
    }
}
