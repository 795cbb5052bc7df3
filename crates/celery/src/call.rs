//! A task of ours for Celery workers: the message that `apply_async` would send.

use cresset_task::{Timestamp, Trace};
use serde_json::{Map, Value, json};

use crate::message::{Message, Properties};
use crate::python::{cut, repr, repr_args};
use crate::time::show_time;

/// Longer inputs are not shown to people.
const SHOWN_MAX: usize = 1024;

/// A task to be sent.
#[derive(Clone, Debug)]
pub struct Call<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its name.
    pub task: &'a str,
    /// Who sends it, for people.
    pub origin: &'a str,
    /// The queue that its result goes to, with the RPC backend.
    pub reply_to: Option<&'a str>,
    /// As the broker means it.
    pub priority: i64,
    /// The hard and the soft limit of time, in seconds; without them the worker takes the task's own.
    pub limits: [Option<f64>; 2],
    /// It does not start after.
    pub expires: Timestamp,
    /// Where it is in its caller's trace.
    pub trace: Option<&'a Trace>,
    /// The input is the only argument, whatever it is.
    pub is_one: bool,
}

impl Call<'_> {
    /// The message; `input` is JSON text.
    #[must_use]
    pub fn message(&self, input: &str) -> Message {
        let input = input.trim();
        let (args, kwargs) = match input.as_bytes().first() {
            Some(b'{') if !self.is_one => ("[]".to_owned(), input),
            Some(b'[') if !self.is_one => (input.to_owned(), "{}"),
            _ => (format!("[{input}]"), "{}"),
        };
        let body = format!(
            r#"[{args}, {kwargs}, {{"callbacks": null, "errbacks": null, "chain": null, "chord": null}}]"#
        );
        let properties = Properties {
            correlation_id: Some(self.id.to_owned()),
            reply_to: self.reply_to.map(str::to_owned),
            priority: Some(self.priority),
            delivery_mode: Some(2),
            redelivered: false,
            delivered: 0,
        };
        Message::json(self.headers(&args, kwargs), properties, body.into_bytes())
    }

    fn headers(&self, args: &str, kwargs: &str) -> Map<String, Value> {
        let mut headers = Map::new();
        let mut add = |name: &str, value: Value| drop(headers.insert(name.into(), value));
        if let Some(trace) = self.trace {
            add("traceparent", json!(trace.traceparent()));
            if let Some(state) = &trace.state {
                add("tracestate", json!(state));
            }
        }
        add("lang", json!("py"));
        add("task", json!(self.task));
        add("id", json!(self.id));
        add("shadow", Value::Null);
        add("eta", Value::Null);
        add("expires", json!(show_time(self.expires)));
        add("group", Value::Null);
        add("group_index", Value::Null);
        add("retries", json!(0));
        add("timelimit", json!(self.limits));
        add("root_id", json!(self.id));
        add("parent_id", Value::Null);
        add("argsrepr", json!(shown_args(args)));
        add("kwargsrepr", json!(shown_kwargs(kwargs)));
        add("origin", json!(self.origin));
        // A task that keeps its results to itself is asked for this one.
        add("ignore_result", json!(false));
        add("replaced_task_nesting", json!(0));
        add("stamped_headers", Value::Null);
        add("stamps", json!({}));
        headers
    }
}

fn read(text: &str) -> Option<Value> {
    (text.len() <= SHOWN_MAX).then_some(())?;
    serde_json::from_str(text).ok()
}

fn shown_args(args: &str) -> String {
    match read(args) {
        Some(Value::Array(args)) => repr_args(&args.iter().map(Value::to_string).collect::<Vec<_>>()),
        _ => "(...)".into(),
    }
}

fn shown_kwargs(kwargs: &str) -> String {
    read(kwargs).map_or_else(|| "{...}".into(), |kwargs| cut(repr(&kwargs)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read::read as read_task;

    fn call() -> Call<'static> {
        Call {
            id: "0199",
            task: "shop.tasks.resize",
            origin: "cresset@host",
            reply_to: None,
            priority: 3,
            limits: [Some(60.0), None],
            expires: Timestamp::from_micros(0),
            trace: None,
            is_one: false,
        }
    }

    /// The arguments that a worker would see.
    fn arguments(call: &Call<'_>, input: &str) -> (Vec<String>, Vec<(String, String)>) {
        let body = read_task(&call.message(input)).unwrap().body;
        let args = body.args.iter().map(|arg| arg.get().to_owned()).collect();
        let kwargs = body.kwargs.into_iter();
        (
            args,
            kwargs
                .map(|(name, value)| (name, value.get().to_owned()))
                .collect(),
        )
    }

    #[test]
    fn an_input_becomes_arguments() {
        let named = vec![("url".to_owned(), "\"a\"".to_owned())];
        assert_eq!(arguments(&call(), r#" {"url": "a"}"#), (vec![], named));
        assert_eq!(arguments(&call(), "[1.50, [2]]").0, ["1.50", "[2]"]);
        assert_eq!(arguments(&call(), "\"a\"").0, ["\"a\""]);
        assert_eq!(arguments(&call(), "null").0, ["null"]);
        let one = Call {
            is_one: true,
            ..call()
        };
        assert_eq!(
            arguments(&one, r#"{"url": "a"}"#),
            (vec![r#"{"url": "a"}"#.to_owned()], vec![])
        );
        assert_eq!(arguments(&one, "[1]").0, ["[1]"]);
    }

    #[test]
    fn the_head_says_what_a_worker_must_know() {
        let trace = Trace::read(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        let call = Call {
            trace: trace.as_ref(),
            reply_to: Some("replies"),
            ..call()
        };
        let message = call.message(r#"{"url": "a", "big": true}"#);
        let task = read_task(&message).unwrap();
        assert_eq!(
            (task.head.id.as_str(), task.head.name.as_str()),
            ("0199", "shop.tasks.resize")
        );
        assert_eq!((task.head.hard_limit, task.head.priority), (Some(60.0), 3));
        assert_eq!(
            (task.head.ignore_result, task.head.reply_to.as_deref()),
            (Some(false), Some("replies"))
        );
        assert_eq!(task.head.expires, Some(Timestamp::from_micros(0)));
        assert_eq!(
            message.headers["traceparent"],
            trace.as_ref().unwrap().traceparent()
        );
        assert_eq!(message.headers["kwargsrepr"], "{'url': 'a', 'big': True}");
        let large = call.message(&format!("[\"{}\"]", "x".repeat(SHOWN_MAX)));
        assert_eq!(large.headers["argsrepr"], "(...)");
    }
}
