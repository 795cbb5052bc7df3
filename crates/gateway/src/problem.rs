//! What a caller gets instead of an answer: RFC 9457 problem documents, one shape for every error.
//!
//! A handler says what went wrong ([`Problem`]); the words of the request it happened in (its id, its path) are added
//! where they are known, in `observe`. So a `Problem` turned into a response is a status and a note for that layer.
//! Status and title come from [`Code`], never from here. What only the log should have (the causes of a store error)
//! stays in `cause`.

use std::any::Any;
use std::error::Error;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use cresset_engine::{Bound, EngineError};
use cresset_task::{Code, Failure};

use crate::coding::CODINGS;
use crate::request_id::RequestId;
use crate::schema;

/// Where the description of a code is served: `type` points at its heading.
pub(crate) const ERRORS_PAGE: &str = "/docs/errors";

/// The media type of every error.
pub(crate) const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// At most this many fields are named: enough to mend a client, and an answer never outgrows its question.
pub(crate) const FIELD_ERRORS_MAX: usize = 16;

/// What a handler gives: an answer, or a problem.
pub(crate) type Answer = Result<Response, Problem>;

/// Why there is no answer. Boxed: it is the rare arm of every `Result` here.
#[derive(Clone, Debug)]
pub(crate) struct Problem(Arc<Details>);

/// See [`Problem`].
#[derive(Clone, Debug)]
pub(crate) struct Details {
    pub(crate) code: Code,
    detail: String,
    errors: Vec<schema::FieldError>,
    position: Option<schema::Position>,
    failure: Option<Failure>,
    retry_after: Option<Duration>,
    /// What `WWW-Authenticate` says.
    challenge: Option<&'static str>,
    bound: Option<Bound>,
    /// The answer says which codings there are.
    names_codings: bool,
    /// For the log only.
    pub(crate) cause: Option<String>,
}

impl Problem {
    /// A problem with this code; `detail` says what was wrong, where, and what would be right.
    pub(crate) fn new(code: Code, detail: impl Into<String>) -> Self {
        Self(Arc::new(Details {
            code,
            detail: detail.into(),
            errors: Vec::new(),
            position: None,
            failure: None,
            retry_after: None,
            challenge: None,
            bound: None,
            names_codings: false,
            cause: None,
        }))
    }

    /// Its code.
    pub(crate) fn code(&self) -> Code {
        self.0.code
    }

    /// Fields of the body that are wrong. There must be at least one.
    pub(crate) fn fields(mut errors: Vec<schema::FieldError>) -> Self {
        let more = errors.len() > FIELD_ERRORS_MAX;
        errors.truncate(FIELD_ERRORS_MAX);
        let detail = match errors.as_slice() {
            [one] => format!("`{}`: {}", one.field, one.message),
            many => {
                let names: Vec<_> = many.iter().map(|e| format!("`{}`", e.field)).collect();
                let (over, rest) = if more { ("more than ", ", ...") } else { ("", "") };
                format!(
                    "{over}{} fields are wrong: {}{rest}",
                    many.len(),
                    names.join(", ")
                )
            }
        };
        Self::new(Code::InvalidInput, detail).with(|d| d.errors = errors)
    }

    /// What is wrong, in one line, for where there is no document: every field that is.
    pub(crate) fn in_short(&self) -> String {
        match self.0.errors.as_slice() {
            [] | [_] => self.0.detail.clone(),
            many => {
                let fields = many.iter().map(|e| format!("`{}`: {}", e.field, e.message));
                fields.collect::<Vec<_>>().join("; ")
            }
        }
    }

    /// The same problem, and what the caller should know beside it.
    pub(crate) fn and(self, more: &str) -> Self {
        self.with(|d| {
            d.detail.push_str("; ");
            d.detail.push_str(more);
        })
    }

    /// A task's own failure, told as a problem.
    pub(crate) fn failed(failure: Failure) -> Self {
        let detail = format!("{}: {}", failure.type_, failure.message);
        Self::new(failure.code, detail).with(|d| d.failure = Some(failure))
    }

    /// A handler panicked: a bug. The message goes to the log, not to the caller.
    pub(crate) fn panicked(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
        let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
        Self::new(
            Code::Internal,
            "the request could not be answered because of a bug; the request id finds it in the log",
        )
        .with(|d| d.cause = Some(format!("panic: {}", text.as_deref().unwrap_or("not text"))))
    }

    /// Where reading of the body stopped.
    pub(crate) fn at(self, position: schema::Position) -> Self {
        self.with(|d| d.position = Some(position))
    }

    /// What the log should have beside it.
    pub(crate) fn because(self, cause: String) -> Self {
        self.with(|d| d.cause = Some(cause))
    }

    /// The bound that was reached.
    pub(crate) fn at_bound(self, bound: Bound) -> Self {
        self.with(|d| d.bound = Some(bound))
    }

