//! What browsers are told: which pages may ask here (CORS, off by default), and how to treat what they are given.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};

use crate::app::App;

/// What is no page needs none of a page's means: no script, no frame, nothing fetched.
const POLICY: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Documents are the same for everybody, until the next version.
const DOCUMENTS: [&str; 5] = [
    "/openapi.json",
    "/docs",
    "/docs/",
    "/docs/{file}",
    crate::problem::ERRORS_PAGE,
];

/// What is asked with here.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, DELETE");
/// What a page may read of an answer, beside what it always may.
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "Content-Encoding, Cresset-Cache, Cresset-Dtype, Cresset-Model, Cresset-Shape, Cresset-Version, Idempotency-Replayed, \
     Location, Preference-Applied, Retry-After, X-Request-Id",
);
/// How long a browser may remember what it was told.
const MAX_AGE: HeaderValue = HeaderValue::from_static("600");
const ANY: HeaderValue = HeaderValue::from_static("*");

/// Before a key among the names that a page offers for a WebSocket: it cannot say `Authorization` there.
const KEY_PROTOCOL: &str = "cresset.key.";

/// Takes the key of a page that opens a WebSocket from the names it offers to where other callers have theirs. Only the name is ever
/// agreed on, so the key is in no answer. Who says `Authorization` besides is asked to say it once.
pub(crate) fn key_of_the_page(headers: &mut HeaderMap) {
    let given: Vec<_> = headers
        .get_all(header::SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .cloned()
        .collect();
    let names = given.iter().filter_map(|value| value.to_str().ok());
    let names = names.flat_map(|names| names.split(',')).map(str::trim);
    let (keys, others): (Vec<_>, Vec<_>) = names.partition(|name| name.starts_with(KEY_PROTOCOL));
    if keys.is_empty() {
        return;
    }
    headers.remove(header::SEC_WEBSOCKET_PROTOCOL);
    if let Ok(others) = HeaderValue::from_str(&others.join(", "))
        && !others.is_empty()
    {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, others);
    }
    for key in keys {
        // What was in a header can be in one.
        if let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", &key[KEY_PROTOCOL.len()..])) {
            value.set_sensitive(true);
            headers.append(header::AUTHORIZATION, value);
        }
    }
}

/// The page that asks, where pages may.
#[derive(Debug)]
pub(crate) struct Origin(Option<HeaderValue>);

impl Origin {
    /// `None` where no page may.
    pub(crate) fn of(app: &App, request: &Request) -> Option<Self> {
        let allowed = &app.options.cors_origins;
        if allowed.is_empty() {
            return None;
        }
        let origin = request.headers().get(header::ORIGIN);
        let answer = |origin: &HeaderValue| match allowed.iter().any(|one| one == "*") {
            true => ANY,
            false => origin.clone(),
        };
        Some(Self(origin.filter(|origin| allows(app, origin)).map(answer)))
    }

    /// The answer to a browser that asks whether a page may ask.
    pub(crate) fn preflight(&self, request: &Request) -> Option<Response<Body>> {
        let headers = request.headers();
        if request.method() != Method::OPTIONS
            || self.0.is_none()
            || !headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD)
        {
            return None;
        }
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::NO_CONTENT;
        let told = answer.headers_mut();
        told.insert(header::ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        told.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        if let Some(asked) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            told.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
            told.append(
                header::VARY,
                HeaderValue::from_name(header::ACCESS_CONTROL_REQUEST_HEADERS),
            );
        }
        Some(answer)
    }

    /// Adds what the browser has to know.
    pub(crate) fn tell(&self, headers: &mut HeaderMap) {
        if self.0.as_ref() != Some(&ANY) {
            headers.append(header::VARY, HeaderValue::from_name(header::ORIGIN));
        }
        if let Some(origin) = &self.0 {
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }
}

/// Whether pages of this origin may ask here.
pub(crate) fn allows(app: &App, origin: &HeaderValue) -> bool {
    let allowed = &app.options.cors_origins;
    allowed
        .iter()
        .any(|one| one == "*" || origin.as_bytes() == one.as_bytes())
}

/// How to treat an answer; what its handler has said already stays.
pub(crate) fn guard(app: &App, headers: &mut HeaderMap, route: Option<&str>, is_tls: bool) {
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    headers.insert(header::REFERRER_POLICY, NO_REFERRER);
    or_else(headers, header::CONTENT_SECURITY_POLICY, POLICY);
    if !route.is_some_and(|route| DOCUMENTS.contains(&route)) {
        or_else(headers, header::CACHE_CONTROL, NO_STORE);
    }
    if is_tls && let Some(hsts) = &app.hsts {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, hsts.clone());
    }
}

fn or_else(headers: &mut HeaderMap, name: HeaderName, value: HeaderValue) {
    headers.entry(name).or_insert(value);
}
