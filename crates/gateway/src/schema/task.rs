//! Bodies that carry inputs and results.
#![expect(dead_code, reason = "described here, read and written as raw JSON elsewhere")]

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::{RetryBody, RetryTerms, TaskError};

/// Any JSON value.
#[derive(Debug, ToSchema)]
pub(crate) struct AnyJson(Value);

/// One tensor: its elements, row by row, little-endian, and nothing else. `Cresset-Shape` has its sizes.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, format = Binary)]
pub(crate) struct Elements(Vec<u8>);

/// One tensor as a NumPy `.npy` file: version 1.0, 2.0 or 3.0, row by row, little-endian.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, format = Binary)]
pub(crate) struct NpyFile(Vec<u8>);

/// Named tensors as one safetensors file: those of an input, or of a result.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, format = Binary)]
pub(crate) struct SafetensorsFile(Vec<u8>);

/// A file of any type, for a model with `files = true`.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, format = Binary)]
pub(crate) struct AnyFile(Vec<u8>);

/// A form with files, for a model with `files = true`: an object of its parts, by name.
#[derive(Debug, ToSchema)]
#[schema(value_type = Object)]
pub(crate) struct FilesForm(Value);

/// Server-sent events: `status`, whose data is a `Task`; and `progress`, `chunk`, `restart` and `gap`.
#[derive(Debug, ToSchema)]
#[schema(value_type = Value)]
pub(crate) struct EventStream(String);

/// Server-sent events: `status`, whose data has `task_id`, `model`, `status`, `attempts` and `at`; and `gap`.
#[derive(Debug, ToSchema)]
#[schema(value_type = Value)]
pub(crate) struct ChangeStream(String);

/// Server-sent events: `chunk`, `progress`, `restart` and `gap` as those of a task; the last is `result`, whose data is a
/// `Predicted`, or `error`, whose data is a `Problem`.
#[derive(Debug, ToSchema)]
pub(crate) struct PredictEvents(String);

/// The same events, each a JSON object on a line of its own that says in `event` what it is.
#[derive(Debug, ToSchema)]
pub(crate) struct PredictLines(String);

/// How far a running task has come, as its model says.
#[derive(Debug, ToSchema)]
pub(crate) struct Progress {
    /// From 0 to 1.
    #[schema(minimum = 0, maximum = 1)]
    pub(crate) fraction: f64,
    /// In the model's words.
    #[schema(required)]
    pub(crate) message: Option<String>,
    /// When it said so.
    #[schema(format = DateTime)]
    pub(crate) at: String,
}

/// What is submitted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SubmitBody {
    /// For a tensor model a nested array (one input) or an object from input name to array; for an object model any
    /// JSON, at most 128 levels deep.
    pub(crate) input: Value,
    /// From -100 (last) to 100 (first).
    #[schema(minimum = -100, maximum = 100, default = 0)]
    pub(crate) priority: Option<i8>,
    /// Given back untouched with the task; at most 16 KiB.
    pub(crate) metadata: Option<BTreeMap<String, Value>>,
    /// It does not start before this instant, RFC 3339.
    #[schema(format = DateTime)]
    pub(crate) eta: Option<String>,
    /// Instead of `eta`: it does not start before so long from now.
    pub(crate) countdown: Option<DurationText>,
    /// It does not start after this, but is revoked: an instant in RFC 3339, or so long from now.
    pub(crate) expires: Option<DurationText>,
    /// It is revoked if it has not ended by this, likewise. One that runs is stopped as by a cancellation.
    pub(crate) deadline: Option<DurationText>,
    /// How it is tried again when it fails; what is left out is as the model has it.
    pub(crate) retry: Option<RetryBody>,
    /// Who is told of it, by a signed POST: `https://` or `http://`, at most 2048 bytes, without user or password. Unless given it is
    /// whom the model's `[webhook]` says.
    #[schema(format = "uri", example = "https://example.com/hooks/cresset")]
    pub(crate) callback_url: Option<String>,
    /// Of what; the last three unless told.
    pub(crate) callback_events: Option<Vec<Event>>,
}

