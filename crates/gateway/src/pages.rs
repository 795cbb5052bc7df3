//! What describes the server itself (`/`, `/openapi.json`, `/docs/errors`, `/metrics`), and what pages need to speak to it (`/client.js`).

use std::sync::LazyLock;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode};
use axum::response::Response;
use bytes::Bytes;

use crate::answer::{JSON, json, typed};
use crate::app::App;
use crate::problem::ERRORS_PAGE;
use crate::{api_document, reference, schema};

const OPENMETRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
const JAVASCRIPT: HeaderValue = HeaderValue::from_static("text/javascript; charset=utf-8");
/// The one that a Django site serves from among its own files.
const CLIENT: &[u8] = include_bytes!("../../../python/cresset/src/cresset/django/static/cresset/client.js");
const MARKDOWN: HeaderValue = HeaderValue::from_static("text/markdown; charset=utf-8");

/// Made on first use: most servers are never asked.
static OPENAPI: LazyLock<Bytes> = LazyLock::new(|| api_document::openapi().into());
static ERRORS: LazyLock<Bytes> = LazyLock::new(|| reference::errors().into());

/// What this is.
#[utoipa::path(
    get,
    path = "/",
    operation_id = "root",
    tag = "server",
    responses((status = 200, description = "Name, version, and where to go on", body = schema::Root))
)]
pub(crate) async fn root() -> Response {
    let root = schema::Root {
        name: "cresset",
        version: env!("CARGO_PKG_VERSION"),
        links: schema::Links {
            models: "/v1/models",
            health: "/health/ready",
            metrics: "/metrics",
            openapi: "/openapi.json",
            docs: "/docs/",
            errors: ERRORS_PAGE,
        },
    };
    json(
        StatusCode::OK,
        serde_json::to_vec(&root).expect("links become JSON"),
    )
}

/// This document.
#[utoipa::path(
    get,
    path = "/openapi.json",
    operation_id = "openapi",
    tag = "server",
    responses((status = 200, description = "OpenAPI 3.1", body = schema::AnyJson))
)]
pub(crate) async fn openapi() -> Response {
    typed(StatusCode::OK, JSON, OPENAPI.clone())
}

/// The error codes: where the `type` of every problem points.
#[utoipa::path(
    get,
    path = "/docs/errors",
    operation_id = "errors",
    tag = "server",
    responses((status = 200, description = "A page of text", body = String, content_type = "text/markdown"))
)]
pub(crate) async fn errors() -> Response {
    typed(StatusCode::OK, MARKDOWN, ERRORS.clone())
}

/// The client for pages.
///
/// An ES module without dependencies: `import { follow } from "/client.js"` follows a task by server-sent events, long polls or
/// polls, and `<cresset-task src="/v1/tasks/ID">` shows one. A browser sends no key for it, so it needs none.
#[utoipa::path(
    get,
    path = "/client.js",
    operation_id = "browserClient",
    tag = "server",
    responses((status = 200, description = "A module", body = String, content_type = "text/javascript"))
)]
pub(crate) async fn client() -> Response {
    typed(StatusCode::OK, JAVASCRIPT, Bytes::from_static(CLIENT))
}

/// Figures for Prometheus.
#[utoipa::path(
    get,
    path = "/metrics",
    operation_id = "metrics",
    tag = "server",
    responses((
        status = 200,
        description = "OpenMetrics 1.0; docs/reference/metrics.md lists the figures",
        body = String,
        content_type = "application/openmetrics-text"
    ))
)]
pub(crate) async fn metrics(State(app): State<App>) -> Response {
    typed(StatusCode::OK, OPENMETRICS, app.engine.render_metrics())
}
