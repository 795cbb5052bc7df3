//! What became of each line, written while it is read.

use std::collections::VecDeque;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use bytes::Bytes;
use cresset_engine::{BulkFound, EngineError};
use cresset_task::{BulkId, Code, Outcome, TaskRecord};
use futures_util::{StreamExt, stream};

use crate::answer::typed;
use crate::app::App;
use crate::json_out::ObjectOut;
use crate::problem::Answer;
use crate::schema::TaskError;
use crate::task_json;

/// Lines are written into pieces of about so many bytes: what a socket takes at once.
const PIECE_BYTES: usize = 64 << 10;
/// What a line weighs without its result.
const LINE_BYTES: usize = 128;

/// Lines on their way out.
struct Lines {
    app: App,
    id: BulkId,
    /// The number of the first of `found`, or of the next page.
    next: u64,
    found: VecDeque<BulkFound>,
    is_over: bool,
}

/// The answer: lines from number `from` on, each made when the connection has room for it. Few lines are answered whole, with
/// their length; and what goes wrong before the first piece is told as a problem.
pub(super) async fn answer(app: App, id: BulkId, from: u64) -> Answer {
    let mut lines = Lines {
        app,
        id,
        next: from,
        found: VecDeque::new(),
        is_over: false,
    };
    let first = lines.piece().await.transpose()?.unwrap_or_default();
    let body = if lines.is_over {
        Body::from(first)
    } else {
        let rest = stream::unfold(lines, |mut lines| async {
            let piece = lines.piece().await?;
            Some((piece, lines))
        });
        Body::from_stream(stream::once(async { Ok(first) }).chain(rest))
    };
    let mut response = typed(
        StatusCode::OK,
        HeaderValue::from_static("application/x-ndjson"),
        body,
    );
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

impl Lines {
    /// The next piece. What goes wrong ends the answer short of its end, which its reader notices.
    async fn piece(&mut self) -> Option<Result<Bytes, EngineError>> {
        let mut out = Vec::new();
        while out.len() < PIECE_BYTES && !self.is_over {
            match self.line().await {
                Ok(Some(line)) => out.extend_from_slice(&line),
                Ok(None) => self.is_over = true,
                Err(error) => {
                    self.is_over = true;
                    tracing::warn!(error = &error as &dyn std::error::Error, batch = %self.id, "results of a batch broke off");
                    return Some(Err(error));
                }
            }
        }
        (!out.is_empty()).then(|| Ok(out.into()))
    }

    async fn line(&mut self) -> Result<Option<Vec<u8>>, EngineError> {
        if self.app.stop.is_cancelled() {
            return Err(EngineError::ShuttingDown);
        }
        if self.found.is_empty() {
            self.found = self.app.engine.bulk_lines(self.id, self.next).await?.into();
        }
        let Some(found) = self.found.pop_front() else {
            return Ok(None);
        };
        let index = self.next;
        self.next += 1;
        let line = match found {
            BulkFound::Wrong(error) => none(index, "INVALID", Code::InvalidInput, &error),
            BulkFound::Forgotten => expired(index),
            BulkFound::Task(id) => match self.app.engine.record(id).await? {
                Some(record) => task(index, &record, self.app.options.show_tracebacks),
                None => expired(index), // purged since the page was read
            },
        };
        Ok(Some(line))
    }
}

fn end(out: ObjectOut) -> Vec<u8> {
    let mut line = out.end();
    line.push(b'\n');
    line
}

fn task(index: u64, record: &TaskRecord, tracebacks: bool) -> Vec<u8> {
    let weight = match &record.outcome {
        Some(Outcome::Success(payload)) => task_json::json_weight(payload),
        _ => 0,
    };
    let mut out = ObjectOut::new(LINE_BYTES + weight);
    out.value("index", &index);
    out.plain("task_id", record.id);
    out.plain("status", record.state);
    match &record.outcome {
        Some(Outcome::Success(payload)) => {
            let json = out.raw("result");
            let from = json.len();
            task_json::write_payload(payload, json);
            // One line: what JSON has of line breaks is white space.
            for byte in json.iter_mut().skip(from) {
                if matches!(byte, b'\n' | b'\r') {
                    *byte = b' ';
                }
            }
        }
        Some(Outcome::Failure(failure)) => out.value("error", &TaskError::of(failure, tracebacks)),
        Some(Outcome::Revoked { reason }) => out.value("error", &task_json::revoked(reason)),
        None => {}
    }
    end(out)
}

/// A line without a task.
fn none(index: u64, status: &'static str, code: Code, message: &str) -> Vec<u8> {
    let mut out = ObjectOut::new(LINE_BYTES + message.len());
    out.value("index", &index);
    out.raw("task_id").extend_from_slice(b"null");
    out.plain("status", status);
    let error = TaskError {
        code: code.name().into(),
        type_: status.into(),
        message: message.into(),
        stage: None,
        traceback: None,
    };
    out.value("error", &error);
    end(out)
}

fn expired(index: u64) -> Vec<u8> {
    none(
        index,
        "EXPIRED",
        Code::ExpiredTask,
        "the task and its result have expired",
    )
}
