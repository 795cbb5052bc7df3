//! `POST /v1/models/{model}/predict`.

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use cresset_engine::{CacheStatus, Client, Prediction};

use crate::answer::{json, with_header};
use crate::answers;
use crate::app::App;
use crate::binary_out::Maker;
use crate::cache_control::{self, CRESSET_CACHE};
use crate::json_out::ObjectOut;
use crate::media::Accepted;
use crate::order::{self, Form, Order};
use crate::path::ModelPath;
use crate::problem::Answer;
use crate::task_json::{json_weight, write_payload};
use crate::upload::Upload;
use crate::{binary_out, schema};

/// What an answer weighs without its result.
const FRAME_BYTES: usize = 128;

/// Run one input and answer its result.
///
/// Shares batches with the tasks of the model, but is stored nowhere: over its time limit it is given up. Hanging up
/// takes the input out of the queue. A tensor model also takes its input as bytes, and a result of tensors is answered as
/// bytes where `Accept` asks for that: see "Tensors as bytes".
///
/// A model with a result cache (`[cache]` in its `model.toml`) may answer with the result of an equal input, and computes
/// equal inputs that come at the same time once; `Cresset-Cache` says so. `Cache-Control` refuses that.
// Hanging up makes hyper drop this future, and dropping `Engine::predict` is how the engine learns of it.
#[utoipa::path(
    post,
    path = "/v1/models/{model}/predict",
    operation_id = "predict",
    tag = "tasks",
    params(
        ("model" = String, Path, description = "The model's name", example = "digits"),
        ("timeout" = Option<String>, Query, description = "Binary bodies only: how long it may take", example = "2s"),
        ("Cresset-Shape" = Option<String>, Header, description = "A header, bodies of one tensor only: the input's sizes", example = "1,8,8"),
        ("Cresset-Dtype" = Option<String>, Header, description = "A header, bodies of one tensor only: refused unless it is the declared type", example = "float32"),
        ("Cache-Control" = Option<String>, Header, description = "A header: `no-cache` computes anew, `no-store` also keeps nothing", example = "no-cache")
    ),
    request_body(content(
        (schema::PredictBody = "application/json"),
        (schema::Elements = "application/octet-stream"),
        (schema::NpyFile = "application/x-npy"),
        (schema::SafetensorsFile = "application/x-safetensors")
    )),
    responses((
        status = 200,
        description = "The result",
        content(
            (schema::Predicted = "application/json"),
            (schema::Elements = "application/octet-stream"),
            (schema::NpyFile = "application/x-npy"),
            (schema::SafetensorsFile = "application/x-safetensors")
        ),
        headers(
            ("Cresset-Shape" = String, description = "Of one tensor as bytes: its sizes, such as `10`"),
            ("Cresset-Dtype" = String, description = "Of one tensor as bytes: its element type"),
            ("Cresset-Model" = String, description = "Of a result as bytes: the model"),
            ("Cresset-Version" = String, description = "Of a result as bytes: the version that made it"),
            ("Cresset-Cache" = Option<String>, description = "Of a model with a result cache: the result was kept (`hit`), computed (`miss`), computed for another request at the same time (`coalesced`), or computed because this one wanted it (`bypass`)")
        )
    ))
)]
pub(crate) async fn predict(State(app): State<App>, ModelPath(name): ModelPath, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let upload = Upload::new(&app, &parts.headers, body);
    let accepted = Accepted::of(&parts.headers);
    let cache = cache_control::wanted(&parts.headers)?;
    let config = app.engine.declaration(&name)?;
    binary_out::check(&accepted, &config)?;
    let model = config.name.clone();
    let (order, _held) = order::receive(&app, &parts, upload, config, Form::Predict).await?;
    let Order { input, options } = order;
    let Prediction {
        output,
        version,
        cache,
        ..
    } = app
        .engine
        .predict(
            &model,
            input,
            options.timeout,
            parts.extensions.get::<Client>().cloned(),
            cache,
        )
        .await?;

    if let Some(choice) = binary_out::choose(&accepted, &output)? {
        let maker = Maker {
            model: &model,
            version: &version,
        };
        let answer = binary_out::answer(&app, choice, maker).await?;
        return answers::counted(&app, told(answer, cache));
    }
    let weight = json_weight(&output);
    let write = move || {
        let mut answer = ObjectOut::new(weight + FRAME_BYTES);
        write_payload(&output, answer.raw("result"));
        answer.plain("model", &model);
        answer.value("version", &version);
        answer.end()
    };
    let answer = json(StatusCode::OK, app.codec(weight, write).await?);
    answers::counted(&app, told(answer, cache))
}

/// The answer, which says what the result cache had to do with it.
fn told(response: Response<Body>, cache: Option<CacheStatus>) -> Response<Body> {
    match cache {
        Some(cache) => with_header(response, CRESSET_CACHE, cache.name().into()),
        None => response,
    }
}
