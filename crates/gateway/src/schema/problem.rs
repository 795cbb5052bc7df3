//! Problems, and the errors of tasks.

use std::borrow::Cow;

use cresset_task::Failure;
use serde::Serialize;
use utoipa::ToSchema;

/// One wrong field of a request body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FieldError {
    /// The field as a path: `priority`, `input[3][1]`, `input.pixels[0]`.
    pub(crate) field: String,
    /// What is wrong with it and what it should be.
    pub(crate) message: String,
}

/// Where in the body reading stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Position {
    /// Bytes before it.
    pub(crate) byte: usize,
    /// Its line, counted from 1.
    pub(crate) line: usize,
    /// Its byte in the line, counted from 1.
    pub(crate) column: usize,
}

/// A problem document (RFC 9457): the body of every error.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Problem<'a> {
    /// Where the code is described: a path on this server.
    #[serde(rename = "type")]
    #[schema(example = "/docs/errors#invalid_input")]
    pub(crate) type_: &'a str,
    /// The same for every occurrence of the code.
    pub(crate) title: &'a str,
    /// The HTTP status.
    pub(crate) status: u16,
    /// What was wrong this time.
    pub(crate) detail: &'a str,
    /// The stable code; `docs/reference/errors.md` lists them.
    #[schema(example = "invalid_input")]
    pub(crate) code: &'a str,
    /// The path of the request.
    pub(crate) instance: &'a str,
    /// The request's id, as in `X-Request-Id`.
    pub(crate) request_id: &'a str,
    /// With `invalid_input`: each wrong field.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub(crate) errors: &'a [FieldError],
    /// With `malformed_body`: where reading stopped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) position: Option<Position>,
    /// When a task failed: why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<TaskError<'a>>,
    /// When a bound was reached: which one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) bound: Option<Bound<'a>>,
    /// Seconds after which trying again makes sense, as in `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry_after: Option<u64>,
}

/// A bound that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Bound<'a> {
    /// The setting that sets it.
    #[schema(example = "limits.max_queue")]
    pub(crate) setting: &'a str,
    /// What is counted.
    #[schema(example = "tasks")]
    pub(crate) unit: &'a str,
    /// Its value.
    pub(crate) limit: u64,
    /// The figure when the request came.
    pub(crate) current: u64,
}

impl Bound<'_> {
    /// As the engine has it.
    pub(crate) fn of(bound: &cresset_engine::Bound) -> Self {
        Self {
            setting: bound.setting,
            unit: bound.unit.name(),
            limit: bound.limit,
            current: bound.current,
        }
    }
}

/// Why a task failed, or that it was revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct TaskError<'a> {
    /// The stable code.
    #[schema(example = "model_error")]
    pub(crate) code: Cow<'a, str>,
    /// The exception's class.
    #[serde(rename = "type")]
    #[schema(example = "ValueError")]
    pub(crate) type_: Cow<'a, str>,
    /// The exception's message.
    pub(crate) message: Cow<'a, str>,
    /// Which part of the model's code was running.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "predict")]
    pub(crate) stage: Option<Cow<'a, str>>,
    /// Where in the model's code it went wrong; only when the server shows tracebacks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) traceback: Option<Cow<'a, str>>,
}

impl<'a> TaskError<'a> {
    /// As a caller may see it.
    pub(crate) fn of(failure: &'a Failure, tracebacks: bool) -> Self {
        Self {
            code: failure.code.name().into(),
            type_: failure.type_.as_str().into(),
            message: failure.message.as_str().into(),
            stage: failure.stage.map(|s| s.name().into()),
            traceback: failure
                .traceback
                .as_deref()
                .filter(|_| tracebacks)
                .map(Into::into),
        }
    }
}
