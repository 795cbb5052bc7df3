//! `GET /v1/workers`: who is on the store.

use axum::extract::State;
use axum::http::{StatusCode, Uri};

use crate::answer::json;
use crate::app::App;
use crate::problem::Answer;
use crate::schema::Workers;
use crate::{query, schema};

/// List servers.
///
/// Every server that is on the store of this one, by the order in which they came, each as it said last: what it is for, which models
/// it runs, how these stand and what they have to do. One that has been killed is listed for some seconds more. A server with a store
/// of its own lists itself.
#[utoipa::path(
    get,
    path = "/v1/workers",
    operation_id = "listWorkers",
    tag = "server",
    responses((status = 200, description = "The servers", body = schema::Workers))
)]
pub(crate) async fn list(State(app): State<App>, uri: Uri) -> Answer {
    query::none(&uri)?;
    let members = app.engine.members().await?;
    let workers = Workers::of(&members);
    Ok(json(
        StatusCode::OK,
        serde_json::to_vec(&workers).expect("servers become JSON"),
    ))
}
