//! What callers ask on a WebSocket. Pure.

use std::borrow::Cow;

use cresset_task::{Code, ModelName, Revision, TaskId};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::problem::Problem;
use crate::query::cut;
use crate::schema::FieldError;

/// The longest `ref`, in bytes of JSON: it is a number or a short name.
const REF_MAX: usize = 128;
const TYPES: &str = "`submit`, `subscribe`, `unsubscribe` and `cancel`";

/// One message, understood.
#[derive(Debug, PartialEq)]
pub(super) struct Ask<'a> {
    /// The caller's name for it, raw: it comes back with the reply.
    pub(super) reference: Option<&'a str>,
    pub(super) what: What<'a>,
}

#[derive(Debug, PartialEq)]
pub(super) enum What<'a> {
    Submit {
        model: ModelName,
        /// The body of a submit.
        task: &'a str,
        idempotency_key: Option<Cow<'a, str>>,
        /// Whether the caller wants to follow it.
        follow: bool,
    },
    Subscribe {
        id: TaskId,
        seen: Option<Revision>,
    },
    Unsubscribe {
        id: TaskId,
    },
    Cancel {
        id: TaskId,
    },
}

/// Every key of every message.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(rename = "ref", borrow)]
    reference: Option<&'a RawValue>,
    #[serde(borrow)]
    model: Option<Cow<'a, str>>,
    #[serde(borrow)]
    task: Option<&'a RawValue>,
    #[serde(borrow)]
    task_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    idempotency_key: Option<Cow<'a, str>>,
    follow: Option<bool>,
    seen: Option<u64>,
}

/// Understands a message; with a problem comes the `ref`, if that much was understood.
pub(super) fn read(text: &str) -> Result<Ask<'_>, (Option<&str>, Problem)> {
    let keys: Keys<'_> = serde_json::from_str(text).map_err(|error| {
        let detail = format!("the message is not one of {TYPES}: {error}");
        (None, Problem::new(Code::MalformedBody, detail))
    })?;
    let reference = reference(keys.reference).map_err(|problem| (None, problem))?;
    let what = what(keys).map_err(|problem| (reference, problem))?;
    Ok(Ask { reference, what })
}

fn reference(raw: Option<&RawValue>) -> Result<Option<&str>, Problem> {
    let Some(raw) = raw.map(RawValue::get) else {
        return Ok(None);
    };
    let is_name = raw.starts_with(['"', '-']) || raw.starts_with(|c: char| c.is_ascii_digit());
    match is_name && raw.len() <= REF_MAX {
        true => Ok(Some(raw)),
        false => Err(wrong(
            "ref",
            format!("must be a number or a string of at most {REF_MAX} bytes"),
        )),
    }
}

