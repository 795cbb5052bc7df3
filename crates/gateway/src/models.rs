//! `GET /v1/models` and `/v1/models/{model}`.

use axum::Extension;
use axum::extract::State;
use axum::http::{StatusCode, Uri};

use crate::answer::json;
use crate::app::App;
use crate::auth::Caller;
use crate::path::ModelPath;
use crate::problem::Answer;
use crate::schema::{Model, Models};
use crate::{query, schema};

/// Every model that is served; where the key may use some only, those.
#[utoipa::path(
    get,
    path = "/v1/models",
    operation_id = "listModels",
    tag = "models",
    responses((status = 200, description = "The models, by name", body = schema::Models))
)]
pub(crate) async fn list(State(app): State<App>, caller: Option<Extension<Caller>>, uri: Uri) -> Answer {
    query::none(&uri)?;
    let views = app.engine.models();
    let is_shown = |name: &str| caller.as_ref().is_none_or(|caller| caller.may_use(name));
    let shown = views.iter().filter(|view| is_shown(view.config.name.as_str()));
    let models = Models {
        models: shown.map(Model::of).collect(),
    };
    Ok(json(
        StatusCode::OK,
        serde_json::to_vec(&models).expect("models become JSON"),
    ))
}

/// One model: what it takes and gives, its processes, its queue.
#[utoipa::path(
    get,
    path = "/v1/models/{model}",
    operation_id = "getModel",
    tag = "models",
    params(("model" = String, Path, description = "The model's name", example = "digits")),
    responses((status = 200, description = "The model", body = schema::Model))
)]
pub(crate) async fn one(State(app): State<App>, ModelPath(name): ModelPath, uri: Uri) -> Answer {
    query::none(&uri)?;
    let view = app.engine.model(&name)?;
    Ok(json(
        StatusCode::OK,
        serde_json::to_vec(&Model::of(&view)).expect("a model becomes JSON"),
    ))
}
