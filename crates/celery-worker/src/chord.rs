//! Chords: a part has ended; the last of them sends the body, or fails it.

use cresset_celery::{Exception, Head, Plan, Signature, Status};
use cresset_task::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::after::{next, send, store};
use crate::insist::{Abandoned, insist};
use crate::job::{Job, short};
use crate::results::ChordStep;

/// What a part has said: a version, its id, its state, its result or exception.
#[derive(Deserialize)]
struct Said(IgnoredAny, String, String, Box<RawValue>);

/// Tells that a part has ended, and does what is then to be done.
pub(crate) async fn part(
    job: &Job<'_>,
    head: &Head,
    group: &str,
    body: &Value,
    status: &Status,
) -> Result<(), Abandoned> {
    let shared = job.shared;
    let step = insist(&shared.abandon, "tell a chord of its part", || {
        shared.results.chord_part(head, group, status)
    })
    .await?;
    let ChordStep::Complete(parts) = step else {
        return Ok(());
    };
    let plan = results(&parts).and_then(|results| {
        next(job, head, |next| next.chord_body(body, &results))
            .map_err(|bad| Exception::chord_because(&bad.to_string()))
    });
    match plan {
        Ok(plan) => send(job, &plan).await?,
        Err(exception) => fail(job, head, body, exception).await?,
    }
    insist(&shared.abandon, "tell that a chord is done", || {
        shared.results.chord_done(group)
    })
    .await
}

/// The results of all parts as a JSON array; or what the chord fails of.
fn results(parts: &[String]) -> Result<String, Exception> {
    let mut results = Vec::with_capacity(parts.len());
    for part in parts {
        let Ok(Said(_, id, state, result)) = serde_json::from_str::<Said>(part) else {
            return Err(Exception::chord_because("the result of a part cannot be read"));
        };
        if matches!(state.as_str(), "FAILURE" | "REVOKED") {
            let stored = serde_json::from_str(result.get()).unwrap_or_default();
            return Err(Exception::chord(&id, &Exception::repr_of(&stored)));
        }
        results.push(result.get().to_owned());
    }
    Ok(format!("[{}]", results.join(", ")))
}

/// The body will not run: it has failed, and what is to follow that is sent.
pub(crate) async fn fail(
    job: &Job<'_>,
    head: &Head,
    body: &Value,
    exception: Exception,
) -> Result<(), Abandoned> {
    let signature = Signature::of(body);
    let id = signature.as_ref().ok().and_then(Signature::id);
    let Some(id) = id else {
        tracing::warn!(id = short(&head.id), "chord whose body has no id has failed");
        return Ok(());
    };
    let failed = Head {
        id: id.to_owned(),
        root_id: head.root_id.clone(),
        reply_to: head.reply_to.clone(),
        ..Head::default()
    };
    let errbacks = body.pointer("/options/link_error").cloned().unwrap_or_default();
    let errbacks = match errbacks {
        Value::Array(list) => list,
        Value::Null => Vec::new(),
        one => vec![one],
    };
    let plan = next(job, &failed, |next| next.after_failure(Some(&errbacks)));
    let plan = plan.unwrap_or_else(|error| {
        tracing::warn!(error = %error, "error callback of a chord cannot be sent");
        Plan::default()
    });
    send(job, &plan).await?;
    let line = exception.line();
    let status = Status::Failure(exception, line);
    store(job, &failed, &status, &[], Some(Timestamp::now())).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_joined_in_their_order_and_one_failure_fails_all() {
        let good = |id: &str, result: &str| format!("[1, \"{id}\", \"SUCCESS\", {result}]");
        assert_eq!(
            results(&[good("a", "1.50"), good("b", "[2]")]).unwrap(),
            "[1.50, [2]]"
        );
        let bad = r#"[1, "c", "FAILURE", {"exc_type": "ValueError", "exc_message": ["x"], "exc_module": "builtins"}]"#;
        let exception = results(&[good("a", "1"), bad.into()]).unwrap_err();
        assert_eq!(exception.args[0], "Dependency c raised ValueError('x')");
        assert!(results(&["nothing".into()]).is_err());
    }
}
