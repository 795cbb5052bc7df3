//! What servers of Cresset say to each other in Celery's messages. A task of theirs is one of Celery's protocol but for its body, which is
//! the input as a store keeps it: nobody has to write tensors as text. A result of tensors is such bytes, too, behind a mark of their own; any
//! other result, and every failure, is written as for all the world, with what Celery has no words for beside it. What is too large for a
//! message is in a store that both have, and the message says where ([`Parcel`]).

use std::time::Duration;

use bytes::Bytes;
use cresset_task::{Again, Evidence, Failure, Payload, TensorSet, Trace, TraceState};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::body::{BODY_BYTES_MAX, BadBody, check_json};
use crate::message::{Message, Properties};
use crate::parcel::Parcel;

/// The header of such a task.
pub(crate) const HEADER: &str = "cresset";
/// The header by which two messages of one task are told apart.
const COPY: &str = "cresset_copy";
/// The header by which a server says which store it has, where large results may be left for it.
const STORE: &str = "cresset_store";
/// Where a result is that is not in its message: beside what Celery says of a success.
pub(crate) const RESULT_PARCEL: &str = "cresset_parcel";
/// What it says: how the rest is to be read.
const FORM: u64 = 1;
/// The content types of inputs.
const JSON_INPUT: &str = "application/x-cresset-json";
const TENSORS_INPUT: &str = "application/x-cresset-tensors";
/// The content type of a message that says where its input is.
const PARCEL_INPUT: &str = "application/x-cresset-parcel";
/// The content type of a result of tensors.
pub(crate) const RESULT: &str = "application/x-cresset-result";
/// What such a result begins with: a byte that no JSON, no msgpack and no pickle begins with.
pub(crate) const MARK: u8 = 0xc1;

/// A task for a server of ours.
#[derive(Clone, Debug)]
pub struct Sending<'a> {
    /// Its id.
    pub id: &'a str,
    /// Its name.
    pub task: &'a str,
    /// The queue or the channel that its result goes to.
    pub reply_to: &'a str,
    /// As the broker means it.
    pub priority: i64,
    /// Another one for each message: a task may be sent more than once.
    pub copy: &'a str,
    /// Where it is in its caller's trace.
    pub trace: Option<&'a Trace>,
    /// The store where a large result may be left.
    pub store: Option<Uuid>,
}

/// What a message brings.
#[derive(Clone, Copy, Debug)]
pub enum Cargo<'a> {
    /// The input itself.
    Payload(&'a Payload),
    /// Where it is.
    Parcel(&'a Parcel),
}

impl Sending<'_> {
    /// The message.
    #[must_use]
    pub fn message(&self, input: Cargo<'_>) -> Message {
        let mut headers = Map::new();
        let mut add = |name: &str, value: Value| drop(headers.insert(name.into(), value));
        add(HEADER, json!(FORM));
        add("lang", json!("py"));
        add("task", json!(self.task));
        add("id", json!(self.id));
        add("retries", json!(0));
        add(COPY, json!(self.copy));
        if let Some(store) = self.store {
            add(STORE, json!(store));
        }
        if let Some(trace) = self.trace {
            add("traceparent", json!(trace.traceparent()));
            if let Some(state) = &trace.state {
                add("tracestate", json!(state));
            }
        }
        let (content_type, content_encoding, body) = match input {
            Cargo::Payload(payload @ Payload::Json(_)) => (JSON_INPUT, "utf-8", payload.encode().to_vec()),
            Cargo::Payload(payload @ Payload::Tensors(_)) => {
                (TENSORS_INPUT, "binary", payload.encode().to_vec())
            }
            Cargo::Parcel(parcel) => (PARCEL_INPUT, "utf-8", json!(parcel).to_string().into_bytes()),
        };
        Message {
            headers,
            properties: Properties {
                correlation_id: Some(self.id.to_owned()),
                reply_to: Some(self.reply_to.to_owned()),
                priority: Some(self.priority),
                delivery_mode: Some(2),
                redelivered: false,
                delivered: 0,
            },
            content_type: content_type.into(),
            content_encoding: content_encoding.into(),
            body,
        }
    }
}

/// The trace that a message names, if it names one.
#[must_use]
pub fn trace_of(headers: &Map<String, Value>) -> Option<Trace> {
    let text = |name: &str| headers.get(name).and_then(Value::as_str);
    let mut trace = Trace::read(text("traceparent")?.as_bytes())?;
    trace.state = text("tracestate").and_then(|state| TraceState::read([state.as_bytes()]));
    Some(trace)
}

/// Whether these headers are those of such a task.
pub(crate) fn is_ours(headers: &Map<String, Value>) -> bool {
    headers.get(HEADER).and_then(Value::as_u64) == Some(FORM)
}

