//! Batches of tasks.
#![expect(dead_code, reason = "described here, written as raw JSON elsewhere")]

use std::collections::BTreeMap;

use serde_json::Value;
use utoipa::ToSchema;

use super::TaskError;

/// One object of `SubmitBody` on each line.
#[derive(Debug, ToSchema)]
#[schema(value_type = String, example = "{\"input\": [1, 2]}\n{\"input\": [3, 4], \"priority\": 5}\n")]
pub(crate) struct BulkLines(String);

/// One `BatchLine` on each line, in the order of the input.
#[derive(Debug, ToSchema)]
#[schema(value_type = String)]
pub(crate) struct BatchResults(String);

/// Where a batch is in its life.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "snake_case")]
pub(crate) enum BatchStatus {
    /// The end of the request has not come: its lines run meanwhile.
    Accepting,
    /// All lines are there, and some have not ended.
    InProgress,
    /// Every line has ended, one way or another.
    Completed,
    /// It was cancelled, and some of its tasks have not ended.
    Cancelling,
    /// It was cancelled, and every line has ended.
    Cancelled,
}

/// How many lines are where.
#[derive(Debug, ToSchema)]
pub(crate) struct BatchCounts {
    /// Queued.
    pub(crate) pending: u64,
    /// Running.
    pub(crate) started: u64,
    /// Queued to be tried again.
    pub(crate) retry: u64,
    /// With a result.
    pub(crate) success: u64,
    /// Failed.
    pub(crate) failure: u64,
    /// Cancelled, or expired.
    pub(crate) revoked: u64,
    /// Never a task: the line was wrong.
    pub(crate) invalid: u64,
    /// Ended, and purged since.
    pub(crate) expired: u64,
}

/// A batch.
#[derive(Debug, ToSchema)]
pub(crate) struct Batch {
    /// Its id, a UUID.
    #[schema(format = "uuid")]
    pub(crate) batch_id: String,
    /// The model of its tasks.
    pub(crate) model: String,
    /// Where it is in its life.
    pub(crate) status: BatchStatus,
    /// Lines that are accepted: the first so many of the request.
    pub(crate) accepted: u64,
    /// Lines that there are in all; null until the end of the request has come.
    #[schema(required)]
    pub(crate) total: Option<u64>,
    /// Where they are; together `accepted`.
    pub(crate) counts: BatchCounts,
    /// When it was begun.
    #[schema(format = DateTime)]
    pub(crate) created_at: String,
    /// When the last of its tasks ended; null while one has not.
    #[schema(required, format = DateTime)]
    pub(crate) finished_at: Option<String>,
    /// When it was cancelled.
    #[schema(required, format = DateTime)]
    pub(crate) cancelled_at: Option<String>,
    /// As sent.
    #[schema(required)]
    pub(crate) metadata: Option<BTreeMap<String, Value>>,
    /// Where its results are.
    pub(crate) results_url: String,
    /// What cancels it.
    pub(crate) cancel_url: String,
}

/// A page of batches.
#[derive(Debug, ToSchema)]
pub(crate) struct Batches {
    /// Those begun last come first.
    pub(crate) batches: Vec<Batch>,
    /// Digits: `after` of the next page; null when this was the last.
    #[schema(required)]
    pub(crate) next: Option<String>,
}

/// Where a line of a batch is.
#[derive(Debug, ToSchema)]
#[schema(rename_all = "UPPERCASE")]
pub(crate) enum LineStatus {
    /// As a task's.
    Pending,
    /// As a task's.
    Started,
    /// As a task's.
    Retry,
    /// As a task's.
    Success,
    /// As a task's.
    Failure,
    /// As a task's.
    Revoked,
    /// Never a task: the line was wrong.
    Invalid,
    /// Its task ended, and has been purged.
    Expired,
}

/// What became of a line.
#[derive(Debug, ToSchema)]
pub(crate) struct BatchLine {
    /// Its number among the lines that were sent, from 0.
    pub(crate) index: u64,
    /// The task that it is; null when it is none, or has been purged.
    #[schema(required, format = "uuid")]
    pub(crate) task_id: Option<String>,
    /// Where it is.
    pub(crate) status: LineStatus,
    /// Only with `SUCCESS`: what the model gave, any JSON.
    #[schema(required = false)]
    pub(crate) result: Value,
    /// Only with `FAILURE`, `REVOKED`, `INVALID` and `EXPIRED`.
    pub(crate) error: Option<TaskError<'static>>,
}
