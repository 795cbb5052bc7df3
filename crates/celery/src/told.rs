//! What a Celery worker says of a task of ours: states and results, as its result backend keeps or sends them.

use cresset_task::{Code, Failure, TensorSet};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::body::{self, BODY_BYTES_MAX, BadBody};
use crate::exception::Exception;
use crate::message::{JSON, MSGPACK, Message};
use crate::ours::{self, Own};
use crate::parcel::Parcel;

/// Longer texts of foreign code are cut: the bounds of a model's own failures.
const TYPE_MAX: usize = 256;
const MESSAGE_MAX: usize = 8 * 1024;
const TRACEBACK_MAX: usize = 32 * 1024;
/// Of what a task says of its progress.
const PROGRESS_MAX: usize = 1024;

/// What is said of a task.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// Its result, as JSON text.
    Success(String),
    /// Its result, of a server of ours.
    Tensors(TensorSet),
    /// The same of any result, which is in a store that both have.
    Parcel(Parcel),
    /// It will not have one.
    Failure(Failure),
    /// It goes on: how far it has come, from 0 to 1, and in words.
    Going(f64, Option<String>),
}

impl Told {
    /// Nothing comes after it.
    #[must_use]
    pub const fn is_end(&self) -> bool {
        !matches!(self, Self::Going(..))
    }
}

#[derive(Deserialize)]
struct Meta<'a> {
    status: String,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
    #[serde(default)]
    traceback: Option<Value>,
    #[serde(default)]
    task_id: Option<Value>,
    #[serde(default)]
    cresset: Option<Own>,
    #[serde(default)]
    cresset_parcel: Option<Parcel>,
}

/// Reads a stored state: the bytes do not say how they were serialized, but each way begins in its own.
#[must_use]
pub fn read_stored(bytes: &[u8]) -> Told {
    read_published(bytes).1
}

/// The same, and whose state it is, if it says so.
#[must_use]
pub fn read_published(bytes: &[u8]) -> (Option<String>, Told) {
    let content_type = match bytes {
        [b'{', ..] => JSON,
        [ours::MARK, ..] => ours::RESULT,
        [0x80, 2..=5, ..] => "application/x-python-serialize",
        [0x81..=0x8f | 0xde | 0xdf, ..] => MSGPACK,
        _ => "unknown",
    };
    let message = Message {
        content_type: content_type.into(),
        body: bytes.to_vec(),
        ..Message::default()
    };
    read_sent(&message)
}

/// Reads a state that was sent as a message, and whose it is.
#[must_use]
pub fn read_sent(message: &Message) -> (Option<String>, Told) {
    let named = message.properties.correlation_id.clone();
    if message.content_type == ours::RESULT {
        let (id, read) = ours::read_tensors(&message.body);
        let told = read.map_or_else(|why| Told::Failure(no_result(why)), Told::Tensors);
        return (named.or(id), told);
    }
    let text = match body::text(message) {
        Ok(text) => text,
        Err(error) => return (named, Told::Failure(unreadable(&error))),
    };
    let meta: Meta<'_> = match serde_json::from_slice(&text) {
        Ok(meta) => meta,
        Err(error) => {
            let failure = match body::because(&text, format!("it is none of Celery's: {error}")) {
                BadBody::Shape(why) => no_result(why),
                error => unreadable(&error),
            };
            return (named, Told::Failure(failure));
        }
    };
    let id = meta.task_id.as_ref().and_then(Value::as_str).map(str::to_owned);
    let told = match meta.cresset.clone().filter(|_| meta.status == "FAILURE") {
        Some(own) => Told::Failure(own.into_failure()),
        None => match meta.cresset_parcel.clone().filter(|_| meta.status == "SUCCESS") {
            Some(parcel) => Told::Parcel(parcel),
            None => meta.told(),
        },
    };
    (named.or(id), told)
}

fn unreadable(error: &BadBody) -> Failure {
    no_result(match error {
        BadBody::Pickle => "it is pickled, and a pickle is never loaded: set result_serializer = \"json\" (or \"msgpack\") in \
                            the application of the Celery workers"
            .into(),
        BadBody::ContentType(_) => {
            "it is serialized in a way that is not read here: set result_serializer = \"json\" (or \"msgpack\") in the application \
             of the Celery workers"
                .into()
        }
        BadBody::TooLarge => format!("it has more than {BODY_BYTES_MAX} bytes"),
        error => error.to_string(),
    })
}

fn no_result(why: String) -> Failure {
    failure(
        Code::BadOutput,
        "BadOutput",
        format!("the result from Celery cannot be read: {why}"),
    )
}

fn failure(code: Code, type_: &str, message: String) -> Failure {
    Failure {
        code,
        type_: cut(type_, TYPE_MAX),
        message: cut(&message, MESSAGE_MAX),
        traceback: None,
        stage: None,
        again: Default::default(),
    }
}

fn cut(text: &str, max: usize) -> String {
    match text.len() <= max {
        true => text.to_owned(),
        false => format!(
            "{}...",
            text.get(..text.floor_char_boundary(max)).unwrap_or_default()
        ),
    }
}

