//! The page of the API for people (`/docs/`): Swagger UI over this server's own `/openapi.json`, out of the program, from no other
//! place.
//!
//! What it must not do: hold anything that a server would tell only to some. It is the same on every server of a version, so
//! it needs no key; what is tried out from it does.

use std::io::Read;
use std::sync::{Arc, LazyLock};

use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use flate2::read::GzDecoder;
use utoipa_swagger_ui::Config;

use crate::answer::{typed, with_header};
use crate::app::App;
use crate::problem::Answer;
use crate::{router, upload};

/// Scripts, styles and requests of this server alone. Swagger UI writes styles into its elements and has pictures in its styles.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; connect-src 'self'; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const CSS: HeaderValue = HeaderValue::from_static("text/css; charset=utf-8");
const JAVASCRIPT: HeaderValue = HeaderValue::from_static("text/javascript; charset=utf-8");

/// Every address is relative: a proxy may have put the server under a path.
const PAGE: &str = include_str!("docs_page/index.html");
const START: &str = include_str!("docs_page/start.js");

/// Unpacked on first use: most servers are never asked.
static SCRIPT: LazyLock<Bytes> = LazyLock::new(|| unpacked("swagger-ui-bundle.js"));
static STYLE: LazyLock<Bytes> = LazyLock::new(|| unpacked("swagger-ui.css"));

/// A file of Swagger UI, which the build packs into the program.
fn unpacked(name: &str) -> Bytes {
    let file = utoipa_swagger_ui::serve(name, Arc::new(Config::default()))
        .ok()
        .flatten()
        .expect("the build packs this file");
    let mut whole = Vec::new();
    GzDecoder::new(&*file.bytes)
        .read_to_end(&mut whole)
        .expect("the build packs by gzip");
    whole.into()
}

fn part(media: HeaderValue, body: Bytes) -> Response {
    let mut answer = typed(StatusCode::OK, media, body);
    answer
        .headers_mut()
        .insert(header::CONTENT_SECURITY_POLICY, POLICY);
    answer
}

/// To the page, which is a folder for its parts.
#[utoipa::path(
    get,
    path = "/docs",
    operation_id = "docsFolder",
    tag = "server",
    responses((status = 308, description = "To `/docs/`", headers(("Location" = String, description = "`docs/`, relative"))))
)]
pub(crate) async fn folder() -> Response {
    let answer = Response::new(axum::body::Body::empty());
    let mut answer = with_header(answer, header::LOCATION, "docs/".to_owned());
    *answer.status_mut() = StatusCode::PERMANENT_REDIRECT;
    answer
}

/// The API for people: read it, try it.
///
/// Swagger UI, out of the program: nothing is fetched from elsewhere. `Authorize` takes a key; it stays in the page.
#[utoipa::path(
    get,
    path = "/docs/",
    operation_id = "docs",
    tag = "server",
    responses((status = 200, description = "A page", body = String, content_type = "text/html"))
)]
pub(crate) async fn page() -> Response {
    part(HTML, Bytes::from_static(PAGE.as_bytes()))
}

/// What the page is made of.
#[utoipa::path(
    get,
    path = "/docs/{file}",
    operation_id = "docsFile",
    tag = "server",
    params(("file" = String, Path, description = "`start.js`, `swagger-ui-bundle.js` or `swagger-ui.css`")),
    responses((status = 200, description = "A script or a style sheet", content(
        (String = "text/javascript"), (String = "text/css")
    )))
)]
pub(crate) async fn file(State(app): State<App>, request: Request) -> Answer {
    let parts = upload::bare(&app, request);
    match parts.uri.path().rsplit('/').next() {
        Some("start.js") => Ok(part(JAVASCRIPT, Bytes::from_static(START.as_bytes()))),
        Some("swagger-ui-bundle.js") => Ok(part(JAVASCRIPT, SCRIPT.clone())),
        Some("swagger-ui.css") => Ok(part(CSS, STYLE.clone())),
        _ => Err(router::nothing_at(&parts)),
    }
}