fn what(keys: Keys<'_>) -> Result<What<'_>, Problem> {
    let kind = &*keys.kind;
    let own: &[&str] = match kind {
        "submit" => &["model", "task", "idempotency_key", "follow"],
        "subscribe" => &["task_id", "seen"],
        "unsubscribe" | "cancel" => &["task_id"],
        other => {
            let message = format!("`{}` is not a type of message; there are {TYPES}", cut(other));
            return Err(wrong("type", message));
        }
    };
    let given = [
        ("model", keys.model.is_some()),
        ("task", keys.task.is_some()),
        ("task_id", keys.task_id.is_some()),
        ("idempotency_key", keys.idempotency_key.is_some()),
        ("follow", keys.follow.is_some()),
        ("seen", keys.seen.is_some()),
    ];
    if let Some((name, _)) = given.iter().find(|(name, given)| *given && !own.contains(name)) {
        return Err(wrong(name, format!("does not belong into a `{kind}`")));
    }
    if kind == "submit" {
        let name = keys.model.ok_or_else(|| wrong("model", "is missing".into()))?;
        return Ok(What::Submit {
            model: name.parse().map_err(|_| {
                let detail = format!("no model can have the name `{}`", cut(&name));
                Problem::new(Code::UnknownModel, detail)
            })?,
            task: keys.task.map(RawValue::get).ok_or_else(|| {
                wrong(
                    "task",
                    "is missing; it is what a submit has as its body: {\"input\": ...}".into(),
                )
            })?,
            idempotency_key: keys.idempotency_key,
            follow: keys.follow.unwrap_or(true),
        });
    }
    let id = keys
        .task_id
        .ok_or_else(|| wrong("task_id", "is missing".into()))?;
    let id: TaskId = id.parse().map_err(|error| {
        Problem::new(
            Code::UnknownTask,
            format!("`{}` is not a task id: {error}", cut(&id)),
        )
    })?;
    Ok(match kind {
        "subscribe" => What::Subscribe {
            id,
            seen: keys.seen.map(Revision),
        },
        "unsubscribe" => What::Unsubscribe { id },
        _ => What::Cancel { id },
    })
}

fn wrong(field: &str, message: String) -> Problem {
    Problem::fields(vec![FieldError {
        field: field.into(),
        message,
    }])
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "019ac000-0000-7000-8000-000000000001";

    fn refused(text: &str) -> (Option<&str>, String) {
        let (reference, problem) = read(text).unwrap_err();
        (reference, String::from_utf8(problem.whole_answer()).unwrap())
    }

    #[test]
    fn each_message_is_understood() {
        let submit =
            read(r#"{"type":"submit","ref":7,"model":"m","task":{"input":[1]},"idempotency_key":"k"}"#);
        assert_eq!(
            submit.unwrap(),
            Ask {
                reference: Some("7"),
                what: What::Submit {
                    model: "m".parse().unwrap(),
                    task: r#"{"input":[1]}"#,
                    idempotency_key: Some("k".into()),
                    follow: true
                }
            }
        );
        let id = ID.parse().unwrap();
        for (rest, what) in [
            (
                r#""subscribe","seen":3"#,
                What::Subscribe {
                    id,
                    seen: Some(Revision(3)),
                },
            ),
            (r#""unsubscribe""#, What::Unsubscribe { id }),
            (r#""cancel""#, What::Cancel { id }),
        ] {
            let text = format!(r#"{{"type":{rest},"task_id":"{ID}","ref":"a"}}"#);
            let ask = read(&text).unwrap();
            assert_eq!((ask.reference, ask.what), (Some("\"a\""), what));
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        let long = format!(r#"{{"type":"cancel","ref":"{}"}}"#, "x".repeat(REF_MAX));
        for (text, reference, words) in [
            ("", None, "malformed_body"),
            ("[]", None, "malformed_body"),
            (r#"{"type":"cancel","id":1}"#, None, "unknown field `id`"),
            (
                r#"{"type":"cancel","task_id":"x","task_id":"y"}"#,
                None,
                "duplicate field",
            ),
            (
                r#"{"type":"ping","ref":1}"#,
                Some("1"),
                "is not a type of message",
            ),
            (
                r#"{"type":"cancel","ref":{}}"#,
                None,
                "must be a number or a string",
            ),
            (&long, None, "at most 128 bytes"),
            (r#"{"type":"cancel","ref":1}"#, Some("1"), "`task_id`: is missing"),
            (r#"{"type":"cancel","task_id":"x"}"#, None, "is not a task id"),
            (
                r#"{"type":"cancel","seen":1}"#,
                None,
                "does not belong into a `cancel`",
            ),
            (r#"{"type":"submit","task":{}}"#, None, "`model`: is missing"),
            (r#"{"type":"submit","model":"m"}"#, None, "`task`: is missing"),
            (
                r#"{"type":"submit","model":"../x","task":{}}"#,
                None,
                "unknown_model",
            ),
        ] {
            let (told, answer) = refused(text);
            assert_eq!(told, reference, "{text}");
            assert!(answer.contains(words), "{text}: {answer}");
        }
    }
}
