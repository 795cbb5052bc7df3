//! The parts that every answer is made of. It knows no route and no handler.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};

/// The media type of answers.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// A JSON answer.
pub(crate) fn json(status: StatusCode, body: Vec<u8>) -> Response<Body> {
    typed(status, JSON, body)
}

/// An answer of this media type.
pub(crate) fn typed(status: StatusCode, media: HeaderValue, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, media);
    response
}

/// The same answer with one more header. `value` is made of ids and names, which are all plain ASCII.
pub(crate) fn with_header(mut response: Response<Body>, name: HeaderName, value: String) -> Response<Body> {
    let value = HeaderValue::from_maybe_shared(bytes::Bytes::from(value)).expect("ids are header values");
    response.headers_mut().insert(name, value);
    response
}
