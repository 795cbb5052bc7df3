//! Answers that go on: server-sent events (WHATWG HTML, section 9.2), and lines of JSON.
//!
//! A piece is made when the connection has room for one, so a slow reader costs one piece. What goes wrong on the way ends the
//! stream.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use cresset_engine::{Piece, Progress};
use cresset_task::Attempt;
use futures_util::stream;

use crate::answer::typed;
use crate::app::App;
use crate::auth::Pass;
use crate::json_out::ObjectOut;
use crate::media::Range;

/// Tells nginx to pass pieces on as they come.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");
/// A stream of events on which nothing happens says so this often: proxies give up what is silent, usually after a minute.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// The first words: who loses the stream comes back after a second.
const HELLO: &str = "retry: 1000\n\n";
const STILL_HERE: &str = ": still here\n\n";
/// What a piece weighs beside its text.
const FRAME_BYTES: usize = 96;

/// How a stream is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `text/event-stream`.
    Events,
    /// `application/x-ndjson`: an object on each line, which says in `event` what it is.
    Lines,
}

impl Form {
    const fn name(self) -> &'static str {
        match self {
            Self::Events => "text/event-stream",
            Self::Lines => "application/x-ndjson",
        }
    }

    /// The form that `Accept` asks for by its name, unless it would rather have JSON.
    pub(crate) fn wanted(headers: &HeaderMap) -> Option<Self> {
        let mut given = headers.get_all(header::ACCEPT).iter().map(HeaderValue::as_bytes);
        // What nearly everyone sends, without a look at the rest.
        if let (None | Some(b"*/*" | b"application/json"), None) = (given.next(), given.next()) {
            return None;
        }
        let ranges = Range::all(headers);
        let quality = |name: &str| {
            let named = ranges.iter().filter(|range| range.name == name);
            named.map(|range| range.quality).max().unwrap_or(0)
        };
        let forms = [Self::Lines, Self::Events];
        // The last of equals: events.
        let best = forms.into_iter().max_by_key(|form| quality(form.name()))?;
        let wanted = quality(best.name());
        (wanted > 0 && wanted >= quality("application/json")).then_some(best)
    }

    /// One piece: what it is, its id if one can go on from there, and its JSON. It must be on one line: what JSON has of line
    /// breaks is white space, and becomes blanks.
    pub(crate) fn frame(self, id: Option<&str>, event: &str, mut json: Vec<u8>) -> Bytes {
        for byte in &mut json {
            if matches!(byte, b'\n' | b'\r') {
                *byte = b' ';
            }
        }
        match self {
            Self::Events => {
                let id = id.map(|id| format!("id: {id}\n")).unwrap_or_default();
                let mut frame = format!("{id}event: {event}\ndata: ").into_bytes();
                frame.extend_from_slice(&json);
                frame.extend_from_slice(b"\n\n");
                frame.into()
            }
            Self::Lines => {
                let mut frame = format!("{{\"event\":\"{event}\"").into_bytes();
                if json.len() > 2 {
                    frame.push(b',');
                }
                // An object of ours: its brace is replaced.
                frame.extend_from_slice(json.get(1..).unwrap_or_default());
                frame.push(b'\n');
                frame.into()
            }
        }
    }
}

/// Where the pieces of a stream come from.
pub(crate) trait Source: Send + 'static {
    /// What comes.
    type Event: Send;

    /// What comes next; `None` at the end. Dropping the future must lose nothing.
    fn next(&mut self) -> impl Future<Output = Option<Self::Event>> + Send;

    /// It as a piece; `None` is the end. Never dropped half way but with the stream.
    fn write(&mut self, event: Self::Event) -> impl Future<Output = Option<Bytes>> + Send;
}

/// A stream on its way.
struct Pieces<S> {
    source: S,
    app: App,
    form: Form,
    pass: Pass,
    is_greeted: bool,
}

impl<S: Source> Pieces<S> {
    async fn next(&mut self) -> Option<Bytes> {
        if self.form == Form::Events && !std::mem::replace(&mut self.is_greeted, true) {
            return Some(Bytes::from_static(HELLO.as_bytes()));
        }
        let is_silent = self.form == Form::Lines;
        let event = tokio::select! {
            biased;
            () = self.app.stop.cancelled() => return None,
            _ = self.pass.lost() => return None,
            event = self.source.next() => Some(event?),
            () = tokio::time::sleep(HEARTBEAT), if !is_silent => None,
        };
        match event {
            Some(event) => self.source.write(event).await,
            None => Some(Bytes::from_static(STILL_HERE.as_bytes())),
        }
    }
}

