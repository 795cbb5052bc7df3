//! What callers are told on a WebSocket. Pure.

use axum::http::StatusCode;
use cresset_engine::{Piece, TaskView};
use cresset_task::TaskId;

use crate::json_out::ObjectOut;
use crate::{streaming, task_json};

/// What a message takes beside what it carries.
const FRAME_BYTES: usize = 128;

/// The bounds of a connection, told in the first message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) message_bytes: usize,
    pub(super) subscriptions: usize,
    pub(super) requests: usize,
}

/// The first words.
pub(super) fn hello(bounds: Bounds) -> Vec<u8> {
    let mut told = ObjectOut::new(FRAME_BYTES);
    told.plain("type", "hello");
    told.value("version", &1);
    let mut limits = ObjectOut::new(FRAME_BYTES);
    limits.value("message_bytes", &bounds.message_bytes);
    limits.value("subscriptions", &bounds.subscriptions);
    limits.value("requests", &bounds.requests);
    told.raw("limits").extend_from_slice(&limits.end());
    told.end()
}

/// What came of a message: the status and body that HTTP would answer.
pub(super) fn reply(reference: Option<&str>, status: StatusCode, body: &[u8]) -> Vec<u8> {
    let mut told = ObjectOut::new(FRAME_BYTES + body.len());
    told.plain("type", "reply");
    told.raw("ref")
        .extend_from_slice(reference.unwrap_or("null").as_bytes());
    told.value("status", &status.as_u16());
    told.raw("body").extend_from_slice(body);
    told.end()
}

/// A task that is followed, as it is.
pub(super) fn status(view: &TaskView, tracebacks: bool) -> Vec<u8> {
    let mut told = ObjectOut::new(FRAME_BYTES + task_json::weight(view));
    told.plain("type", "status");
    told.value("id", &view.record.revision().0);
    told.raw("task")
        .extend_from_slice(&task_json::write(view, tracebacks));
    told.end()
}

/// What the model of a task that is followed says.
pub(super) fn live(id: TaskId, piece: Piece) -> Vec<u8> {
    let (kind, json) = streaming::live(piece);
    let mut told = ObjectOut::new(FRAME_BYTES + json.len());
    told.plain("type", kind);
    told.plain("task_id", id);
    let mut told = told.end();
    // Two objects of ours as one.
    if let Some(last) = told.last_mut() {
        *last = b',';
    }
    told.extend_from_slice(json.get(1..).unwrap_or(b"}"));
    told
}

/// A task is no longer followed, though its end was not told.
pub(super) fn unsubscribed(id: TaskId, problem: &[u8]) -> Vec<u8> {
    let mut told = ObjectOut::new(FRAME_BYTES + problem.len());
    told.plain("type", "unsubscribed");
    told.plain("task_id", id);
    told.raw("body").extend_from_slice(problem);
    told.end()
}

/// The body of a reply that has nothing to say but of which task it speaks.
pub(super) fn about(id: TaskId) -> Vec<u8> {
    let mut body = ObjectOut::new(FRAME_BYTES);
    body.plain("task_id", id);
    body.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_model_says_is_told_with_its_task() {
        let id = TaskId::fresh();
        let attempt = cresset_task::Attempt(2);
        let told = String::from_utf8(live(id, Piece::Restart { attempt })).unwrap();
        assert_eq!(
            told,
            format!(r#"{{"type":"restart","task_id":"{id}","attempt":2}}"#)
        );
    }
}
