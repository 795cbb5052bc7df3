//! What is sent: the body and its headers.

use cresset_task::Timestamp;

/// The name of what is told: the same for every try.
pub const ID: &str = "webhook-id";
/// When this try was made, in seconds.
pub const TIMESTAMP: &str = "webhook-timestamp";
/// What the body, the name and the time are signed with.
pub const SIGNATURE: &str = "webhook-signature";

/// Where in the trace of the task's submitter this try is, where there is one.
pub const TRACEPARENT: &str = "traceparent";
/// What others have to say of that trace.
pub const TRACESTATE: &str = "tracestate";

/// Bodies are no larger: a result that would make one is left out, and fetched by whoever wants it.
pub const BODY_MAX: usize = 64 << 10;

/// The `type` of what a test sends.
pub const TEST_KIND: &str = "webhook.test";

/// The body: `data` is JSON.
#[must_use]
pub fn body(kind: &str, at: Timestamp, data: &[u8]) -> Vec<u8> {
    // Neither has anything to escape.
    let mut body = format!("{{\"type\":\"{kind}\",\"timestamp\":\"{at}\",\"data\":").into_bytes();
    body.extend_from_slice(data);
    body.push(b'}');
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_says_what_when_and_of_what() {
        let at = "2026-01-31T08:00:00Z".parse().unwrap();
        let body = body("task.failed", at, b"{\"task_id\":1}");
        assert_eq!(
            std::str::from_utf8(&body),
            Ok(r#"{"type":"task.failed","timestamp":"2026-01-31T08:00:00.000000Z","data":{"task_id":1}}"#)
        );
    }
}
