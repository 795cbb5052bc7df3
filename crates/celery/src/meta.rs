//! A task's state and result, as Celery's result backends hold them.

use cresset_task::Timestamp;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::exception::Exception;
use crate::head::Head;
use crate::message::{Message, Properties};
use crate::ours;
use crate::parcel::Parcel;
use crate::time::show_time;

/// A state. That a task is pending is said by nothing being stored.
#[derive(Clone, Debug)]
pub enum Status {
    /// It runs, in this process of this node.
    Started {
        /// Our process id.
        pid: u32,
        /// Our name.
        node: String,
    },
    /// It has a result, as JSON text.
    Success(Box<RawValue>),
    /// The same of tensors, for a server of ours: as [`crate::write_tensors`] has written it.
    Tensors(Vec<u8>),
    /// The same of any result: it is in a store that both have.
    Parcel(Parcel),
    /// It will be tried again.
    Retry(Exception, String),
    /// It failed, with this traceback.
    Failure(Exception, String),
    /// It was revoked, or expired.
    Revoked(Exception),
}

impl Status {
    /// Celery's name.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Started { .. } => "STARTED",
            Self::Success(_) | Self::Tensors(_) | Self::Parcel(_) => "SUCCESS",
            Self::Retry(..) => "RETRY",
            Self::Failure(..) => "FAILURE",
            Self::Revoked(_) => "REVOKED",
        }
    }

    /// Nothing comes after it.
    #[must_use]
    pub const fn is_end(&self) -> bool {
        !matches!(self, Self::Started { .. } | Self::Retry(..))
    }

    /// The exception, of one that has one.
    #[must_use]
    pub const fn exception(&self) -> Option<&Exception> {
        match self {
            Self::Retry(exception, _) | Self::Failure(exception, _) | Self::Revoked(exception) => {
                Some(exception)
            }
            Self::Started { .. } | Self::Success(_) | Self::Tensors(_) | Self::Parcel(_) => None,
        }
    }

    /// The result or exception as JSON text.
    #[must_use]
    pub fn result(&self) -> String {
        match self {
            Self::Success(result) => result.get().to_owned(),
            Self::Tensors(_) | Self::Parcel(_) => "null".into(),
            Self::Started { pid, node } => json!({"pid": pid, "hostname": node}).to_string(),
            Self::Retry(exception, _) | Self::Failure(exception, _) | Self::Revoked(exception) => {
                exception.to_value().to_string()
            }
        }
    }
}

/// What is written of a task.
#[derive(Clone, Debug)]
pub struct Meta<'a> {
    /// Whose it is.
    pub head: &'a Head,
    /// Its state.
    pub status: &'a Status,
    /// The tasks that it started, as Celery tells of them.
    pub children: &'a [Value],
    /// When it ended, if it has.
    pub done: Option<Timestamp>,
    /// More about the task (`result_extended`): our name, and the queue it came by.
    pub extended: Option<(&'a str, &'a str)>,
}

impl Meta<'_> {
    /// As it is stored under a key.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        match self.status {
            Status::Tensors(bytes) => bytes.clone(),
            _ => self.text().into_bytes(),
        }
    }

    /// As a message.
    #[must_use]
    pub fn message(&self, properties: Properties) -> Message {
        let message = Message::json(Default::default(), properties, self.bytes());
        match self.status {
            Status::Tensors(_) => Message {
                content_type: ours::RESULT.into(),
                content_encoding: "binary".into(),
                ..message
            },
            _ => message,
        }
    }

    /// The JSON text.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { head, status, .. } = self;
        let traceback = match status {
            Status::Retry(_, text) | Status::Failure(_, text) => json!(text),
            _ => Value::Null,
        };
        let mut out = format!(
            "{{\"status\": \"{}\", \"result\": {}, \"traceback\": {traceback}, \"children\": {}, \"date_done\": {}",
            status.name(),
            status.result(),
            Value::Array(self.children.to_vec()),
            json!(self.done.map(show_time)),
        );
        let mut add = |name: &str, value: Value| out.push_str(&format!(", {}: {value}", json!(name)));
        if let Some(group) = &head.group {
            add("group_id", json!(group));
        }
        if let Some(parent) = &head.parent_id {
            add("parent_id", json!(parent));
        }
        if let Some((node, queue)) = self.extended {
            add("name", json!(head.name));
            add("args", json!(head.argsrepr));
            add("kwargs", json!(head.kwargsrepr));
            add("worker", json!(node));
            add("retries", json!(head.retries));
            add("queue", json!(queue));
            if !head.stamped_headers.is_empty() {
                add("stamped_headers", json!(head.stamped_headers));
                for (name, value) in &head.stamps {
                    add(name, value.clone());
                }
            }
        }
        if let Some(own) = status.exception().and_then(|exception| exception.own.as_ref()) {
            add(ours::HEADER, json!(own));
        }
        if let Status::Parcel(parcel) = status {
            add(ours::RESULT_PARCEL, json!(parcel));
        }
        add("task_id", json!(head.id));
        out.push('}');
        out
    }
}
