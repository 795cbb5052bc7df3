//! `POST /v1/tasks/{id}/cancel`.

use axum::extract::{Request, State};
use axum::http::StatusCode;

use crate::answer::json;
use crate::app::App;
use crate::json_out::ObjectOut;
use crate::path::TaskPath;
use crate::problem::Answer;
use crate::{query, schema, upload};

/// About the size of the answer.
const ANSWER_BYTES: usize = 128;

/// Cancel a task.
///
/// Answers once the task is revoked on stable storage: it stays so, also across a crash. A queued task never runs. If a model
/// process has it at that moment the model's code can see that, and stop; a process that does not let go within `grace_ms` is
/// killed, and a result is thrown away. One that has ended stays as it is. `cancelled` says which. Cancelling twice does no harm.
#[utoipa::path(
    post,
    path = "/v1/tasks/{id}/cancel",
    operation_id = "cancelTask",
    tag = "tasks",
    params(("id" = String, Path, description = "The task's id")),
    responses((status = 200, description = "What became of it", body = schema::Cancelled))
)]
pub(crate) async fn cancel(State(app): State<App>, TaskPath(id): TaskPath, request: Request) -> Answer {
    query::none(&upload::bare(&app, request).uri)?;
    let cancellation = app.engine.cancel(id).await?;
    let mut answer = ObjectOut::new(ANSWER_BYTES);
    answer.plain("task_id", cancellation.id);
    answer.plain("status", cancellation.state);
    answer.plain("cancelled", cancellation.stopped.name());
    if let Some(grace) = cancellation.grace {
        answer.value("grace_ms", &u64::try_from(grace.as_millis()).unwrap_or(u64::MAX));
    }
    Ok(json(StatusCode::OK, answer.end()))
}
