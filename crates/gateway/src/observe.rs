//! Around every request: an id, a clock, a count, a line in the log, a net for panics, and the last words of a problem.
//!
//! One middleware instead of five layers: each layer of axum costs two allocations a request. Lines at `debug`, or at
//! `warn` when we are at fault; never a payload.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt;
use tokio::time::Instant;
use tracing::Instrument;

use crate::app::App;
use crate::browser::{self, Origin};
use crate::client::InTls;
use crate::coding::{self, Coding};
use crate::forwarded::Way;
use crate::problem::{Details, Problem};
use crate::query;
use crate::request_id::{NamedLater, RequestId, X_REQUEST_ID};
use crate::upload::Upload;
use crate::{auth, client, trace};

/// The route label of requests that match none; raw paths would make labels without end.
const NO_ROUTE: &str = "none";

/// A longer path is not repeated in a problem.
const INSTANCE_MAX: usize = 512;

/// How a hang-up is counted: nobody saw a status. The number is the one web servers use for it in their logs.
const HUNG_UP: u16 = 499;

/// What is known of a request before its answer. Dropped unanswered when the caller hangs up: hyper then drops the
/// future of the handler, which takes a waiting prediction out of its queue.
struct Watch<'a> {
    app: &'a App,
    id: RequestId,
    method: Method,
    uri: Uri,
    route: Option<MatchedPath>,
    started: Instant,
    answered: bool,
    trace: trace::Request,
    way: Way,
    origin: Option<Origin>,
    is_tls: bool,
}

/// The middleware.
pub(crate) async fn observe(State(app): State<App>, mut request: Request, next: Next) -> Response {
    let trace = trace::begin(&mut request, app.engine.spans());
    let mut watch = Watch {
        app: &app,
        id: RequestId::of(request.headers()),
        method: request.method().clone(),
        uri: request.uri().clone(),
        route: request.extensions().get::<MatchedPath>().cloned(),
        started: Instant::now(),
        answered: false,
        trace,
        way: Way::of(&app, &mut request),
        origin: Origin::of(&app, &request),
        is_tls: request.extensions().get::<InTls>().is_some(),
    };
    if let Some(mut told) = watch
        .origin
        .as_ref()
        .and_then(|origin| origin.preflight(&request))
    {
        watch.answered(&mut told);
        return told;
    }
    let span = tracing::debug_span!("request", id = %watch.id, trace_id = %watch.trace.id, method = %watch.method, path = watch.uri.path());
    let admitted = auth::admit(&app, &mut request, watch.route.as_ref()).await;
    let entered = admitted.and_then(|()| client::enter(&app, &mut request, watch.route.as_ref()));
    let client = match entered {
        Ok(client) => client,
        Err(refusal) => {
            let (parts, body) = request.into_parts();
            drop(Upload::new(&app, &parts.headers, body));
            let mut response = refusal.into_response();
            watch.answered(&mut response);
            return response;
        }
    };
    let coding = Coding::accepted(request.headers());
    // Nothing of ours is used again after a panic: the request's state is dropped with the future, and what is shared
    // (the engine) keeps its own invariants under unwinding.
    let answer = AssertUnwindSafe(next.run(request))
        .catch_unwind()
        .instrument(span)
        .await;
    let response = answer.unwrap_or_else(|panic| Problem::panicked(&*panic).into_response());
    let mut response = coding::packed(&app, coding, response).await;
    watch.answered(&mut response);
    drop(client); // its request is under way until it has an answer
    response
}

impl Watch<'_> {
    fn answered(&mut self, response: &mut Response) {
        self.answered = true;
        let problem = response.extensions_mut().remove::<Arc<Details>>();
        if let Some(details) = &problem {
            let path = self.uri.path();
            let short = (path.len() > INSTANCE_MAX).then(|| query::cut(path));
            details.write(
                response,
                short.as_deref().unwrap_or(path),
                &self.id,
                self.app.options.show_tracebacks,
            );
        }
        if let Some(later) = response.extensions_mut().remove::<NamedLater>() {
            later.name(&self.id);
        }
        let headers = response.headers_mut();
        headers.insert(X_REQUEST_ID, self.id.clone().into_header());
        self.way.mend(headers);
        if let Some(origin) = &self.origin {
            origin.tell(headers);
        }
        let route = self.route.as_ref().map(MatchedPath::as_str);
        browser::guard(self.app, headers, route, self.is_tls);
        let status = response.status().as_u16();
        self.count(status);
        self.trace
            .ended(self.app.engine.spans(), route.unwrap_or(NO_ROUTE), status);
        let (id, trace_id, method, path) = (&self.id, &self.trace.id, &self.method, self.uri.path());
        let (took, caller) = (
            self.started.elapsed(),
            self.way.caller.map(tracing::field::display),
        );
        match problem {
            Some(details) if details.is_our_fault() => {
                let cause = details.cause.as_deref().map(tracing::field::display);
                tracing::warn!(request_id = %id, %trace_id, %method, path, caller, status, ?took, code = %details.code, cause, "request failed");
            }
            Some(details) => {
                tracing::debug!(request_id = %id, %trace_id, %method, path, caller, status, ?took, code = %details.code, "request refused");
            }
            None => {
                tracing::debug!(request_id = %id, %trace_id, %method, path, caller, status, ?took, "request answered")
            }
        }
    }

    fn count(&self, status: u16) {
        let route = self.route.as_ref().map_or(NO_ROUTE, MatchedPath::as_str);
        self.app
            .engine
            .metrics()
            .http_request(label(&self.method), route, status, self.started.elapsed());
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.count(HUNG_UP);
            let route = self.route.as_ref().map_or(NO_ROUTE, MatchedPath::as_str);
            self.trace.ended(self.app.engine.spans(), route, HUNG_UP);
            let (id, trace_id, method, path) = (&self.id, &self.trace.id, &self.method, self.uri.path());
            tracing::debug!(request_id = %id, %trace_id, %method, path, took = ?self.started.elapsed(), "caller hung up");
        }
    }
}

/// The label of a method. Callers can make up methods, so only the known ones count under their own names.
fn label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::HEAD => "HEAD",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests;
