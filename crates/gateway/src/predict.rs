//! `POST /v1/models/{model}/predict`.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use cresset_config::{LatePredictions, ModelLimits};
use cresset_engine::{CacheStatus, Client, PredictTerms, Predicted, Prediction, Submission};
use cresset_task::{Code, ModelName, Outcome, Payload};

use crate::answer::{json, with_header};
use crate::answers;
use crate::app::App;
use crate::binary_out::Maker;
use crate::cache_control::{self, CRESSET_CACHE};
use crate::json_out::ObjectOut;
use crate::media::Accepted;
use crate::order::{self, Form, Order};
use crate::path::ModelPath;
use crate::prefer::Preference;
use crate::problem::{Answer, Problem};
use crate::promise::{self, Promise};
use crate::task_json::{json_weight, write_payload};
use crate::upload::Upload;
use crate::{auth, binary_out, idempotency, predict_stream, schema, streaming, trace};

/// What an answer weighs without its result.
const FRAME_BYTES: usize = 128;

/// Run one input and answer its result.
///
/// Shares batches with the tasks of the model, but is stored nowhere as long as it is in time. Hanging up before its limit
/// takes the input out of the queue.
///
/// At its limit (`timeout`, or the model's `limits.predict_timeout`) it becomes a task, and the answer is 202 and that task, as a
/// submit gives it; `Location` names it. It goes on from where it is: nothing of it is run twice, and the task is stored before it is
/// answered. Where it cannot be stored, the answer is 504. A model may refuse late predictions instead, or store all of them from the
/// start (`limits.late_predictions` in its `model.toml`).
///
/// With `Prefer: wait=N` or `Prefer: respond-async` (RFC 7240) the input is
/// stored as a task at once, as a submit does it, and waited for up to N seconds (or up to `timeout`, or not at all). If it ends
/// in that time the answer is the result, or the problem, as without; if not it is 202 and the task. `Location` names the task either
/// way. An `Idempotency-Key` makes it safe to ask again; it is a promise that only the store can keep, so with one the input is stored
/// at once too, unless the model refuses late predictions.
///
/// At a gateway (`cresset gateway`) a prediction is a task that goes before others, and its input and result are kept as a task's are.
///
/// A tensor model also takes its input as bytes, and a result of tensors is answered as
/// bytes where `Accept` asks for that: see "Tensors as bytes". An object model with `files = true` takes files and forms: see
/// "Files".
///
/// A model with a result cache (`[cache]` in its `model.toml`) may answer with the result of an equal input, and computes
/// equal inputs that come at the same time once; `Cresset-Cache` says so. `Cache-Control` refuses that.
///
/// A streaming model (`[stream]` in its `model.toml`) answers piece by piece where `Accept` asks for `text/event-stream` or
/// `application/x-ndjson`: `chunk` (`attempt`, `number`, `chunk`) for each piece, `progress`, `restart` and `gap` as with
/// `followTask`, and at the end `result` with the result whole, or `error` with a problem. Hanging up stops the model. `Prefer` is not heeded then.
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
        ("Prefer" = Option<String>, Header, description = "A header: a task will do, at once (`respond-async`) or where the result takes longer than `wait` seconds", example = "respond-async, wait=5"),
        ("Idempotency-Key" = Option<String>, Header, description = "A header: the caller's name for this input, as in `submitTask`", example = "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ("traceparent" = Option<String>, Header, description = "A header: the trace to go on with (W3C Trace Context)", example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("Cache-Control" = Option<String>, Header, description = "A header: `no-cache` computes anew, `no-store` also keeps nothing", example = "no-cache")
    ),
    request_body(content(
        (schema::PredictBody = "application/json"),
        (schema::Elements = "application/octet-stream"),
        (schema::NpyFile = "application/x-npy"),
        (schema::SafetensorsFile = "application/x-safetensors"),
        (schema::FilesForm = "multipart/form-data"),
        (schema::AnyFile = "*/*")
    )),
    responses(
    (
        status = 202,
        description = "Stored as a task, which has not ended within the limit",
        body = schema::Accepted,
        headers(
            ("location" = String, description = "The path of the task"),
            ("preference-applied" = Option<String>, description = "With `Prefer`: what was preferred, and is done")
        )
    ),
    (
        status = 200,
        description = "The result",
        content(
            (schema::Predicted = "application/json"),
            (schema::PredictEvents = "text/event-stream"),
            (schema::PredictLines = "application/x-ndjson"),
            (schema::Elements = "application/octet-stream"),
            (schema::NpyFile = "application/x-npy"),
            (schema::SafetensorsFile = "application/x-safetensors")
        ),
        headers(
            ("Cresset-Shape" = String, description = "Of one tensor as bytes: its sizes, such as `10`"),
            ("Cresset-Dtype" = String, description = "Of one tensor as bytes: its element type"),
            ("Cresset-Model" = String, description = "Of a result as bytes: the model"),
            ("Cresset-Version" = String, description = "Of a result as bytes: the version that made it"),
            ("Cresset-Cache" = Option<String>, description = "Of a model with a result cache: the result was kept (`hit`), computed (`miss`), computed for another request at the same time (`coalesced`), or computed because this one wanted it (`bypass`)"),
            ("location" = Option<String>, description = "Of what was stored from the start: the path of the task that it was"),
            ("preference-applied" = Option<String>, description = "With `Prefer`: what was preferred, and is done")
        )
    ))
)]
pub(crate) async fn predict(State(app): State<App>, ModelPath(name): ModelPath, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let upload = Upload::new(&app, &parts.headers, body);
    let accepted = Accepted::of(&parts.headers);
    let form = streaming::Form::wanted(&parts.headers);
    let cache = cache_control::wanted(&parts.headers)?;
    let config = app.engine.declaration(&name)?;
    match form {
        Some(_) => predict_stream::check(&config)?,
        None => binary_out::check(&accepted, &config)?,
    }
    let model = config.name.clone();
    let preference = Preference::of(&parts.headers, app.options.max_wait);
    let has_key = parts.headers.contains_key(idempotency::IDEMPOTENCY_KEY);
    let way = Way::of(&preference, has_key, form.is_some(), &config.limits);
    let key = match way {
        Way::Stored(_) => idempotency::key(&parts.headers)?,
        Way::Task | Way::Refused => None,
    };
    let (order, _held) = order::receive(&app, &parts, upload, config, Form::Predict).await?;
    match way {
        Way::Stored(patience) => {
            let wait = match (patience, order.options.timeout) {
                (Some(wait), Some(timeout)) => Some(wait.min(timeout)),
                (one, other) => one.or(other.map(|timeout| timeout.min(app.options.max_wait))),
            };
            let submission = promise::submission(model, order, cache, key, &parts);
            or_task(&app, &accepted, submission, preference, wait).await
        }
        Way::Task => {
            let limit = order.options.timeout;
            let submission = promise::submission(model.clone(), order, cache, None, &parts);
            match app.engine.predict_or_task(submission, limit).await? {
                Predicted::Ended(prediction) => in_time(&app, &accepted, model, prediction).await,
                Predicted::Task(task) => {
                    let promise = Promise::of(task);
                    Ok(promise.sign(promise.accepted(), preference))
                }
            }
        }
        Way::Refused => {
            let Order { input, options } = order;
            let terms = PredictTerms {
                limit: options.timeout,
                client: parts.extensions.get::<Client>().cloned(),
                cache,
                trace: trace::taken(&parts.extensions),
                tenant: auth::tenant(&parts.extensions),
            };
            if let Some(form) = form {
                let stream = app.engine.predict_stream(&model, input, terms).await?;
                return predict_stream::answer(app, form, stream, model, &parts);
            }
            let prediction = app.engine.predict(&model, input, terms).await?;
            in_time(&app, &accepted, model, prediction).await
        }
    }
}

