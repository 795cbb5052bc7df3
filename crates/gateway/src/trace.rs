//! The trace that a request belongs to (W3C Trace Context): its caller's, where `traceparent` is what the standard says, else one of
//! its own. It is in the log's lines, so that they are found from the caller's side, and what the request asks for goes on with it.

use std::sync::Arc;

use axum::extract::MatchedPath;
use axum::http::{Extensions, HeaderMap, HeaderName, Method};
use cresset_task::{Span, SpanId, SpanKind, Spans, Timestamp, Trace, TraceId, TraceState, Word};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Travels with a request that came with a `traceparent`.
#[derive(Clone, Debug)]
struct Followed(Trace);

/// Routes whose requests are spans: what they ask for is in the trace too. Others would be noise in every trace.
const RECORDED: [&str; 3] = [
    "/v1/models/{model}/tasks",
    "/v1/models/{model}/predict",
    "/v1/batches",
];

/// A request's place in a trace.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) id: TraceId,
    /// Its own span, where somebody records it.
    span: Option<Box<Open>>,
}

#[derive(Debug)]
struct Open {
    place: Trace,
    parent: Option<SpanId>,
    began: Timestamp,
}

/// The trace of a request. Where nobody records spans, what its handler asks the engine for is in it exactly when its caller said one: a
/// caller whose `traceparent` is none has a trace of ours, so that it is at least followed from here on.
pub(crate) fn begin<B>(request: &mut axum::http::Request<B>, spans: Option<&Arc<dyn Spans>>) -> Request {
    let said = said(request.headers());
    let recording = spans.filter(|_| is_recorded(request));
    let (trace, span) = match (recording, said) {
        (Some(spans), said) => {
            let caller = said.and_then(Result::ok);
            let parent = caller.as_ref().map(|caller| caller.span);
            let place = spans.begin(caller);
            let open = Open {
                place: place.clone(),
                parent,
                began: Timestamp::now(),
            };
            (place, Some(Box::new(open)))
        }
        (None, Some(said)) => (said.unwrap_or_else(|_| Trace::fresh(false)), None),
        (None, None) => {
            let id = TraceId::fresh();
            return Request { id, span: None };
        }
    };
    let id = trace.id;
    request.extensions_mut().insert(Followed(trace));
    Request { id, span }
}

fn is_recorded<B>(request: &axum::http::Request<B>) -> bool {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    *request.method() == Method::POST && route.is_some_and(|route| RECORDED.contains(&route))
}

/// What a caller says of a trace, if anything; an error when that is none.
fn said(headers: &HeaderMap) -> Option<Result<Trace, ()>> {
    let mut given = headers.get_all(TRACEPARENT).iter();
    let first = given.next()?;
    let read = match given.next() {
        None => Trace::read(first.as_bytes()),
        // More than one is none: nobody knows whose is whose.
        Some(_) => None,
    };
    let Some(trace) = read else {
        return Some(Err(()));
    };
    let state = headers.get_all(TRACESTATE).iter().map(|value| value.as_bytes());
    let state = TraceState::read(state);
    Some(Ok(Trace { state, ..trace }))
}

impl Request {
    /// It was answered so, or its caller hung up. Told once.
    pub(crate) fn ended(&mut self, spans: Option<&Arc<dyn Spans>>, route: &str, status: u16) {
        let (Some(spans), Some(open)) = (spans, self.span.take()) else {
            return;
        };
        let words: Vec<(&str, Word)> = vec![
            ("http.request.method", "POST".into()),
            ("http.route", route.to_owned().into()),
            ("http.response.status_code", i64::from(status).into()),
        ];
        spans.ended(Span {
            place: open.place,
            parent: open.parent,
            kind: SpanKind::Server,
            name: format!("POST {route}").into(),
            began: open.began,
            ended: Timestamp::now(),
            words,
            links: Vec::new(),
            // What is the caller's fault is no failure of ours.
            error: (status >= 500).then(|| format!("it was answered with {status}")),
        });
    }
}

/// The trace that a request's caller follows.
pub(crate) fn taken(extensions: &Extensions) -> Option<Box<Trace>> {
    extensions
        .get::<Followed>()
        .map(|followed| Box::new(followed.0.clone()))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn of(given: &[(HeaderName, &'static str)]) -> (TraceId, Option<Box<Trace>>) {
        let mut request = axum::http::Request::new(());
        for (name, value) in given {
            request
                .headers_mut()
                .append(name, HeaderValue::from_static(value));
        }
        let id = begin(&mut request, None).id;
        (id, taken(request.extensions()))
    }

    #[test]
    fn a_sound_trace_is_gone_on_with_and_any_other_is_begun_anew() {
        let (id, trace) = of(&[(TRACEPARENT, GOOD), (TRACESTATE, "a=1"), (TRACESTATE, "b=2")]);
        let trace = trace.unwrap();
        assert_eq!(trace.to_text(), format!("{GOOD} a=1,b=2"));
        assert_eq!(id, trace.id);
        for broken in [
            &[(TRACEPARENT, "00-nothing"), (TRACESTATE, "a=1")][..],
            &[(TRACEPARENT, GOOD), (TRACEPARENT, GOOD), (TRACESTATE, "a=1")],
        ] {
            let (id, ours) = of(broken);
            let ours = ours.unwrap();
            assert_eq!((id, &ours.state, ours.is_sampled), (ours.id, &None, false));
            assert_ne!(id, trace.id);
        }
    }

    #[test]
    fn who_says_no_trace_has_one_in_the_log_only() {
        let (one, none) = of(&[(TRACESTATE, "a=1")]);
        assert_eq!(none, None);
        assert_ne!(one, of(&[]).0);
    }

    #[test]
    fn a_tracestate_that_is_none_does_not_spoil_the_trace() {
        let (_, trace) = of(&[(TRACEPARENT, GOOD), (TRACESTATE, "what is this")]);
        assert_eq!(trace.unwrap().to_text(), GOOD);
    }
}
