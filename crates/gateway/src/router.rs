//! Which path and method goes where.

use axum::Router;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::routing::{get, post};
use cresset_task::Code;

use crate::app::App;
use crate::problem::{Answer, ERRORS_PAGE, Problem};
use crate::upload;
use crate::{
    bulk, cancel, dead, docs_page, events, health, listing, models, observe, pages, predict, query, submit,
    tasks, watching, webhooks, workers, ws,
};

/// Who comes by an entrance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Audience {
    /// All, operators among them.
    Everybody,
    /// Callers only: operators have an entrance of their own.
    Callers,
    /// Who looks how the server stands, which takes no work from callers.
    Lookers,
}

/// What callers ask for.
fn callers() -> Router<App> {
    Router::new()
        .route("/v1/models/{model}/tasks", post(submit::submit))
        .route("/v1/models/{model}/predict", post(predict::predict))
        .route("/v1/ws", get(ws::open))
        .route("/v1/tasks", get(listing::list))
        .route("/v1/tasks/{id}", get(tasks::task))
        .route("/v1/tasks/{id}/result", get(tasks::result))
        .route("/v1/tasks/{id}/events", get(events::follow))
        .route("/v1/tasks/{id}/cancel", post(cancel::cancel))
        .route("/v1/batches", get(bulk::list).post(bulk::submit))
        .route("/v1/batches/{id}", get(bulk::status))
        .route("/v1/batches/{id}/results", get(bulk::results))
        .route("/v1/batches/{id}/cancel", post(bulk::cancel))
        .route("/v1/events", get(watching::watch))
        .route("/v1/models", get(models::list))
        .route("/v1/models/{model}", get(models::one))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/openapi.json", get(pages::openapi))
        .route("/client.js", get(pages::client))
        .route("/docs", get(docs_page::folder))
        .route("/docs/", get(docs_page::page))
        .route("/docs/{file}", get(docs_page::file))
        .route(ERRORS_PAGE, get(pages::errors))
        .route("/", get(pages::root))
}

/// What is for operators alone, where they have an entrance of their own (`server.admin_listen`).
fn operators() -> Router<App> {
    Router::new()
        .route("/v1/dead", get(dead::list).delete(dead::purge_all))
        .route("/v1/dead/{id}", get(dead::one).delete(dead::purge))
        .route("/v1/dead/{id}/input", get(dead::input))
        .route("/v1/dead/{id}/replay", post(dead::replay))
        .route("/v1/webhooks", get(webhooks::list))
        .route("/v1/webhooks/test", post(webhooks::test))
        .route("/v1/webhooks/{id}/replay", post(webhooks::replay))
        .route("/v1/workers", get(workers::list))
        .route("/metrics", get(pages::metrics))
}

/// What a server answers that takes no work from callers.
fn looks() -> Router<App> {
    Router::new()
        .route("/v1/models", get(models::list))
        .route("/v1/models/{model}", get(models::one))
        .route("/v1/workers", get(workers::list))
        .route("/health/live", get(health::live))
        .route("/health/ready", get(health::ready))
        .route("/metrics", get(pages::metrics))
}

/// Every route that the audience has, with the one layer around them. `openapi` describes them; a test holds the two together.
pub(crate) fn router(app: App, audience: Audience) -> Router {
    let routes = match audience {
        Audience::Everybody => callers().merge(operators()),
        Audience::Callers => callers(),
        Audience::Lookers => looks(),
    };
    routes
        .fallback(unknown_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(axum::middleware::from_fn_with_state(
            app.clone(),
            observe::observe,
        ))
        .with_state(app)
}

async fn unknown_route(State(app): State<App>, request: Request) -> Answer {
    Err(nothing_at(&upload::bare(&app, request)))
}

pub(crate) fn nothing_at(parts: &Parts) -> Problem {
    let path = query::cut(parts.uri.path());
    Problem::new(
        Code::UnknownRoute,
        format!("there is nothing at `{path}`; `/openapi.json` lists the routes"),
    )
}

/// The router adds the `Allow` header.
async fn method_not_allowed(State(app): State<App>, request: Request) -> Answer {
    let parts = upload::bare(&app, request);
    let (method, path) = (query::cut(parts.method.as_str()), query::cut(parts.uri.path()));
    Err(Problem::new(
        Code::MethodNotAllowed,
        format!("`{path}` does not take {method}; `Allow` lists what it takes"),
    ))
}