/// What becomes of a prediction at its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It has been a task from the start, and is waited for this long.
    Stored(Option<Duration>),
    /// It becomes a task.
    Task,
    /// It is given up.
    Refused,
}

impl Way {
    /// What the caller says, or else the model.
    fn of(preference: &Preference, has_key: bool, is_streamed: bool, limits: &ModelLimits) -> Self {
        let longest = Some(limits.predict_timeout);
        match limits.late_predictions {
            _ if is_streamed => Self::Refused,
            _ if preference.takes_a_task() => Self::Stored(preference.wait),
            LatePredictions::Refused => Self::Refused,
            LatePredictions::Stored => Self::Stored(longest),
            // Only the store can keep what a key promises.
            LatePredictions::Task if has_key => Self::Stored(longest),
            LatePredictions::Task => Self::Task,
        }
    }
}

/// A prediction that has ended in time.
async fn in_time(app: &App, media: &Accepted, model: ModelName, prediction: Prediction) -> Answer {
    let Prediction {
        output,
        version,
        cache,
        ..
    } = prediction;
    Ok(told(predicted(app, media, model, version, output).await?, cache))
}

/// A prediction that is a task from the start, and is answered as a prediction if it ends in time.
async fn or_task(
    app: &App,
    media: &Accepted,
    submission: Submission,
    preference: Preference,
    wait: Option<Duration>,
) -> Answer {
    let mut promise = Promise::make(app, submission, wait).await?;
    let response = match promise.ended.take().map(|view| view.record) {
        None => promise.accepted(),
        Some(record) => match record.outcome {
            Some(Outcome::Success(output)) => {
                let version = record.version.unwrap_or_default();
                match predicted(app, media, record.model, version, output).await {
                    Ok(response) => response,
                    Err(problem) => problem.into_response(),
                }
            }
            Some(Outcome::Failure(failure)) => Problem::failed(failure).into_response(),
            Some(Outcome::Revoked { reason }) => Problem::new(Code::Revoked, reason).into_response(),
            // `ended` shows ends only.
            None => promise.accepted(),
        },
    };
    Ok(promise.sign(response, preference))
}

/// A result, in the form that the caller accepts.
async fn predicted(
    app: &App,
    accepted: &Accepted,
    model: ModelName,
    version: String,
    output: Payload,
) -> Answer {
    let has_files = || (app.engine.declaration(model.as_str())).is_ok_and(|config| config.files.are_taken());
    if let Some(choice) = binary_out::choose(accepted, &output, has_files)? {
        let maker = Maker {
            model: &model,
            version: &version,
        };
        return answers::counted(app, binary_out::answer(app, choice, maker).await?);
    }
    let weight = json_weight(&output);
    let write = move || {
        let mut answer = ObjectOut::new(weight + FRAME_BYTES);
        write_payload(&output, answer.raw("result"));
        answer.plain("model", &model);
        answer.value("version", &version);
        answer.end()
    };
    answers::counted(app, json(StatusCode::OK, app.codec(weight, write).await?))
}

/// The answer, which says what the result cache had to do with it.
fn told(response: Response<Body>, cache: Option<CacheStatus>) -> Response<Body> {
    match cache {
        Some(cache) => with_header(response, CRESSET_CACHE, cache.name().into()),
        None => response,
    }
}
