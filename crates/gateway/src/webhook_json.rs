//! Webhooks as their readers see them: in the list, and as the data of a message. Written by hand because results and metadata are
//! spliced in as they are stored. `schema::Webhook` describes the list for the OpenAPI document.

use cresset_engine::{Delivery, DeliveryPage, Sending, TaskView, WEBHOOK_BODY_MAX, WebhookWriter};
use cresset_task::TaskRecord;

use crate::json_out::{self, ObjectOut};
use crate::task_json;

/// What a webhook weighs in a list.
const ENTRY_BYTES: usize = 512;

/// About how many bytes a page takes as JSON.
pub(crate) fn weight(page: &DeliveryPage) -> usize {
    let entry = |delivery: &Delivery| ENTRY_BYTES + delivery.url.as_str().len();
    page.deliveries.iter().map(entry).sum()
}

/// One webhook. An address may carry a secret behind its `?`, which is for its receiver.
pub(crate) fn write(delivery: &Delivery) -> Vec<u8> {
    let Delivery {
        id,
        model,
        url,
        at,
        state,
        tries,
        due_at,
        settled_at,
        status,
        note,
    } = delivery;
    let shown = match url.as_str().split_once('?') {
        Some((place, _)) => format!("{place}?..."),
        None => url.as_str().to_owned(),
    };
    let mut out = ObjectOut::new(ENTRY_BYTES + shown.len());
    out.plain("id", id);
    out.plain("task_id", id.task);
    out.plain("model", model);
    out.plain("type", id.event.kind());
    out.value("url", &shown);
    out.value("host", url.host());
    out.plain("state", state.name());
    out.plain("timestamp", at);
    out.value("tries", tries);
    out.plain_or_null("due_at", *due_at);
    out.plain_or_null("settled_at", *settled_at);
    out.value("status", status);
    out.value("note", note);
    out.end()
}

/// A page of them.
pub(crate) fn write_page(page: &DeliveryPage) -> Vec<u8> {
    let entries = page.deliveries.iter().map(write);
    json_out::page(
        "webhooks",
        weight(page),
        entries,
        page.next.map(|cursor| cursor.0),
    )
}

/// Writes the data of messages: a task that has ended as `GET /v1/tasks/{id}` answers it, without tracebacks, and without a result
/// that is too large; of one that has not, what will not change.
#[derive(Clone, Copy, Debug, Default)]
pub struct TaskWriter;

impl WebhookWriter for TaskWriter {
    fn write(&self, sending: &Sending, record: Option<&TaskRecord>) -> Vec<u8> {
        let event = sending.id.event;
        match record {
            Some(record) if event.is_final() => ended(record),
            record => passing(sending, record),
        }
    }
}

fn ended(record: &TaskRecord) -> Vec<u8> {
    let view = TaskView {
        record: record.clone(),
        queue_position: None,
        progress: None,
    };
    // A guess first, so that what is far too large is not written to be thrown away.
    if task_json::weight(&view) <= WEBHOOK_BODY_MAX {
        let whole = task_json::write(&view, false);
        if whole.len() <= WEBHOOK_BODY_MAX {
            return whole;
        }
    }
    task_json::write_without_result(&view)
}

