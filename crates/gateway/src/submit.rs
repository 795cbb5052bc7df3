//! `POST /v1/models/{model}/tasks`.

use axum::extract::{Request, State};
use axum::http::StatusCode;

use crate::app::App;
use crate::order::{self, Form};
use crate::path::ModelPath;
use crate::prefer::Preference;
use crate::problem::Answer;
use crate::promise::{self, Promise};
use crate::upload::Upload;
use crate::{cache_control, idempotency, schema, tasks};

/// Submit a task.
///
/// Answers once the task is on stable storage (`durable` says if a weaker mode is set). Fetch it at `Location`, with
/// `?wait=30s` to be answered as soon as it ends. A caller that hangs up before the answer may or may not have made a
/// task; one that is not answered 202 knows no id.
///
/// `eta` or `countdown` delays its start; with `expires` it is revoked if it has not started by then, with `deadline` if it has
/// not ended by then: one that runs is stopped as by a cancellation. All are kept with the task, so a restart changes none.
///
/// `retry` says how often this task is tried again, after which waits and for which exceptions, in the words of the model's
/// `[retry]`; what it leaves out is as the model has it. It too is kept with the task.
///
/// With an `Idempotency-Key` it is safe to submit again: the same key and body give the same task, also when it has ended
/// meanwhile or the server was restarted; `Idempotency-Replayed: true` says so. The same body is the same input (for an
/// object model as it was written), priority and metadata; start, expiry, deadline and retries stay those of the first. Each model has keys of its own, and a key is kept as long as
/// its task.
///
/// With `Prefer: wait=N` (RFC 7240) the answer waits up to N seconds, at most as long as a `?wait=` may be, for the task's end:
/// it is 200 with the whole task then, and 202 when the task is still on its way.
///
/// A model with a result cache (`[cache]` in its `model.toml`) may end the task with the result of an equal input, in its turn
/// and without running it: `cached` is `true` then. `Cache-Control` refuses that.
///
/// With a `callback_url` a signed message is sent there when the task ends (or for other events, `callback_events`), and tried
/// again for about a day until it is taken: see "Webhooks". It is written down with the task's end, so a restart loses none.
///
/// A tensor model also takes its input as bytes: see "Tensors as bytes". An object model with `files = true` takes files and forms:
/// see "Files".
#[utoipa::path(
    post,
    path = "/v1/models/{model}/tasks",
    operation_id = "submitTask",
    tag = "tasks",
    params(
        ("model" = String, Path, description = "The model's name", example = "digits"),
        ("priority" = Option<i8>, Query, description = "Binary bodies only: from -100 (last) to 100 (first)"),
        ("eta" = Option<String>, Query, description = "Binary bodies only: not before this instant", example = "2026-01-31T08:00:00Z"),
        ("countdown" = Option<String>, Query, description = "Binary bodies only: not before so long from now", example = "90s"),
        ("expires" = Option<String>, Query, description = "Binary bodies only: not after this instant, or so long from now", example = "10m"),
        ("deadline" = Option<String>, Query, description = "Binary bodies only: ended by this instant, or within so long from now", example = "1h"),
        ("callback_url" = Option<String>, Query, description = "Binary bodies only: whom to tell of it", example = "https://example.com/hooks/cresset"),
        ("callback_events" = Option<String>, Query, description = "Binary bodies only: of what, parted by commas; the ends unless told", example = "succeeded,failed"),
        ("Cresset-Metadata" = Option<String>, Header, description = "A header, binary bodies only: a JSON object, given back with the task", example = "{\"batch\": 7}"),
        ("Cresset-Retry" = Option<String>, Header, description = "A header, binary bodies only: `retry` as a JSON object", example = "{\"max_retries\": 5}"),
        ("Cresset-Shape" = Option<String>, Header, description = "A header, bodies of one tensor only: the input's sizes", example = "1,8,8"),
        ("Cresset-Dtype" = Option<String>, Header, description = "A header, bodies of one tensor only: refused unless it is the declared type", example = "float32"),
        (
            "Idempotency-Key" = Option<String>,
            Header,
            description = "A header: the caller's name for this submit, 1 to 255 visible ASCII characters, bare or in double quotes",
            example = "8e03978e-40d5-43dd-bc93-6894a57f9324"
        ),
        ("Prefer" = Option<String>, Header, description = "A header: how many seconds the caller would wait for the end", example = "wait=10"),
        ("traceparent" = Option<String>, Header, description = "A header: the trace to go on with (W3C Trace Context)", example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("Cache-Control" = Option<String>, Header, description = "A header: `no-cache` computes anew, `no-store` also keeps nothing", example = "no-cache")
    ),
    request_body(content(
        (schema::SubmitBody = "application/json"),
        (schema::Elements = "application/octet-stream"),
        (schema::NpyFile = "application/x-npy"),
        (schema::SafetensorsFile = "application/x-safetensors"),
        (schema::FilesForm = "multipart/form-data"),
        (schema::AnyFile = "*/*")
    )),
    responses(
        (
            status = 202,
            description = "Accepted and stored",
            body = schema::Accepted,
            headers(
                ("location" = String, description = "The path of the task"),
                ("idempotency-replayed" = Option<String>, description = "`true` when this was accepted before, under the same `Idempotency-Key`"),
                ("preference-applied" = Option<String>, description = "`wait=N` when the end was waited for")
            )
        ),
        (
            status = 200,
            description = "With `Prefer: wait=N`: accepted and stored, and it has ended in that time, one way or another",
            body = schema::Task,
            headers(
                ("location" = String, description = "The path of the task"),
                ("idempotency-replayed" = Option<String>, description = "As with 202"),
                ("preference-applied" = String, description = "`wait=N`")
            )
        )
    )
)]
pub(crate) async fn submit(State(app): State<App>, ModelPath(name): ModelPath, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let upload = Upload::new(&app, &parts.headers, body);
    let idempotency_key = idempotency::key(&parts.headers)?;
    let preference = Preference::of(&parts.headers, app.options.max_wait);
    let cache = cache_control::wanted(&parts.headers)?;
    let config = app.engine.declaration(&name)?;
    let model = config.name.clone();
    let (order, _held) = order::receive(&app, &parts, upload, config, Form::Submit).await?;
    let submission = promise::submission(model, order, cache, idempotency_key, &parts);
    let promise = Promise::make(&app, submission, preference.wait).await?;
    let whole = match &promise.ended {
        Some(view) => tasks::answer(&app, StatusCode::OK, view.clone()).await.ok(),
        None => None,
    };
    // Accepted it is, also where its whole record cannot be answered now.
    let response = whole.unwrap_or_else(|| promise.accepted());
    Ok(promise.sign(response, preference))
}
