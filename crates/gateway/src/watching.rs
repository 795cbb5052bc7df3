//! `GET /v1/events`: what becomes of all tasks.

use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use bytes::Bytes;
use cresset_engine::{Change, WatchPlace, Watched, Watching};

use crate::app::App;
use crate::auth::Pass;
use crate::events::{LAST_EVENT_ID, LAST_EVENT_ID_NAME, NO_EVENT};
use crate::json_out::ObjectOut;
use crate::problem::{Answer, Problem};
use crate::schema::FieldError;
use crate::streaming::{self, Form, Source};
use crate::{list_query, query, schema};

/// What a change takes as JSON, about.
const CHANGE_BYTES: usize = 192;

/// Watch all tasks.
///
/// Server-sent events: one of the type `status` each time that a task has come to another state from now on, with `task_id`,
/// `model`, `status`, `attempts` (null when it was revoked, and of what another server on the store did) and `at`.
/// What a task is like is asked with `getTask`. With `model` and `status` only such changes come. The stream goes on until the caller
/// hangs up or the server stops.
///
/// It is for those who want to see, and is not a queue: changes are kept in memory only, some thousands of them, while somebody
/// watches and for a minute after that. One who comes back with `Last-Event-ID` in that time misses nothing; one who is too slow,
/// or comes back to a server that has been started anew, is sent `gap` (`missed`: how many changes of any task, or null) and
/// then what comes from there on. A comment is sent every 15 seconds in which nothing happens.
#[utoipa::path(
    get,
    path = "/v1/events",
    operation_id = "watchTasks",
    tag = "tasks",
    params(
        ("model" = Option<String>, Query, pattern = "^[a-z0-9][a-z0-9_.-]{0,127}$", description = "Of this model only"),
        ("status" = Option<schema::Status>, Query, description = "Changes to this state only"),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was seen")
    ),
    responses((
        status = 200,
        description = "Events",
        content((schema::ChangeStream = "text/event-stream"))
    ))
)]
pub(crate) async fn watch(State(app): State<App>, pass: Pass, headers: HeaderMap, uri: Uri) -> Answer {
    let (mut model, mut state) = (None, None);
    for (name, value) in query::options(&uri, &["model", "status"])? {
        match name.as_str() {
            "model" => model = Some(list_query::model(&value)?),
            _ => state = Some(list_query::state(&value)?),
        }
    }
    if let Some(model) = &model {
        // Nothing would ever come of one that is not served.
        app.engine.declaration(model.as_str())?;
    }
    let watching = app.engine.watch_tasks(model, state, last_seen(&headers)?);
    Ok(streaming::answer(app, Form::Events, pass, Changes(watching)))
}

/// `<server>-<next>`.
fn last_seen(headers: &HeaderMap) -> Result<Option<WatchPlace>, Problem> {
    let Some(value) = headers.get(LAST_EVENT_ID) else {
        return Ok(None);
    };
    let read = |text: &str| {
        let (server, next) = text.trim().split_once('-')?;
        Some(WatchPlace {
            server: server.parse().ok()?,
            next: next.parse().ok()?,
        })
    };
    match value.to_str().ok().and_then(read) {
        Some(place) => Ok(Some(place)),
        None => Err(Problem::fields(vec![FieldError {
            field: LAST_EVENT_ID_NAME.into(),
            message: NO_EVENT.into(),
        }])),
    }
}

struct Changes(Watching);

impl Source for Changes {
    type Event = (Watched, WatchPlace);

    async fn next(&mut self) -> Option<Self::Event> {
        let watched = self.0.next().await?;
        Some((watched, self.0.place()))
    }

    async fn write(&mut self, (watched, place): Self::Event) -> Option<Bytes> {
        let id = format!("{}-{}", place.server, place.next);
        let (event, json) = match watched {
            Watched::Change(change) => ("status", write(&change)),
            Watched::Gap(missed) => {
                let mut out = ObjectOut::new(CHANGE_BYTES);
                out.value("missed", &missed);
                ("gap", out.end())
            }
        };
        Some(Form::Events.frame(Some(&id), event, json))
    }
}

fn write(change: &Change) -> Vec<u8> {
    let Change {
        id,
        model,
        state,
        attempt,
        at,
    } = change;
    let mut out = ObjectOut::new(CHANGE_BYTES);
    out.plain("task_id", id);
    out.plain("model", model);
    out.plain("status", state);
    out.value("attempts", attempt);
    out.plain("at", at);
    out.end()
}
