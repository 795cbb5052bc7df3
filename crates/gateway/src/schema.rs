//! The shapes that callers see, as the OpenAPI document describes them.
//!
//! Where serde writes an answer, it writes one of these types. Bodies with spliced-in raw JSON (tasks) are written by
//! hand in `task_json` and `predict`; their types here are for the document, and tests read the real bytes into them
//! with unknown members denied, so neither can drift from the other.

mod bulk;
mod letter;
mod model;
mod problem;
mod retry;
mod server;
mod task;
mod webhook;
mod worker;

pub(crate) use bulk::{Batch, BatchLine, BatchResults, Batches, BulkLines};
pub(crate) use letter::{Letter, Letters, Purged, ReplayedLetter};
pub(crate) use model::{Model, Models};
pub(crate) use problem::{Bound, FieldError, Position, Problem, TaskError};
pub(crate) use retry::{RetryBody, RetryTerms};
pub(crate) use server::{Health, Links, Live, Root};
pub(crate) use task::{
    Accepted, AnyFile, AnyJson, Cancelled, ChangeStream, Elements, EventStream, FilesForm, NpyFile,
    PredictBody, PredictEvents, PredictLines, Predicted, SafetensorsFile, Status, SubmitBody, Task, Tasks,
};
pub(crate) use webhook::{TestBody, Tested, Webhook, WebhookState, Webhooks};
pub(crate) use worker::{ModelWorker, Workers};
