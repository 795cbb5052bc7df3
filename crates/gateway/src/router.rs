//! Which path and method goes where.

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use axum::routing::{get, post};
use cresset_task::Code;

use crate::app::App;
use crate::problem::{Answer, ERRORS_PAGE, Problem};
use crate::upload::Upload;
use crate::{cancel, health, models, observe, pages, predict, query, submit, tasks};

/// The media type of answers.
pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Every route, with the one layer around them. `openapi` describes them; a test holds the two together.
pub(crate) fn router(app: App) -> Router {
    Router::new()
        .route("/v1/models/{model}/tasks", post(submit::submit))
        .route("/v1/models/{model}/predict", post(predict::predict))
        .route("/v1/tasks/{id}", get(tasks::task))
        .route("/v1/tasks/{id}/result", get(tasks::result))
        .route("/v1/tasks/{id}/cancel", post(cancel::cancel))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{model}", get(models::one))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(pages::metrics))
        .route("/openapi.json", get(pages::openapi))
        .route(ERRORS_PAGE, get(pages::errors))
        .route("/", get(pages::root))
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(axum::middleware::from_fn_with_state(
            app.clone(),
            observe::observe,
        ))
        .with_state(app)
}

async fn unknown_route(State(app): State<App>, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    drop(Upload::new(&app, &parts.headers, body));
    let path = query::cut(parts.uri.path());
    Err(Problem::new(
        Code::UnknownRoute,
        format!("there is nothing at `{path}`; `/openapi.json` lists the routes"),
    ))
}

/// The router adds the `Allow` header.
async fn method_not_allowed(State(app): State<App>, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    drop(Upload::new(&app, &parts.headers, body));
    let (method, path) = (query::cut(parts.method.as_str()), query::cut(parts.uri.path()));
    Err(Problem::new(
        Code::MethodNotAllowed,
        format!("`{path}` does not take {method}; `Allow` lists what it takes"),
    ))
}

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
