//! `GET /v1/tasks/{id}/events`: a task followed from state to state, and what its model says in between.
//!
//! An event of the type `status` is the whole task as it is, and each event's id says how far the task had come, and up to where
//! the pieces of its result were read. So one who comes back says what it saw last, and is sent what is newer. What goes wrong
//! on the way ends the stream; who comes back for more reads why as an ordinary answer.

use axum::body::Body;
use axum::extract::State;
use axum::http::{Extensions, HeaderMap, HeaderName, Response, StatusCode, Uri};
use bytes::Bytes;
use cresset_engine::{Cursor, Event, Following, Place, TaskView};
use cresset_task::Revision;

use crate::app::App;
use crate::path::TaskPath;
use crate::problem::{Answer, Problem};
use crate::schema::FieldError;
use crate::streaming::{self, Form, Source};
use crate::{auth, query, schema, task_json};

/// What a browser sends when it comes back.
pub(crate) const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Follow a task.
///
/// Server-sent events. The first is the task as it is, and then there is one each time that it has come to another state, until
/// its end, when the stream ends. These are of the type `status`, and their data is the task as `getTask` shows it. A state that
/// passes very quickly may be left out; the end never is.
///
/// Between them comes what the model says: `progress` (`fraction`, `message`, `at`), the newest only; and of a streaming model
/// (`[stream]` in its `model.toml`) `chunk` (`attempt`, `number`, `chunk`) for each piece of the result, in order and before the
/// end. `restart` (`attempt`) says that the task is run again: what came before is void. `gap` (`attempt`, `from`, `to`) says
/// that these pieces are not kept any more: `[stream] replay_bytes` and `limits.max_stream_bytes` bound what is. The result at
/// the end is whole in any case. Pieces are kept until ten seconds after the end.
///
/// With `?logs=true` there are events of the type `log` besides (`attempt`, `number`, `level`, `text`, `at`): lines that the model
/// writes about the task. They are for keys with the scope `admin`, and for whoever may read the task where `[logs] callers`
/// in its `model.toml` says so. The newest 256, of 256 KiB at most, are kept while it runs and ten seconds longer; a number that is left
/// out is a line that is not kept. Who comes back is sent those again that are kept.
///
/// A caller that comes back with `Last-Event-ID`, as browsers do by themselves, is sent what it has not seen, also after a restart
/// of the server. If it has seen the end, the answer is 204, which tells a browser not to come back. A comment is sent every 15
/// seconds in which nothing happens.
#[utoipa::path(
    get,
    path = "/v1/tasks/{id}/events",
    operation_id = "followTask",
    tag = "tasks",
    params(
        ("id" = String, Path, description = "The task's id"),
        ("logs" = Option<bool>, Query, description = "Whether to send the lines too that its model writes about it"),
        ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was seen")
    ),
    responses(
        (
            status = 200,
            description = "Events",
            content((schema::EventStream = "text/event-stream"))
        ),
        (status = 204, description = "The task has ended, and the caller has seen that")
    )
)]
pub(crate) async fn follow(
    State(app): State<App>,
    TaskPath(id): TaskPath,
    headers: HeaderMap,
    extensions: Extensions,
    uri: Uri,
) -> Answer {
    let with_logs = wants_logs(&uri)?;
    let seen = last_seen(&headers)?.unwrap_or_default();
    let now = app.engine.task(id).await?.record;
    if with_logs {
        // A model that is not served any more gives them to nobody but operators.
        let for_callers = app
            .engine
            .declaration(now.model.as_str())
            .is_ok_and(|model| model.logs.callers);
        auth::check_logs(&extensions, for_callers)?;
    }
    if now.state.is_terminal() && seen.revision >= Some(now.revision()) {
        let mut nothing = Response::new(Body::empty());
        *nothing.status_mut() = StatusCode::NO_CONTENT;
        return Ok(nothing);
    }
    let mut following = app.engine.follow(id, seen);
    if with_logs {
        following = following.with_lines();
    }
    let events = Events {
        following,
        app: app.clone(),
    };
    Ok(streaming::answer(
        app,
        Form::Events,
        auth::Pass::of(&extensions),
        events,
    ))
}

/// `?logs=true`.
fn wants_logs(uri: &Uri) -> Result<bool, Problem> {
    match query::options(uri, &["logs"])?.first().map(|(_, value)| &**value) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(other) => Err(query::bad(format!(
            "`logs` is `{}`; it must be `true` or `false`",
            query::cut(other)
        ))),
    }
}