/// The answer: everything that comes, until its end or the server's, or that of the key it was asked for with.
pub(crate) fn answer<S: Source>(app: App, form: Form, pass: Pass, source: S) -> Response<Body> {
    let pieces = Pieces {
        source,
        app,
        form,
        pass,
        is_greeted: false,
    };
    let body = Body::from_stream(stream::unfold(pieces, |mut pieces| async {
        let piece = pieces.next().await?;
        Some((Ok::<_, Infallible>(piece), pieces))
    }));
    let mut response = typed(StatusCode::OK, HeaderValue::from_static(form.name()), body);
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    response
}

/// What a model says of its work: what it is, and its JSON.
pub(crate) fn live(piece: Piece) -> (&'static str, Vec<u8>) {
    match piece {
        Piece::Chunk {
            number,
            attempt,
            text,
        } => {
            let mut out = of_attempt(attempt, text.len());
            out.value("number", &number);
            out.raw("chunk").extend_from_slice(&text);
            ("chunk", out.end())
        }
        Piece::Gap { from, to, attempt } => {
            let mut out = of_attempt(attempt, 0);
            out.value("from", &from);
            out.value("to", &to);
            ("gap", out.end())
        }
        Piece::Restart { attempt } => ("restart", of_attempt(attempt, 0).end()),
        Piece::Line { number, line } => {
            let mut out = of_attempt(line.attempt, line.text.len());
            out.value("number", &number);
            out.plain("level", line.level.name());
            out.value("text", &*line.text);
            out.plain("at", line.at);
            ("log", out.end())
        }
        Piece::Progress(said) => {
            let mut out = ObjectOut::new(FRAME_BYTES);
            write_progress(&said, &mut out);
            ("progress", out.end())
        }
    }
}

/// The keys of a progress.
pub(crate) fn write_progress(progress: &Progress, out: &mut ObjectOut) {
    out.value("fraction", &progress.fraction);
    out.value("message", &progress.message.as_deref());
    out.plain("at", progress.at);
}

fn of_attempt(attempt: Attempt, bytes: usize) -> ObjectOut {
    let mut out = ObjectOut::new(FRAME_BYTES + bytes);
    out.value("attempt", &attempt);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_of_a_piece_is_one_line() {
        let of = |form: Form, id, json: &[u8]| {
            let frame = form.frame(id, "status", json.to_vec());
            String::from_utf8(frame.to_vec()).unwrap()
        };
        let json = b"{\n  \"a\":\r\n [1]}";
        assert_eq!(
            of(Form::Events, Some("7"), json),
            "id: 7\nevent: status\ndata: {   \"a\":   [1]}\n\n"
        );
        assert_eq!(of(Form::Events, None, b"{}"), "event: status\ndata: {}\n\n");
        assert_eq!(
            of(Form::Lines, None, json),
            "{\"event\":\"status\",   \"a\":   [1]}\n"
        );
        assert_eq!(of(Form::Lines, None, b"{}"), "{\"event\":\"status\"}\n");
    }

    #[test]
    fn a_stream_is_for_who_asks_for_one_by_its_name() {
        for (accept, form) in [
            ("*/*", None),
            ("application/json", None),
            ("text/*", None),
            ("text/event-stream", Some(Form::Events)),
            ("Text/Event-Stream, */*", Some(Form::Events)),
            ("text/event-stream, application/json;q=0.5", Some(Form::Events)),
            ("text/event-stream;q=0.2, application/json;q=0.5", None),
            ("text/event-stream;q=0", None),
            ("application/x-ndjson", Some(Form::Lines)),
            ("application/x-ndjson, text/event-stream", Some(Form::Events)),
            ("application/x-ndjson, text/event-stream;q=0.9", Some(Form::Lines)),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]);
            assert_eq!(Form::wanted(&headers), form, "{accept}");
        }
        assert_eq!(Form::wanted(&HeaderMap::new()), None);
    }
}