    /// How the caller could have said who it is, in the words of RFC 6750.
    pub(crate) fn challenge(self, words: &'static str) -> Self {
        self.with(|d| d.challenge = Some(words))
    }

    /// The answer says in what a body may be packed (RFC 7694).
    pub(crate) fn naming_codings(self) -> Self {
        self.with(|d| d.names_codings = true)
    }

    /// When trying again makes sense.
    pub(crate) fn retry_after(self, after: Duration) -> Self {
        self.with(|d| d.retry_after = Some(after))
    }

    /// The whole answer, for a connection on which no request was read, or none will be.
    pub(crate) fn whole_answer(&self) -> Vec<u8> {
        let (status, id) = (self.0.status(), RequestId::fresh());
        let (json, retry_after) = self.0.document("", &id, false);
        let mut head = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\nconnection: close\r\nx-request-id: {id}\r\n",
            status.as_u16(),
            status.canonical_reason().unwrap_or_default(),
            json.len(),
        );
        if let Some(seconds) = retry_after {
            write!(head, "retry-after: {seconds}\r\n").expect("a String takes any text");
        }
        head.push_str("\r\n");
        [head.into_bytes(), json].concat()
    }

    /// The status and the document, where no request's answer carries them.
    pub(crate) fn alone(&self) -> (StatusCode, Vec<u8>) {
        (self.0.status(), self.0.document("", &RequestId::fresh(), false).0)
    }

    /// The document alone, for a stream whose head has been sent.
    pub(crate) fn as_event(&self, instance: &str, id: &RequestId, tracebacks: bool) -> Vec<u8> {
        self.0.document(instance, id, tracebacks).0
    }

    fn with(mut self, change: impl FnOnce(&mut Details)) -> Self {
        change(Arc::make_mut(&mut self.0));
        self
    }
}

impl From<EngineError> for Problem {
    fn from(error: EngineError) -> Self {
        let (retry_after, bound) = (error.retry_after(), error.bound());
        let cause = chain(&error);
        let problem = match error {
            EngineError::Failed(failure) => Self::failed(failure),
            EngineError::BadCallback(message) => Self::fields(vec![schema::FieldError {
                field: "callback_url".into(),
                message,
            }]),
            other => Self::new(other.code(), other.to_string()),
        };
        problem.with(|d| {
            d.retry_after = retry_after;
            d.bound = bound;
            d.cause = cause;
        })
    }
}

/// What lies below an error, in one line; `None` when nothing does.
fn chain(error: &dyn Error) -> Option<String> {
    let mut line = String::new();
    let mut below = error.source();
    while let Some(cause) = below {
        let separator = if line.is_empty() { "" } else { ": " };
        write!(line, "{separator}{cause}").expect("a String takes any text");
        below = cause.source();
    }
    (!line.is_empty()).then_some(line)
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = self.0.status();
        response.extensions_mut().insert(self.0);
        response
    }
}

impl Details {
    fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.code.http_status()).expect("the code table holds HTTP statuses")
    }

    /// True when the server is at fault, not the caller and not the model's code.
    pub(crate) fn is_our_fault(&self) -> bool {
        self.failure.is_none() && self.status().is_server_error()
    }

    /// Writes the document into the response that carries it.
    pub(crate) fn write(&self, response: &mut Response, instance: &str, id: &RequestId, tracebacks: bool) {
        let (json, retry_after) = self.document(instance, id, tracebacks);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
        if let Some(seconds) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(words) = self.challenge {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(words));
        }
        if self.names_codings {
            headers.insert(header::ACCEPT_ENCODING, CODINGS);
        }
        *response.body_mut() = Body::from(json);
    }

    /// The document, and the seconds of its `Retry-After`.
    fn document(&self, instance: &str, id: &RequestId, tracebacks: bool) -> (Vec<u8>, Option<u64>) {
        // Rounded up, and never 0: a client that obeys must not come back too early, nor spin.
        let retry_after = self.retry_after.map(|d| d.as_millis().div_ceil(1000).max(1));
        let body = schema::Problem {
            type_: &format!("{ERRORS_PAGE}#{}", self.code.name()),
            title: self.code.title(),
            status: self.code.http_status(),
            detail: &self.detail,
            code: self.code.name(),
            instance,
            request_id: id.as_str(),
            errors: &self.errors,
            position: self.position,
            error: self
                .failure
                .as_ref()
                .map(|f| schema::TaskError::of(f, tracebacks)),
            bound: self.bound.as_ref().map(schema::Bound::of),
            retry_after: retry_after.map(|s| u64::try_from(s).unwrap_or(u64::MAX)),
        };
        let json = serde_json::to_vec(&body).expect("a problem document becomes JSON");
        (json, body.retry_after)
    }
}

#[cfg(test)]
pub(crate) mod tests;