/// Where this caller was when it last saw the task.
pub(crate) fn last_seen(headers: &HeaderMap) -> Result<Option<Place>, Problem> {
    let Some(value) = headers.get(LAST_EVENT_ID) else {
        return Ok(None);
    };
    match value.to_str().ok().and_then(|text| read_place(text.trim())) {
        Some(place) => Ok(Some(place)),
        None => Err(Problem::fields(vec![FieldError {
            field: LAST_EVENT_ID_NAME.into(),
            message: NO_EVENT.into(),
        }])),
    }
}

pub(crate) const LAST_EVENT_ID_NAME: &str = "Last-Event-ID";
pub(crate) const NO_EVENT: &str = "is not the id of an event; send the last one that came, or no such header";

/// `<revision>`, or `<revision>-<run>.<next>` once pieces of the result were read. No task has revision 0.
fn read_place(text: &str) -> Option<Place> {
    let (revision, cursor) = match text.split_once('-') {
        None => (text, Cursor::default()),
        Some((revision, cursor)) => {
            let (run, next) = cursor.split_once('.')?;
            let (run, next) = (run.parse().ok()?, next.parse().ok()?);
            (revision, Cursor { run, next })
        }
    };
    let revision: u64 = revision.parse().ok()?;
    Some(Place {
        revision: (revision > 0).then_some(Revision(revision)),
        cursor,
    })
}

fn write_place(place: Place) -> String {
    let revision = place.revision.map_or(0, |revision| revision.0);
    match place.cursor {
        Cursor { next: 0, .. } => revision.to_string(),
        Cursor { run, next } => format!("{revision}-{run}.{next}"),
    }
}

struct Events {
    following: Following,
    app: App,
}

impl Source for Events {
    type Event = (Event, Place);

    async fn next(&mut self) -> Option<Self::Event> {
        match self.following.next().await {
            Ok(event) => Some((event?, self.following.place())),
            Err(error) => {
                tracing::debug!(%error, "a stream of events ends early");
                None
            }
        }
    }

    async fn write(&mut self, (event, place): Self::Event) -> Option<Bytes> {
        let id = write_place(place);
        match event {
            Event::State(view) => self.status(id, *view).await,
            Event::Live(piece) => {
                let (event, json) = streaming::live(piece);
                // Progress is the newest there is whenever one comes back, and lines are all that are kept.
                let id = (!matches!(event, "progress" | "log")).then_some(&*id);
                Some(Form::Events.frame(id, event, json))
            }
        }
    }
}

impl Events {
    async fn status(&self, id: String, view: TaskView) -> Option<Bytes> {
        let tracebacks = self.app.options.show_tracebacks;
        let weight = task_json::weight(&view);
        let write = move || Form::Events.frame(Some(&id), "status", task_json::write(&view, tracebacks));
        // It fails in one way only: the runtime shuts down.
        self.app.codec(weight, write).await.ok()
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn what_is_no_id_of_an_event_is_refused() {
        let of = |value: &'static [u8]| {
            let value = HeaderValue::from_bytes(value).unwrap();
            last_seen(&HeaderMap::from_iter([(LAST_EVENT_ID, value)]))
        };
        let place = |revision, run, next| Place {
            revision,
            cursor: Cursor { run, next },
        };
        assert_eq!(of(b" 12 ").unwrap(), Some(place(Some(Revision(12)), 0, 0)));
        assert_eq!(of(b"3-17.5").unwrap(), Some(place(Some(Revision(3)), 17, 5)));
        for wrong in [
            &b""[..],
            b"x",
            b"-1",
            b"1.5",
            b"99999999999999999999",
            b"\xff",
            b"1-",
            b"1-2",
            b"1-2.",
            b"1-.2",
            b"1-2.-3",
            b"1-2.3.4",
        ] {
            assert!(of(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(last_seen(&HeaderMap::new()).unwrap(), None);
    }

    #[test]
    fn an_id_is_read_as_it_was_written() {
        for place in [
            Place::default(),
            Place {
                revision: Some(Revision(7)),
                cursor: Cursor::default(),
            },
            Place {
                revision: Some(Revision(u64::MAX)),
                cursor: Cursor {
                    run: i64::MAX,
                    next: u64::MAX,
                },
            },
        ] {
            assert_eq!(read_place(&write_place(place)), Some(place));
        }
    }
}
