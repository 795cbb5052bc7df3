//! `GET /v1/tasks/{id}/events`: a task followed from state to state, as server-sent events (WHATWG HTML, section 9.2).
//!
//! An event is the whole task as it is, and its id says how far the task had come. So nothing is kept for callers who are away:
//! one who comes back says what it saw last, and is sent what is newer. What goes wrong on the way ends the stream; who comes back
//! for more reads why as an ordinary answer.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, Uri, header};
use bytes::Bytes;
use cresset_engine::{Following, TaskView};
use cresset_task::Revision;
use futures_util::stream;

use crate::answer::typed;
use crate::app::App;
use crate::path::TaskPath;
use crate::problem::{Answer, Problem};
use crate::schema::FieldError;
use crate::{query, schema, task_json};

/// What a browser sends when it comes back.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
/// Tells nginx to pass events on as they come.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// A stream on which nothing happens says so this often: proxies give up what is silent, usually after a minute.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The first words: who loses the stream comes back after a second.
const HELLO: &str = "retry: 1000\n\n";
const STILL_HERE: &str = ": still here\n\n";

/// Follow a task.
///
/// Server-sent events. The first is the task as it is, and then there is one each time that it has come to another state, until
/// its end, when the stream ends. Each is of the type `status`, and its data is the task as `getTask` shows it. A state that
/// passes very quickly may be left out; the end never is.
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
        ("Last-Event-ID" = Option<u64>, Header, description = "The id of the last event that was seen")
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
    uri: Uri,
) -> Answer {
    query::none(&uri)?;
    let seen = last_seen(&headers)?;
    let now = app.engine.task(id).await?.record;
    if now.state.is_terminal() && seen >= Some(now.revision()) {
        let mut nothing = Response::new(Body::empty());
        *nothing.status_mut() = StatusCode::NO_CONTENT;
        return Ok(nothing);
    }
    let events = Events {
        following: app.engine.follow(id, seen),
        app,
        greeted: false,
    };
    let body = Body::from_stream(stream::unfold(events, |mut events| async {
        let piece = events.next().await?;
        Some((Ok::<_, Infallible>(piece), events))
    }));
    let mut response = typed(StatusCode::OK, EVENT_STREAM, body);
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    Ok(response)
}

/// How far the task had come when this caller last saw it.
pub(crate) fn last_seen(headers: &HeaderMap) -> Result<Option<Revision>, Problem> {
    let Some(value) = headers.get(LAST_EVENT_ID) else {
        return Ok(None);
    };
    let number = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    match number {
        Some(number) => Ok(Some(Revision(number))),
        None => Err(Problem::fields(vec![FieldError {
            field: "Last-Event-ID".into(),
            message: "is not the id of an event; send the last one that came, or no such header".into(),
        }])),
    }
}

/// A stream on its way. It makes a piece when the connection has room for one, so a slow reader costs one event.
struct Events {
    following: Following,
    app: App,
    greeted: bool,
}

impl Events {
    async fn next(&mut self) -> Option<Bytes> {
        if !std::mem::replace(&mut self.greeted, true) {
            return Some(Bytes::from_static(HELLO.as_bytes()));
        }
        // Either future may be dropped: what has not been shown is shown by the next one.
        let view = tokio::select! {
            biased;
            () = self.app.stop.cancelled() => return None,
            view = self.following.next() => view,
            () = tokio::time::sleep(HEARTBEAT) => return Some(Bytes::from_static(STILL_HERE.as_bytes())),
        };
        match view {
            Ok(Some(view)) => self.event(view).await,
            Ok(None) => None,
            Err(error) => {
                tracing::debug!(%error, "a stream of events ends early");
                None
            }
        }
    }

    async fn event(&self, view: TaskView) -> Option<Bytes> {
        let tracebacks = self.app.options.show_tracebacks;
        let id = view.record.revision().0;
        let weight = task_json::weight(&view);
        let write = move || frame(id, task_json::write(&view, tracebacks));
        match self.app.codec(weight, write).await {
            Ok(event) => Some(event.into()),
            // The only way: the runtime shuts down.
            Err(_) => None,
        }
    }
}

/// One event. Its data must be on one line: what JSON has of line breaks is white space, and becomes blanks.
fn frame(id: u64, mut json: Vec<u8>) -> Vec<u8> {
    for byte in &mut json {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    let mut event = format!("id: {id}\nevent: status\ndata: ").into_bytes();
    event.extend_from_slice(&json);
    event.extend_from_slice(b"\n\n");
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_of_an_event_is_one_line() {
        let event = frame(7, b"{\n  \"a\":\r\n [1]}".to_vec());
        let text = String::from_utf8(event).unwrap();
        assert_eq!(text, "id: 7\nevent: status\ndata: {   \"a\":   [1]}\n\n");
    }

    #[test]
    fn what_is_no_id_of_an_event_is_refused() {
        let of = |value: &'static [u8]| {
            let value = HeaderValue::from_bytes(value).unwrap();
            last_seen(&HeaderMap::from_iter([(LAST_EVENT_ID, value)]))
        };
        assert_eq!(of(b" 12 ").unwrap(), Some(Revision(12)));
        for wrong in [&b""[..], b"x", b"-1", b"1.5", b"99999999999999999999", b"\xff"] {
            assert!(of(wrong).is_err(), "{wrong:?}");
        }
        assert_eq!(last_seen(&HeaderMap::new()).unwrap(), None);
    }
}