impl Meta<'_> {
    fn value(&self) -> Value {
        let read = self.result.map(|raw| serde_json::from_str(raw.get()));
        read.and_then(Result::ok).unwrap_or_default()
    }

    fn told(&self) -> Told {
        match self.status.as_str() {
            "SUCCESS" => Told::Success(self.result.map_or("null", RawValue::get).to_owned()),
            "FAILURE" => Told::Failure(self.failed()),
            "REVOKED" => Told::Failure(self.revoked()),
            "STARTED" => Told::Going(
                0.0,
                self.value().get("hostname").and_then(Value::as_str).map(started),
            ),
            "RETRY" => Told::Going(0.0, Some("will be tried again by its worker".into())),
            // A state of the task's own, from `update_state`.
            _ => self.progress(),
        }
    }

    fn traceback(&self) -> Option<String> {
        self.traceback.as_ref().and_then(Value::as_str).map(|text| {
            // The end of it says most.
            let from = text.ceil_char_boundary(text.len().saturating_sub(TRACEBACK_MAX));
            text.get(from..).unwrap_or_default().to_owned()
        })
    }

    fn failed(&self) -> Failure {
        let exception = Exception::of_stored(&self.value());
        let code = match exception.type_.as_str() {
            "TimeLimitExceeded" => Code::TimeLimit,
            "SoftTimeLimitExceeded" => Code::SoftTimeout,
            "WorkerLostError" => Code::InstanceDied,
            _ => Code::ModelError,
        };
        Failure {
            traceback: self.traceback(),
            ..failure(code, &exception.dotted(), exception.message())
        }
    }

    /// Not by us: who revokes here is told so at once.
    fn revoked(&self) -> Failure {
        let why = Exception::of_stored(&self.value()).message();
        failure(
            Code::Revoked,
            "TaskRevokedError",
            format!("it was revoked at the Celery workers ({why})"),
        )
    }

    /// `update_state(state="PROGRESS", meta={"current": 3, "total": 10})`, as Celery's own documentation has it.
    fn progress(&self) -> Told {
        let value = self.value();
        let number = |name: &str| value.get(name).and_then(Value::as_f64);
        let fraction = match (number("current"), number("total")) {
            (Some(current), Some(total)) if total > 0.0 => (current / total).clamp(0.0, 1.0),
            _ => 0.0,
        };
        let words = ["message", "status"]
            .iter()
            .find_map(|name| value.get(name)?.as_str());
        Told::Going(fraction, Some(cut(words.unwrap_or(&self.status), PROGRESS_MAX)))
    }
}

fn started(node: &str) -> String {
    cut(&format!("started by {node}"), PROGRESS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(text: &str) -> Failure {
        match read_stored(text.as_bytes()) {
            Told::Failure(failure) => failure,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_result_stays_as_it_was_written() {
        let told = read_stored(
            br#"{"status": "SUCCESS", "result": [1.50, {"a": "\u00e9"}], "traceback": null, "children": []}"#,
        );
        assert_eq!(told, Told::Success(r#"[1.50, {"a": "\u00e9"}]"#.into()));
        assert_eq!(
            read_stored(br#"{"status": "SUCCESS", "result": null}"#),
            Told::Success("null".into())
        );
    }

    #[test]
    fn a_failure_has_its_class_and_its_message() {
        let own = failed(
            r#"{"status": "FAILURE", "result": {"exc_type": "Busy", "exc_message": ["later"], "exc_module": "shop.errors"}, "traceback": "tb"}"#,
        );
        assert_eq!(
            (own.type_.as_str(), own.message.as_str()),
            ("shop.errors.Busy", "later")
        );
        assert_eq!(
            (own.code, own.traceback.as_deref()),
            (Code::ModelError, Some("tb"))
        );
        let of = |type_: &str, args: &str, module: &str| {
            failed(&format!(
                r#"{{"status": "FAILURE", "result": {{"exc_type": "{type_}", "exc_message": {args}, "exc_module": "{module}"}}}}"#
            ))
        };
        assert_eq!(
            of("ValueError", "[\"boom\", 2]", "builtins").message,
            "('boom', 2)"
        );
        assert_eq!(of("ValueError", "[]", "builtins").type_, "ValueError");
        assert_eq!(of("ValueError", "\"text\"", "__main__").message, "text");
        assert_eq!(
            of("TimeLimitExceeded", "[1]", "billiard.exceptions").code,
            Code::TimeLimit
        );
        assert_eq!(
            of("WorkerLostError", "[\"9\"]", "billiard.exceptions").code,
            Code::InstanceDied
        );
        assert_eq!(failed(r#"{"status": "FAILURE", "result": 1}"#).type_, "Exception");
        assert_eq!(
            of("E", &format!("[\"{}\"]", "é".repeat(9000)), "m").message.len(),
            MESSAGE_MAX + 3
        );
    }

    #[test]
    fn who_goes_on_says_how_far() {
        let going = |text: &str| read_stored(text.as_bytes());
        assert_eq!(
            going(r#"{"status": "STARTED", "result": {"pid": 1, "hostname": "celery@a"}}"#),
            Told::Going(0.0, Some("started by celery@a".into()))
        );
        assert_eq!(
            going(r#"{"status": "PROGRESS", "result": {"current": 3, "total": 4}}"#),
            Told::Going(0.75, Some("PROGRESS".into()))
        );
        assert!(matches!(
            going(r#"{"status": "RETRY", "result": {}}"#),
            Told::Going(..)
        ));
        assert_eq!(
            failed(r#"{"status": "REVOKED", "result": null}"#).code,
            Code::Revoked
        );
    }

    #[test]
    fn what_cannot_be_read_is_a_failure_in_words() {
        let why = |bytes: &[u8]| match read_stored(bytes) {
            Told::Failure(failure) => failure.message,
            other => panic!("{other:?}"),
        };
        assert!(why(b"\x80\x04\x95\x00").contains("pickle"));
        assert!(why(b"status: SUCCESS").contains("result_serializer"));
        assert!(why(br#"{"status": "SUCCESS", "result": NaN}"#).contains("NaN"));
        assert!(why(br#"{"result": 1}"#).contains("status"));
        assert!(why("{".repeat(500).as_bytes()).contains("deeper"));
    }
}
