//! `GET /v1/tasks/{id}` and its raw result.

use std::time::Duration;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use cresset_engine::TaskView;
use cresset_task::{Code, Outcome, TaskId};

use crate::answer::json;
use crate::app::App;
use crate::auth::Pass;
use crate::binary_out::Maker;
use crate::path::TaskPath;
use crate::problem::{Answer, Problem};
use crate::{answers, payload_out, query, schema, task_json};

/// How a task stands.
///
/// With `wait`, the answer comes as soon as the task ends, at the latest after that time; it then shows the task as it
/// is, ended or not. A server that stops answers waiting callers early; one whose key is revoked meanwhile is answered 401.
#[utoipa::path(
    get,
    path = "/v1/tasks/{id}",
    operation_id = "getTask",
    tag = "tasks",
    params(
        ("id" = String, Path, description = "The task's id"),
        ("wait" = Option<String>, Query, description = "Wait for the end this long: `30s`, `500ms`, `2m`, or seconds", example = "30s")
    ),
    responses((status = 200, description = "The task", body = schema::Task))
)]
pub(crate) async fn task(State(app): State<App>, pass: Pass, TaskPath(id): TaskPath, uri: Uri) -> Answer {
    let view = look(&app, &pass, id, &uri).await?;
    answer(&app, StatusCode::OK, view).await
}

/// The result alone.
///
/// The result's JSON as it is when the task succeeded; its failure as a problem when it failed or was revoked; 202 and
/// the task while it has not ended. A result of tensors is answered as bytes where `Accept` asks for that: see "Tensors
/// as bytes".
#[utoipa::path(
    get,
    path = "/v1/tasks/{id}/result",
    operation_id = "getTaskResult",
    tag = "tasks",
    params(
        ("id" = String, Path, description = "The task's id"),
        ("wait" = Option<String>, Query, description = "Wait for the end this long: `30s`, `500ms`, `2m`, or seconds", example = "30s")
    ),
    responses(
        (
            status = 200,
            description = "The result: any JSON",
            content(
                (schema::AnyJson = "application/json"),
                (schema::Elements = "application/octet-stream"),
                (schema::NpyFile = "application/x-npy"),
                (schema::SafetensorsFile = "application/x-safetensors")
            ),
            headers(
                ("Cresset-Shape" = String, description = "Of one tensor as bytes: its sizes, such as `10`"),
                ("Cresset-Dtype" = String, description = "Of one tensor as bytes: its element type"),
                ("Cresset-Model" = String, description = "The model"),
                ("Cresset-Version" = String, description = "The version that made the result")
            )
        ),
        (status = 202, description = "Not ended yet: the task as it is", body = schema::Task)
    )
)]
pub(crate) async fn result(
    State(app): State<App>,
    pass: Pass,
    TaskPath(id): TaskPath,
    headers: HeaderMap,
    uri: Uri,
) -> Answer {
    let mut view = look(&app, &pass, id, &uri).await?;
    match view.record.outcome.take() {
        None => answer(&app, StatusCode::ACCEPTED, view).await,
        Some(Outcome::Success(payload)) => {
            let maker = Maker {
                model: &view.record.model,
                version: view.record.version.as_deref().unwrap_or_default(),
            };
            payload_out::answer(&app, &headers, payload, maker).await
        }
        Some(Outcome::Failure(failure)) => Err(Problem::failed(failure)),
        Some(Outcome::Revoked { reason }) => Err(Problem::new(Code::Revoked, reason)),
    }
}

/// The task now, or once it has ended when the caller waits, for as long as the caller may know.
async fn look(app: &App, pass: &Pass, id: TaskId, uri: &Uri) -> Result<TaskView, Problem> {
    let Some(wait) = query::wait(uri, app.options.max_wait)? else {
        return Ok(app.engine.task(id).await?);
    };
    // Waiting holds nothing but a place in a list, so each branch may be dropped.
    tokio::select! {
        biased;
        problem = pass.lost() => Err(problem),
        view = app.engine.wait(id, wait) => Ok(view?),
        () = app.stop.cancelled() => Ok(app.engine.task(id).await?),
    }
}

/// A task that has been accepted a moment ago, if it ends in this time. What goes wrong here does not make it less accepted.
pub(crate) async fn ended(app: &App, id: TaskId, wait: Duration) -> Option<TaskView> {
    // As above.
    let waited = tokio::select! {
        biased;
        view = app.engine.wait(id, wait) => view,
        () = app.stop.cancelled() => return None,
    };
    match waited {
        Ok(view) => view.record.state.is_terminal().then_some(view),
        Err(error) => {
            tracing::debug!(%error, "the end of a task that was just accepted cannot be waited for");
            None
        }
    }
}

pub(crate) async fn answer(app: &App, status: StatusCode, view: TaskView) -> Answer {
    let tracebacks = app.options.show_tracebacks;
    let body = app
        .codec(task_json::weight(&view), move || {
            task_json::write(&view, tracebacks)
        })
        .await?;
    answers::counted(app, json(status, body))
}