fn passing(sending: &Sending, record: Option<&TaskRecord>) -> Vec<u8> {
    let mut out = ObjectOut::new(ENTRY_BYTES);
    out.plain("task_id", sending.id.task);
    out.plain("model", &sending.model);
    out.plain("status", sending.id.event.state());
    if !sending.id.event.is_final() {
        out.value("attempts", &sending.id.attempt);
    }
    match record {
        Some(record) => {
            out.plain("created_at", record.created_at);
            out.value("priority", &record.priority);
            out.raw("metadata")
                .extend_from_slice(record.metadata.as_deref().unwrap_or(b"null"));
        }
        // Purged before it could be told.
        None => out.value("expired", &true),
    }
    out.end()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use cresset_engine::DeliveryState;
    use cresset_task::{Attempt, Event, EventId, Failure, Outcome, Payload, State, TaskId, Timestamp};

    use super::*;

    fn record(outcome: Outcome, state: State) -> TaskRecord {
        TaskRecord {
            id: "019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10".parse().unwrap(),
            model: "digits".parse().unwrap(),
            state,
            created_at: Timestamp::from_micros(1_000_000),
            started_at: Some(Timestamp::from_micros(2_000_000)),
            finished_at: Some(Timestamp::from_micros(3_000_000)),
            due_at: None,
            expires_at: None,
            deadline_at: None,
            attempts: Attempt(1),
            retries: 0,
            history: Vec::new(),
            priority: 0,
            metadata: Some(Bytes::from_static(b"{\"order\": 7}")),
            version: Some("1".into()),
            replay_of: None,
            outcome: Some(outcome),
            cached: false,
            retry: None,
            trace: None,
        }
    }

    fn text(event: Event, record: Option<&TaskRecord>) -> String {
        let sending = Sending {
            id: EventId {
                task: "019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10".parse().unwrap(),
                event,
                attempt: u32::from(!event.is_final()),
            },
            model: "digits".parse().unwrap(),
            url: "https://example.com/".parse().unwrap(),
            at: Timestamp::from_micros(3_000_000),
            since: Timestamp::from_micros(3_000_000),
            tries: 1,
            fence: 1,
        };
        String::from_utf8(TaskWriter.write(&sending, record)).unwrap()
    }

    #[test]
    fn the_end_of_a_task_is_told_with_its_result() {
        let done = record(Outcome::Success(Payload::Json("[7]".into())), State::Success);
        insta::assert_snapshot!(text(Event::Succeeded, Some(&done)));
    }

    #[test]
    fn a_failure_is_told_without_its_traceback() {
        let failure = Failure {
            code: cresset_task::Code::ModelError,
            type_: "ValueError".into(),
            message: "no".into(),
            traceback: Some("secret paths".into()),
            stage: None,
            again: Default::default(),
        };
        let failed = text(
            Event::Failed,
            Some(&record(Outcome::Failure(failure), State::Failure)),
        );
        assert!(
            failed.contains("\"message\":\"no\"") && !failed.contains("secret"),
            "{failed}"
        );
    }

    #[test]
    fn a_result_that_is_too_large_is_left_out_and_said_to_be() {
        for text_of in [
            format!("\"{}\"", "x".repeat(WEBHOOK_BODY_MAX)),
            format!("\"{}\"", "x".repeat(WEBHOOK_BODY_MAX - 200)),
        ] {
            let done = record(Outcome::Success(Payload::Json(text_of.into())), State::Success);
            let told = text(Event::Succeeded, Some(&done));
            assert!(told.len() < 1_000, "{} bytes", told.len());
            let read: serde_json::Value = serde_json::from_str(&told).unwrap();
            assert_eq!(read["result_omitted"], true);
            assert_eq!(read["status"], "SUCCESS");
            assert_eq!(read.get("result"), None);
        }
    }

    #[test]
    fn a_start_and_a_task_that_is_gone_are_told_with_what_is_known() {
        let running = record(Outcome::Success(Payload::Json("[7]".into())), State::Success);
        insta::assert_snapshot!(text(Event::Started, Some(&running)));
        insta::assert_snapshot!(text(Event::Succeeded, None));
    }

    #[test]
    fn what_follows_the_path_of_an_address_is_not_shown() {
        let delivery = Delivery {
            id: EventId {
                task: TaskId::from_bytes([1; 16]),
                event: Event::Failed,
                attempt: 0,
            },
            model: "digits".parse().unwrap(),
            url: "https://example.com/hook?token=secret".parse().unwrap(),
            at: Timestamp::from_micros(3_000_000),
            state: DeliveryState::Waiting,
            tries: 2,
            due_at: Some(Timestamp::from_micros(9_000_000)),
            settled_at: None,
            status: Some(503),
            note: Some("it answered 503".into()),
        };
        insta::assert_snapshot!(String::from_utf8(write(&delivery)).unwrap());
    }
}
