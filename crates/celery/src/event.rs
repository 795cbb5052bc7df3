//! What a worker tells whoever watches: that it lives, and what becomes of its tasks.

use cresset_task::Timestamp;
use serde_json::{Map, Value, json};

use crate::head::Head;
use crate::time::show_time;

/// How often a worker says that it lives, in seconds.
const HEARTBEAT_SECONDS: f64 = 2.0;

/// Who tells.
#[derive(Clone, Debug)]
pub struct Identity {
    /// `name@host`.
    pub node: String,
    /// Our process id.
    pub pid: u32,
    /// Our version.
    pub version: String,
}

/// An event.
#[derive(Clone, Debug)]
pub enum Event<'a> {
    /// The worker itself.
    Worker {
        /// `online`, `heartbeat` or `offline`.
        what: &'static str,
        /// Tasks that run.
        active: usize,
        /// Tasks done so far.
        processed: u64,
        /// The machine's load.
        load: [f64; 3],
    },
    /// A task.
    Task(&'a Head, TaskEvent<'a>),
}

/// What became of a task.
#[derive(Clone, Debug)]
pub enum TaskEvent<'a> {
    /// It is here.
    Received,
    /// It runs.
    Started,
    /// It has a result, shown so, after so many seconds.
    Succeeded(&'a str, f64),
    /// An exception, shown so, and a traceback.
    Failed(&'a str, &'a str),
    /// The same, but it will be tried again.
    Retried(&'a str, &'a str),
    /// It was refused.
    Rejected,
    /// It will not run, or was stopped.
    Revoked {
        /// While it ran.
        terminated: bool,
        /// It was too late for it.
        expired: bool,
    },
}

impl Event<'_> {
    /// The routing key that such events go by. Task events go several at once.
    #[must_use]
    pub fn routing_key(&self) -> String {
        match self {
            Self::Worker { what, .. } => format!("worker.{what}"),
            Self::Task(..) => "task.multi".into(),
        }
    }

    /// The event as one JSON object.
    #[must_use]
    pub fn to_value(&self, who: &Identity, clock: u64, now: Timestamp) -> Value {
        let mut map = Map::new();
        let mut add = |name: &str, value: Value| drop(map.insert(name.into(), value));
        add("hostname", json!(who.node));
        add("utcoffset", json!(0.0));
        add("pid", json!(who.pid));
        add("clock", json!(clock));
        let type_ = match self {
            Self::Worker {
                what,
                active,
                processed,
                load,
            } => {
                add("freq", json!(HEARTBEAT_SECONDS));
                add("active", json!(active));
                add("processed", json!(processed));
                add("loadavg", json!(load));
                add("sw_ident", json!("cresset"));
                add("sw_ver", json!(who.version));
                add("sw_sys", json!("Linux"));
                format!("worker-{what}")
            }
            Self::Task(head, what) => {
                add("uuid", json!(head.id));
                format!("task-{}", what.put(head, &mut add))
            }
        };
        add("timestamp", json!(now.as_micros() as f64 / 1e6));
        add("type", json!(type_));
        Value::Object(map)
    }
}

impl TaskEvent<'_> {
    fn put(&self, head: &Head, add: &mut impl FnMut(&str, Value)) -> &'static str {
        match self {
            Self::Received => {
                add("name", json!(head.name));
                add("args", json!(head.argsrepr));
                add("kwargs", json!(head.kwargsrepr));
                add("root_id", json!(head.root_id));
                add("parent_id", json!(head.parent_id));
                add("retries", json!(head.retries));
                add("eta", json!(head.eta.map(show_time)));
                add("expires", json!(head.expires.map(show_time)));
                "received"
            }
            Self::Started => "started",
            Self::Succeeded(result, seconds) => {
                add("result", json!(result));
                add("runtime", json!(seconds));
                "succeeded"
            }
            Self::Failed(exception, traceback) => {
                add("exception", json!(exception));
                add("traceback", json!(traceback));
                "failed"
            }
            Self::Retried(exception, traceback) => {
                add("exception", json!(exception));
                add("traceback", json!(traceback));
                "retried"
            }
            Self::Rejected => {
                add("requeue", json!(false));
                "rejected"
            }
            Self::Revoked { terminated, expired } => {
                add("terminated", json!(terminated));
                add("signum", if *terminated { json!(15) } else { Value::Null });
                add("expired", json!(expired));
                "revoked"
            }
        }
    }
}
