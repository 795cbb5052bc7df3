//! Rows of the store's inbox, read as submits are: the same values mean the same, and what is wrong is told in the same words.

use axum::http::{HeaderMap, HeaderValue, Uri, header};
use bytes::Bytes;
use cresset_config::ModelConfig;
use cresset_engine::{InboxInput, InboxReader, InboxRow, Submission, inbox_refusal};
use cresset_task::{Callback, Code, Failure, Payload, Timestamp};

use crate::order::{self, Form, Order};
use crate::problem::Problem;

/// What is told of what is wrong is cut to this: it is kept with the task.
const WRONG_MAX: usize = 2_000;

/// Reads rows.
#[derive(Clone, Copy, Debug)]
pub struct RowReader;

impl InboxReader for RowReader {
    fn read(&self, row: &InboxRow, config: &ModelConfig) -> Result<Submission, Failure> {
        let order = understood(row, config)
            .map_err(|problem| inbox_refusal(problem.code(), short(problem.in_short())))?;
        let Order { input, mut options } = order;
        Ok(Submission {
            model: row.model.clone(),
            input,
            priority: row.priority,
            callback: options.callback(),
            metadata: options.metadata,
            due_at: row.due_at,
            expires_at: row.expires_at,
            deadline_at: row.deadline_at,
            cache: Default::default(),
            retry: options.retry,
            trace: None,
            tenant: row.tenant.clone(),
            idempotency_key: None,
            client: None,
        })
    }

    fn callback(&self, row: &InboxRow) -> Option<Callback> {
        order::callback_of(row.callback_url.as_deref()?, row.callback_events.as_deref())
    }
}

fn understood(row: &InboxRow, config: &ModelConfig) -> Result<Order, Problem> {
    // As a submit would write them: what cannot be together is found out together.
    let instant = |at: Option<Timestamp>| at.map(|at| format!("\"{at}\""));
    let (eta, expires, deadline) = (
        instant(row.due_at),
        instant(row.expires_at),
        instant(row.deadline_at),
    );
    let given = [
        ("eta", eta.as_deref()),
        ("expires", expires.as_deref()),
        ("deadline", deadline.as_deref()),
        ("metadata", row.metadata.as_deref()),
        ("retry", row.retry.as_deref()),
        ("callback_url", row.callback_url.as_deref()),
        ("callback_events", row.callback_events.as_deref()),
    ];
    let options = given.into_iter().filter_map(|(name, raw)| Some((name, raw?)));
    let options = order::said_in_json(options.collect(), config)?;
    let input = match &row.input {
        InboxInput::Json(json) => order::input_in_json(json, config)?,
        InboxInput::Body { content_type, bytes } => body(content_type, bytes, config)?,
        InboxInput::TooLarge(size) => {
            let words = format!("the input has {size} bytes, more than `limits.max_body_bytes` allows");
            return Err(Problem::new(Code::BodyTooLarge, words));
        }
    };
    Ok(Order { input, options })
}

/// As a request with nothing but this body would be read.
fn body(content_type: &str, bytes: &Bytes, config: &ModelConfig) -> Result<Payload, Problem> {
    let value = HeaderValue::from_str(content_type).map_err(|_| {
        Problem::new(
            Code::UnsupportedMediaType,
            "`content_type` has characters that a Content-Type cannot have",
        )
    })?;
    let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, value)]);
    let order = order::of_parts(&headers, &Uri::from_static("/"), bytes, config, Form::Submit)?;
    Ok(order.input)
}

fn short(mut wrong: String) -> String {
    if wrong.len() > WRONG_MAX {
        wrong.truncate(wrong.floor_char_boundary(WRONG_MAX));
        wrong.push_str("...");
    }
    wrong
}
