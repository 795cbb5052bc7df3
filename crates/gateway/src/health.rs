//! Probes. Live: this process answers. Ready: every model has a warm instance that makes progress, tasks can be
//! stored, and the broker that work comes from can be used, if there is one. Query strings are ignored: load balancers add what they like.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use crate::answer::json;
use crate::app::App;
use crate::schema;

/// The process lives.
#[utoipa::path(
    get,
    path = "/health/live",
    operation_id = "live",
    tag = "health",
    responses((status = 200, description = "It answers", body = schema::Live))
)]
pub(crate) async fn live() -> Response {
    json(StatusCode::OK, br#"{"status":"live"}"#.to_vec())
}

/// Every model can serve, tasks can be stored, and the broker can be used.
#[utoipa::path(
    get,
    path = "/health/ready",
    operation_id = "ready",
    tag = "health",
    responses(
        (status = 200, description = "Ready", body = schema::Health),
        (status = 503, description = "Not ready: `models`, `store`, `broker`, `inbox` and `stopping` say why", body = schema::Health)
    )
)]
pub(crate) async fn ready(State(app): State<App>) -> Response {
    let broker = app.options.broker.iter().find_map(|why| why.borrow().clone());
    let health = schema::Health::of(&app.engine.health(), broker);
    let status = if health.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json(status, serde_json::to_vec(&health).expect("health becomes JSON"))
}