/// What is told of a task.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Event {
    /// It was taken from the queue, to be run.
    Started,
    /// It failed and will be tried again.
    Retried,
    /// It ended with a result.
    Succeeded,
    /// It ended with an error.
    Failed,
    /// It was cancelled, or expired, or passed its deadline.
    Revoked,
}

/// What is predicted.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PredictBody {
    /// As in `SubmitBody`.
    pub(crate) input: Value,
    /// How long it may take: `"2s"`, `"500ms"`, or seconds; at most the model's `predict_timeout`, which is the default.
    pub(crate) timeout: Option<DurationText>,
}

/// A duration: `"30s"`, `"500ms"`, `"2m"`, or a number of seconds.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(untagged)]
#[schema(example = "30s")]
pub(crate) enum DurationText {
    /// With a unit, or without.
    Text(String),
    /// Seconds.
    Seconds(f64),
}

/// An accepted task.
#[derive(Debug, ToSchema)]
pub(crate) struct Accepted {
    /// Its id, a UUID.
    #[schema(format = "uuid")]
    pub(crate) task_id: String,
    /// Its model.
    pub(crate) model: String,
    /// `PENDING`; where the task is now when it was accepted before (`Idempotency-Replayed`).
    pub(crate) status: Status,
    /// When it was accepted.
    #[schema(format = DateTime)]
    pub(crate) created_at: String,
    /// It survives power loss; false only when the server is set to a weaker mode.
    pub(crate) durable: bool,
}

/// The result of a prediction.
#[derive(Debug, ToSchema)]
pub(crate) struct Predicted {
    /// What the model gave: a nested array (one output), an object from output name to array, or any JSON.
    pub(crate) result: Value,
    /// The model.
    pub(crate) model: String,
    /// The version that made it.
    pub(crate) version: String,
}

/// Where a task is in its life. `SUCCESS`, `FAILURE` and `REVOKED` are final.
#[derive(Debug, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "UPPERCASE")]
pub(crate) enum Status {
    /// Accepted and queued.
    Pending,
    /// Handed to an instance.
    Started,
    /// Failed in a way that is tried again.
    Retry,
    /// Has a result.
    Success,
    /// Has an error.
    Failure,
    /// Cancelled, or expired before it ran.
    Revoked,
}

/// A task in a list.
#[derive(Debug, ToSchema)]
pub(crate) struct TaskSummary {
    /// Its id, a UUID.
    #[schema(format = "uuid")]
    pub(crate) task_id: String,
    /// Its model.
    pub(crate) model: String,
    /// The model version that ended it.
    #[schema(required)]
    pub(crate) version: Option<String>,
    /// Where it is in its life.
    pub(crate) status: Status,
    /// When it was accepted.
    #[schema(format = DateTime)]
    pub(crate) created_at: String,
    /// When it was last handed to an instance.
    #[schema(required, format = DateTime)]
    pub(crate) started_at: Option<String>,
    /// When it ended.
    #[schema(required, format = DateTime)]
    pub(crate) finished_at: Option<String>,
    /// While it waits for its time, to start or to be tried again: when that is.
    #[schema(required, format = DateTime)]
    pub(crate) eta: Option<String>,
    /// As in `Task`.
    pub(crate) attempts: u32,
    /// As in `Task`.
    pub(crate) retries: u32,
    /// As submitted; 0 unless told.
    pub(crate) priority: i8,
    /// As submitted.
    #[schema(required)]
    pub(crate) metadata: Option<BTreeMap<String, Value>>,
}

/// A page of tasks.
#[derive(Debug, ToSchema)]
pub(crate) struct Tasks {
    /// Those accepted last come first.
    pub(crate) tasks: Vec<TaskSummary>,
    /// Digits: `after` of the next page; null when this was the last.
    #[schema(required)]
    pub(crate) next: Option<String>,
}