/// Which message of its task it is, if it says so.
pub(crate) fn copy(headers: &Map<String, Value>) -> Option<String> {
    headers.get(COPY).and_then(Value::as_str).map(str::to_owned)
}

/// The store where a large result may be left, if it names one.
pub(crate) fn store(headers: &Map<String, Value>) -> Option<Uuid> {
    headers.get(STORE).and_then(Value::as_str)?.parse().ok()
}

/// Where the input of such a task is, if it is not in the message.
pub(crate) fn parcel(message: &Message) -> Result<Option<Parcel>, BadBody> {
    if message.content_type != PARCEL_INPUT {
        return Ok(None);
    }
    let read = serde_json::from_slice(&message.body);
    read.map(Some)
        .map_err(|error| BadBody::Malformed(format!("it does not say where the input is: {error}")))
}

/// The input of such a task; none of any other.
pub(crate) fn input(message: &Message) -> Result<Option<Payload>, BadBody> {
    let kind = match message.content_type.as_str() {
        JSON_INPUT => 0,
        TENSORS_INPUT => 1,
        _ => return Ok(None),
    };
    if message.body.len() > BODY_BYTES_MAX {
        return Err(BadBody::TooLarge);
    }
    if kind == 0 {
        check_json(&message.body)?;
    }
    let read = Payload::decode(kind, &Bytes::copy_from_slice(&message.body));
    read.map(Some)
        .map_err(|error| BadBody::Malformed(error.to_string()))
}

/// A result of tensors, and whose it is.
#[must_use]
pub fn write_tensors(id: &str, set: &TensorSet) -> Vec<u8> {
    let encoded = set.encode();
    let mut out = Vec::with_capacity(2 + id.len() + encoded.len());
    out.push(MARK);
    out.push(u8::try_from(id.len()).unwrap_or(u8::MAX));
    out.extend(id.bytes().take(u8::MAX.into()));
    out.extend_from_slice(&encoded);
    out
}

/// Whether what is stored of a task is such a result.
#[must_use]
pub fn is_tensors(bytes: &[u8]) -> bool {
    bytes.first() == Some(&MARK)
}

/// Such a result, read; or why it cannot be.
pub(crate) fn read_tensors(bytes: &[u8]) -> (Option<String>, Result<TensorSet, String>) {
    let parts = (|| {
        let (mark, rest) = bytes.split_first()?;
        let (length, rest) = rest.split_first()?;
        let (id, set) = rest.split_at_checked((*length).into())?;
        (*mark == MARK).then_some((id, set))
    })();
    let Some((id, set)) = parts else {
        return (None, Err("it ends before its tensors".into()));
    };
    let id = String::from_utf8_lossy(id).into_owned();
    let read = TensorSet::decode(&Bytes::copy_from_slice(set)).map_err(|error| error.to_string());
    (Some(id), read)
}

/// A failure as it is here, beside what Celery makes of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Own {
    failure: Failure,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    again: Option<OwnAgain>,
    /// How its input took its process down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dead: Option<Box<Evidence>>,
}

/// What its model says of another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum OwnAgain {
    Never,
    Wanted,
    WantedAfterMicros(u64),
}

impl Own {
    pub(crate) fn of(failure: &Failure) -> Self {
        let (mut again, mut dead) = (None, None);
        match &failure.again {
            Again::Policy => {}
            Again::Never => again = Some(OwnAgain::Never),
            Again::Dead(evidence) => dead = Some(evidence.clone()),
            Again::Wanted(None) => again = Some(OwnAgain::Wanted),
            Again::Wanted(Some(after)) => {
                let micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
                again = Some(OwnAgain::WantedAfterMicros(micros));
            }
        }
        Self {
            failure: failure.clone(),
            again,
            dead,
        }
    }

    pub(crate) fn into_failure(self) -> Failure {
        let again = match (self.dead, self.again) {
            (Some(evidence), _) => Again::Dead(Box::new(evidence.bounded())),
            (None, None) => Again::Policy,
            (None, Some(OwnAgain::Never)) => Again::Never,
            (None, Some(OwnAgain::Wanted)) => Again::Wanted(None),
            (None, Some(OwnAgain::WantedAfterMicros(micros))) => {
                Again::Wanted(Some(Duration::from_micros(micros)))
            }
        };
        Failure {
            again,
            ..self.failure
        }
    }
}

#[cfg(test)]
mod tests {
    use cresset_task::{Code, Tensor};

    use super::*;
    use crate::meta::{Meta, Status};
    use crate::read::read;
    use crate::told::{Told, read_published, read_stored};

