//! A task as its callers read it.
//!
//! Written by hand because results and metadata are spliced in as they are stored: tensors go straight from their
//! bytes to JSON text, JSON results are copied. `schema::Task` describes it for the OpenAPI document.

use cresset_engine::TaskView;
use cresset_task::{Outcome, Payload, Redelivery, TaskRecord, json};

use crate::json_out::ObjectOut;
use crate::schema::{RetryTerms, TaskError};
use crate::streaming;

/// What a task weighs without its result and metadata.
const FRAME_BYTES: usize = 512;

/// What one entry of a history weighs.
const HISTORY_ENTRY_BYTES: usize = 128;

/// JSON takes about this many bytes for a byte of tensor (a `float32` of four bytes is some twelve characters).
const JSON_PER_TENSOR_BYTE: usize = 3;

/// The code and class of a task that was revoked.
const REVOKED: cresset_task::Code = cresset_task::Code::Revoked;
const REVOKED_TYPE: &str = "Revoked";

/// About how many bytes a result takes as JSON.
pub(crate) fn json_weight(payload: &Payload) -> usize {
    match payload {
        Payload::Json(text) => text.len(),
        Payload::Tensors(set) => set.data_len() * JSON_PER_TENSOR_BYTE,
    }
}

/// About how many bytes a task takes as JSON.
pub(crate) fn weight(view: &TaskView) -> usize {
    let result = match &view.record.outcome {
        Some(Outcome::Success(payload)) => json_weight(payload),
        _ => 0,
    };
    let history = view.record.history.len() * HISTORY_ENTRY_BYTES;
    FRAME_BYTES + result + history + view.record.metadata.as_ref().map_or(0, bytes::Bytes::len)
}

/// Appends a result.
pub(crate) fn write_payload(payload: &Payload, out: &mut Vec<u8>) {
    match payload {
        Payload::Json(text) => out.extend_from_slice(text),
        Payload::Tensors(set) => json::write_outputs(set, out),
    }
}

/// A revoked task's error.
pub(crate) fn revoked(reason: &str) -> TaskError<'_> {
    TaskError {
        code: REVOKED.name().into(),
        type_: REVOKED_TYPE.into(),
        message: reason.into(),
        stage: None,
        traceback: None,
    }
}

/// The whole task. `result` is there exactly when it succeeded, `error` exactly when it failed or was revoked.
pub(crate) fn write(view: &TaskView, tracebacks: bool) -> Vec<u8> {
    write_parts(view, tracebacks, true)
}

/// The task without its result, for a message that has no room for it: `result_omitted` says so.
pub(crate) fn write_without_result(view: &TaskView) -> Vec<u8> {
    write_parts(view, false, false)
}

fn write_parts(view: &TaskView, tracebacks: bool, with_result: bool) -> Vec<u8> {
    let TaskRecord {
        id,
        model,
        state,
        created_at,
        started_at,
        finished_at,
        due_at,
        expires_at,
        deadline_at,
        attempts,
        retries,
        history,
        priority,
        metadata,
        version,
        replay_of,
        outcome,
        cached,
        retry,
        trace,
    } = &view.record;
    let mut task = ObjectOut::new(if with_result { weight(view) } else { FRAME_BYTES });
    task.plain("task_id", id);
    task.plain("model", model);
    task.value("version", version);
    task.plain("status", state);
    match outcome {
        Some(Outcome::Success(_)) if !with_result => task.value("result_omitted", &true),
        Some(Outcome::Success(payload)) => write_payload(payload, task.raw("result")),
        Some(Outcome::Failure(failure)) => task.value("error", &TaskError::of(failure, tracebacks)),
        Some(Outcome::Revoked { reason }) => task.value("error", &revoked(reason)),
        None => {}
    }
    task.plain("created_at", created_at);
    task.plain_or_null("started_at", *started_at);
    task.plain_or_null("finished_at", *finished_at);
    task.value("attempts", attempts);
    task.value("retries", retries);
    task.value("cached", cached);
    task.value("retry", &retry.as_deref().map(RetryTerms::of));
    task.plain_or_null("eta", *due_at);
    task.plain_or_null("expires_at", *expires_at);
    task.plain_or_null("deadline_at", *deadline_at);
    write_history(history, task.raw("history"));
    task.plain_or_null("replay_of", *replay_of);
    task.plain_or_null("trace_id", trace.as_ref().map(|trace| trace.id));
    task.value("priority", priority);
    task.value("queue_position", &view.queue_position);
    if let Some(progress) = &view.progress {
        let mut said = ObjectOut::new(FRAME_BYTES);
        streaming::write_progress(progress, &mut said);
        task.raw("progress").extend_from_slice(&said.end());
    }
    task.raw("metadata")
        .extend_from_slice(metadata.as_deref().unwrap_or(b"null"));
    task.end()
}

fn write_history(history: &[Redelivery], out: &mut Vec<u8>) {
    out.push(b'[');
    for (i, entry) in history.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        let mut object = ObjectOut::new(HISTORY_ENTRY_BYTES);
        object.value("attempt", &entry.attempt);
        object.plain("at", entry.at);
        object.value("reason", &entry.reason);
        out.extend_from_slice(&object.end());
    }
    out.push(b']');
}

#[cfg(test)]
mod tests;