/// Why a task ran once more.
#[derive(Debug, ToSchema)]
pub(crate) struct Redelivery {
    /// The attempt that ended without an outcome.
    pub(crate) attempt: u32,
    /// When.
    #[schema(format = DateTime)]
    pub(crate) at: String,
    /// Why, in words.
    pub(crate) reason: String,
}

/// What a cancellation came to.
#[derive(Debug, ToSchema)]
pub(crate) struct Cancelled {
    /// The task's id.
    #[schema(format = "uuid")]
    pub(crate) task_id: String,
    /// `REVOKED`; where the task had ended before when it was too late.
    pub(crate) status: Status,
    /// When it reached the task.
    pub(crate) cancelled: When,
    /// Only with `during`: milliseconds until the model process is killed if it does not let go of the task, counted from when
    /// it runs it. Absent when it is left to end.
    pub(crate) grace_ms: Option<u64>,
}

/// When a cancellation reached its task.
#[derive(Debug, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum When {
    /// While it was queued: nothing of it runs.
    Before,
    /// While a model process had it, or was about to: that is told, and a result is thrown away.
    During,
    /// After its end: nothing changed.
    TooLate,
}

/// A task.
#[derive(Debug, ToSchema)]
pub(crate) struct Task {
    /// Its id, a UUID.
    #[schema(format = "uuid")]
    pub(crate) task_id: String,
    /// Its model.
    pub(crate) model: String,
    /// The model version that ended it.
    #[schema(required)]
    pub(crate) version: Option<String>,
    /// Where it is in its life.
    pub(crate) status: Status,
    /// Only with `SUCCESS`: what the model gave, any JSON.
    #[schema(required = false)]
    pub(crate) result: Value,
    /// Only with `FAILURE` and `REVOKED`.
    pub(crate) error: Option<TaskError<'static>>,
    /// When it was accepted.
    #[schema(format = DateTime)]
    pub(crate) created_at: String,
    /// When it was last handed to an instance.
    #[schema(required, format = DateTime)]
    pub(crate) started_at: Option<String>,
    /// When it ended.
    #[schema(required, format = DateTime)]
    pub(crate) finished_at: Option<String>,
    /// How often it was leased to be run; once too where a result was there already (`cached`).
    pub(crate) attempts: u32,
    /// How often it failed and was tried again by the retry policy; other reasons to run again are not counted here.
    pub(crate) retries: u32,
    /// Its result is that of an equal input, kept or computed at the same time: no process ran this task.
    pub(crate) cached: bool,
    /// As submitted: how it is tried again, as far as its submitter says so; null leaves it to its model.
    #[schema(required)]
    pub(crate) retry: Option<RetryTerms<'static>>,
    /// While it waits for its time, to start or to be tried again: when that is.
    #[schema(required, format = DateTime)]
    pub(crate) eta: Option<String>,
    /// After this it does not start any more; its deadline is one, too.
    #[schema(required, format = DateTime)]
    pub(crate) expires_at: Option<String>,
    /// It is revoked if it has not ended by this.
    #[schema(required, format = DateTime)]
    pub(crate) deadline_at: Option<String>,
    /// Why it ran more than once, oldest first, the newest 32.
    pub(crate) history: Vec<Redelivery>,
    /// The dead letter that this task is a replay of.
    #[schema(required, format = "uuid")]
    pub(crate) replay_of: Option<String>,
    /// The trace that its submitter follows (`traceparent`), to find it by.
    #[schema(
        required,
        pattern = "^[0-9a-f]{32}$",
        example = "4bf92f3577b34da6a3ce929d0e0e4736"
    )]
    pub(crate) trace_id: Option<String>,
    /// As submitted; 0 unless told.
    pub(crate) priority: i8,
    /// While it is queued: how many tasks of the model go before it, counted up to 10,000.
    #[schema(required)]
    pub(crate) queue_position: Option<u64>,
    /// While it runs: how far it has come, if its model has said so.
    pub(crate) progress: Option<Progress>,
    /// As submitted.
    #[schema(required)]
    pub(crate) metadata: Option<BTreeMap<String, Value>>,
}