    fn sending() -> Sending<'static> {
        Sending {
            id: "0199",
            task: "cresset.digits",
            reply_to: "replies",
            priority: 3,
            copy: "7",
            trace: None,
            store: None,
        }
    }

    fn set() -> TensorSet {
        let tensor = Tensor::new(
            cresset_task::DType::Float32,
            vec![2],
            vec![0, 1, 2, 3, 4, 5, 6, 7].into(),
        )
        .unwrap();
        TensorSet(vec![("x".into(), tensor)])
    }

    #[test]
    fn an_input_of_either_kind_is_read_as_it_was() {
        for input in [Payload::Json("{\"a\": [1.50]}".into()), Payload::Tensors(set())] {
            let task = read(&sending().message(Cargo::Payload(&input))).unwrap();
            assert_eq!(task.body.payload, Some(input));
            assert!(task.head.is_ours);
            assert_eq!(
                (
                    task.head.reply_to.as_deref(),
                    task.head.priority,
                    task.head.copy.as_deref()
                ),
                (Some("replies"), 3, Some("7"))
            );
        }
    }

    #[test]
    fn garbage_is_refused_in_words_and_its_sender_told() {
        let says = |content_type: &str, body: &[u8]| {
            let mut message = sending().message(Cargo::Payload(&Payload::Json("1".into())));
            message.content_type = content_type.into();
            message.body = body.to_vec();
            let unread = read(&message).unwrap_err();
            let head = unread.head.unwrap();
            assert!(head.is_ours && head.id == "0199");
            unread.why
        };
        assert!(says(JSON_INPUT, b"{\"a\": ").contains("cannot be read"));
        assert!(says(JSON_INPUT, "[".repeat(500).as_bytes()).contains("deeper"));
        assert!(says(TENSORS_INPUT, b"none of it").contains("cannot be read"));
        assert!(says(PARCEL_INPUT, b"{}").contains("where the input is"));
        assert!(says(PARCEL_INPUT, b"[[], {}, null]").contains("where the input is"));
    }

    #[test]
    fn where_an_input_is_and_where_a_result_may_be_left_are_read_as_they_were() {
        let parcel = Parcel {
            id: Uuid::from_u128(1),
            store: Uuid::from_u128(2),
            kind: 1,
            size: 20 << 20,
        };
        let sending = Sending {
            store: Some(parcel.store),
            ..sending()
        };
        let task = read(&sending.message(Cargo::Parcel(&parcel))).unwrap();
        assert_eq!(
            (task.body.parcel, task.body.payload),
            (Some(parcel.clone()), None)
        );
        assert_eq!((task.head.store, task.head.is_ours), (Some(parcel.store), true));
        let status = Status::Parcel(parcel.clone());
        let meta = Meta {
            head: &task.head,
            status: &status,
            children: &[],
            done: None,
            extended: None,
        };
        assert_eq!(
            read_published(&meta.bytes()),
            (Some("0199".into()), Told::Parcel(parcel))
        );
        let elsewhere = br#"{"status": "SUCCESS", "result": 1, "cresset_parcel": {"id": 1}}"#;
        assert!(matches!(read_stored(elsewhere), Told::Failure(failure) if failure.code == Code::BadOutput));
    }

    #[test]
    fn a_result_of_tensors_comes_back_with_its_id() {
        let bytes = write_tensors("0199", &set());
        assert_eq!(read_tensors(&bytes), (Some("0199".into()), Ok(set())));
        assert_eq!(read_stored(&bytes), Told::Tensors(set()));
        for cut in 0..bytes.len() - 1 {
            assert!(read_tensors(&bytes[..cut]).1.is_err(), "{cut}");
        }
        assert!(
            matches!(read_stored(&[MARK, 200, 1]), Told::Failure(failure) if failure.code == Code::BadOutput)
        );
    }

    #[test]
    fn a_failure_keeps_what_celery_has_no_words_for() {
        for again in [
            Again::Policy,
            Again::Never,
            Again::Wanted(None),
            Again::Wanted(Some(Duration::from_millis(1500))),
            Again::Dead(Box::new(Evidence {
                cause: "exit".into(),
                reason: "exited with status 3".into(),
                tried: 2,
                resident_bytes: Some(1 << 20),
                log: vec!["about to".into()],
            })),
        ] {
            let failure = Failure {
                code: Code::BadOutput,
                type_: "BadOutput".into(),
                message: "not a list".into(),
                traceback: Some("tb".into()),
                stage: None,
                again,
            };
            let text = serde_json::to_string(&Own::of(&failure)).unwrap();
            let read: Own = serde_json::from_str(&text).unwrap();
            assert_eq!(read.into_failure(), failure);
        }
    }
}
