//! The trace that a request belongs to (W3C Trace Context): its caller's, where `traceparent` is what the standard says, else one of
//! its own. It is in the log's lines, so that they are found from the caller's side, and what the request asks for goes on with it.

use axum::http::{Extensions, HeaderMap, HeaderName, Request};
use cresset_task::{Trace, TraceId, TraceState};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Travels with a request that came with a `traceparent`.
#[derive(Clone, Debug)]
struct Followed(Trace);

/// The trace of a request. What its handler asks the engine for is in it exactly when its caller said one: a caller whose
/// `traceparent` is none has a trace of ours, so that it is at least followed from here on.
pub(crate) fn begin<B>(request: &mut Request<B>) -> TraceId {
    let Some(trace) = said(request.headers()) else {
        return TraceId::fresh();
    };
    let id = trace.id;
    request.extensions_mut().insert(Followed(trace));
    id
}

fn said(headers: &HeaderMap) -> Option<Trace> {
    let mut given = headers.get_all(TRACEPARENT).iter();
    let first = given.next()?;
    let read = match given.next() {
        None => Trace::read(first.as_bytes()),
        // More than one is none: nobody knows whose is whose.
        Some(_) => None,
    };
    let Some(trace) = read else {
        return Some(Trace::fresh(false));
    };
    let state = headers.get_all(TRACESTATE).iter().map(|value| value.as_bytes());
    Some(Trace {
        state: TraceState::read(state),
        ..trace
    })
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
        let mut request = Request::new(());
        for (name, value) in given {
            request
                .headers_mut()
                .append(name, HeaderValue::from_static(value));
        }
        let id = begin(&mut request);
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
