//! `GET /v1/tasks`: what tasks there are.

use axum::extract::State;
use axum::http::{StatusCode, Uri};
use cresset_engine::{TASKS_MAX, TaskCursor, TaskPage, TaskQuery};
use cresset_task::TaskSummary;

use crate::answer::json;
use crate::app::App;
use crate::auth::Viewer;
use crate::json_out::{self, ObjectOut};
use crate::problem::Answer;
use crate::{list_query, query, schema};

/// Tasks on a page unless the caller says otherwise.
const LIMIT_DEFAULT: usize = 20;
/// What a task weighs in a list, without its metadata.
const TASK_BYTES: usize = 384;

/// List tasks.
///
/// Where keys are needed, those of the key's tenant; with the scope `admin`, all.
///
/// Those accepted last first, page by page: `next` of one page is `after` of the following. A task that comes meanwhile moves no
/// other. Each page is found in a bounded time, so one on which few match may have fewer than `limit`, or none, and still a
/// `next`. Results, errors and histories are not listed: `getTask` has them.
#[utoipa::path(
    get,
    path = "/v1/tasks",
    operation_id = "listTasks",
    tag = "tasks",
    params(
        ("model" = Option<String>, Query, pattern = "^[a-z0-9][a-z0-9_.-]{0,127}$", description = "Of this model only"),
        ("status" = Option<schema::Status>, Query, description = "In this state only"),
        ("limit" = Option<usize>, Query, minimum = 1, maximum = 100, description = "Tasks on the page, 1 to 100; 20 unless told"),
        ("after" = Option<u64>, Query, description = "`next` of the page before")
    ),
    responses((status = 200, description = "A page", body = schema::Tasks))
)]
pub(crate) async fn list(State(app): State<App>, Viewer(tenant): Viewer, uri: Uri) -> Answer {
    let mut asked = TaskQuery {
        tenant,
        limit: LIMIT_DEFAULT,
        ..TaskQuery::default()
    };
    for (name, value) in query::options(&uri, &["model", "status", "limit", "after"])? {
        match name.as_str() {
            "model" => asked.model = Some(list_query::model(&value)?),
            "status" => asked.state = Some(list_query::state(&value)?),
            "limit" => asked.limit = list_query::limit(&value, TASKS_MAX)?,
            _ => asked.after = Some(TaskCursor(list_query::after(&value)?)),
        }
    }
    let page = app.engine.tasks(asked).await?;
    let weight = page.tasks.iter().map(weight).sum();
    let body = app.codec(weight, move || write(&page, weight)).await?;
    Ok(json(StatusCode::OK, body))
}

fn weight(task: &TaskSummary) -> usize {
    TASK_BYTES + task.metadata.as_ref().map_or(0, bytes::Bytes::len)
}

/// A page. Written by hand because metadata is spliced in as it is stored; `schema::Tasks` describes it.
fn write(page: &TaskPage, weight: usize) -> Vec<u8> {
    let entries = page.tasks.iter().map(write_task);
    json_out::page("tasks", weight, entries, page.next.map(|cursor| cursor.0))
}

fn write_task(task: &TaskSummary) -> Vec<u8> {
    let TaskSummary {
        id,
        model,
        version,
        state,
        created_at,
        started_at,
        finished_at,
        due_at,
        attempts,
        retries,
        priority,
        metadata,
    } = task;
    let mut out = ObjectOut::new(weight(task));
    out.plain("task_id", id);
    out.plain("model", model);
    out.value("version", version);
    out.plain("status", state);
    out.plain("created_at", created_at);
    out.plain_or_null("started_at", *started_at);
    out.plain_or_null("finished_at", *finished_at);
    out.plain_or_null("eta", *due_at);
    out.value("attempts", attempts);
    out.value("retries", retries);
    out.value("priority", priority);
    out.raw("metadata")
        .extend_from_slice(metadata.as_deref().unwrap_or(b"null"));
    out.end()
}
