//! `/v1/webhooks`: what is told of tasks, whether it arrived, once more, and on trial.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{StatusCode, Uri};
use cresset_engine::{DELIVERIES_MAX, DeliveryCursor, DeliveryQuery, DeliveryState, Trial};
use cresset_task::{BadCallbackUrl, CallbackUrl, Code};

use crate::answer::json;
use crate::app::App;
use crate::coding::Coding;
use crate::json_out::ObjectOut;
use crate::media::Media;
use crate::path::WebhookPath;
use crate::problem::{Answer, Problem};
use crate::query::{bad, cut};
use crate::schema::{FieldError, TestBody};
use crate::upload::{Received, Upload};
use crate::{list_query, query, schema, upload, webhook_json};

/// Webhooks on a page unless the caller says otherwise.
const LIMIT_DEFAULT: usize = 20;
/// About the size of what is said of a trial, without the text.
const ANSWER_BYTES: usize = 256;
/// So much of the text that a receiver answers is shown.
const TEXT_MAX: usize = 1_024;

/// List webhooks.
///
/// What is to be told of tasks that have a callback, was told or could not be; the newest first, page by page: `next` of one page is
/// `after` of the following. Each page is found in a bounded time, so one on which few match may have fewer than `limit`, or none,
/// and still a `next`. One is kept for `webhooks.retention` once it is delivered or given up, though its task be gone.
#[utoipa::path(
    get,
    path = "/v1/webhooks",
    operation_id = "listWebhooks",
    tag = "webhooks",
    params(
        ("state" = Option<schema::WebhookState>, Query, description = "In this state only"),
        ("task" = Option<String>, Query, description = "Of the task with this id only"),
        ("host" = Option<String>, Query, description = "To this host and port only", example = "example.com:443"),
        ("limit" = Option<usize>, Query, minimum = 1, maximum = 100, description = "Webhooks on the page, 1 to 100; 20 unless told"),
        ("after" = Option<u64>, Query, description = "`next` of the page before")
    ),
    responses((status = 200, description = "A page", body = schema::Webhooks))
)]
pub(crate) async fn list(State(app): State<App>, uri: Uri) -> Answer {
    let mut asked = DeliveryQuery {
        limit: LIMIT_DEFAULT,
        ..DeliveryQuery::default()
    };
    for (name, value) in query::options(&uri, &["state", "task", "host", "limit", "after"])? {
        match name.as_str() {
            "state" => asked.state = Some(state(&value)?),
            "task" => {
                let id = value.parse();
                let id = id.map_err(|error| bad(format!("`task` is `{}`: {error}", cut(&value))))?;
                asked.task = Some(id);
            }
            "host" => asked.host = Some(value.to_ascii_lowercase()),
            "limit" => asked.limit = list_query::limit(&value, DELIVERIES_MAX)?,
            _ => asked.after = Some(DeliveryCursor(list_query::after(&value)?)),
        }
    }
    let page = app.engine.deliveries(asked).await?;
    let weight = webhook_json::weight(&page);
    let body = app.codec(weight, move || webhook_json::write_page(&page)).await?;
    Ok(json(StatusCode::OK, body))
}

fn state(text: &str) -> Result<DeliveryState, Problem> {
    let mut all = DeliveryState::ALL.into_iter();
    all.find(|state| state.name() == text).ok_or_else(|| {
        let names = DeliveryState::ALL.map(DeliveryState::name).join(", ");
        bad(format!("`state` is `{}`; it must be one of {names}", cut(text)))
    })
}

/// Send a webhook again.
///
/// Now, under its name, so that a receiver that has it already can tell; and with all its tries before it. Its address, if it was
/// disabled, is no longer. One that is being sent at this moment is left to that.
#[utoipa::path(
    post,
    path = "/v1/webhooks/{id}/replay",
    operation_id = "replayWebhook",
    tag = "webhooks",
    params(("id" = String, Path, description = "The webhook's id")),
    responses((status = 202, description = "It will be sent", body = schema::Webhook))
)]
pub(crate) async fn replay(State(app): State<App>, WebhookPath(id): WebhookPath, request: Request) -> Answer {
    query::none(&upload::bare(&app, request).uri)?;
    let delivery = app.engine.redeliver(id).await?;
    Ok(json(StatusCode::ACCEPTED, webhook_json::write(&delivery)))
}

/// Try an address.
///
/// Sends a signed message of the type `webhook.test` there, once, and answers what came back. It is not kept.
#[utoipa::path(
    post,
    path = "/v1/webhooks/test",
    operation_id = "testWebhook",
    tag = "webhooks",
    request_body(content((schema::TestBody = "application/json"))),
    responses((status = 200, description = "What came of it, also when that is nothing", body = schema::Tested))
)]
pub(crate) async fn test(State(app): State<App>, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let upload = Upload::new(&app, &parts.headers, body);
    query::none(&parts.uri)?;
    if Media::of_body(&parts.headers)? != Media::Json {
        let detail = "a webhook is tried with a body in `application/json`";
        return Err(Problem::new(Code::UnsupportedMediaType, detail));
    }
    let coding = Coding::of_body(&parts.headers)?;
    let Received { bytes, held } = upload.read(coding).await?;
    let url = url_of(&bytes)?;
    drop((bytes, held));
    let trial = app.engine.try_webhook(&url).await.map_err(Problem::from)?;
    Ok(json(StatusCode::OK, write(&trial)))
}

fn url_of(body: &[u8]) -> Result<CallbackUrl, Problem> {
    let body: TestBody = serde_json::from_slice(body).map_err(|error| {
        let detail = format!(
            "the body must be one JSON object such as {{\"url\": \"https://example.com/hook\"}}: {error}"
        );
        Problem::new(Code::MalformedBody, detail)
    })?;
    body.url.parse().map_err(|error: BadCallbackUrl| {
        Problem::fields(vec![FieldError {
            field: "url".into(),
            message: error.to_string(),
        }])
    })
}

fn write(trial: &Trial) -> Vec<u8> {
    let reply = trial.reply.as_ref().ok();
    let text = reply.map(|reply| {
        let text = &reply.text[..reply.text.len().min(TEXT_MAX)];
        String::from_utf8_lossy(text).into_owned()
    });
    let problem = trial.reply.as_ref().err().map(ToString::to_string);
    let mut out = ObjectOut::new(ANSWER_BYTES + text.as_ref().map_or(0, String::len));
    out.value("id", &trial.id);
    out.value(
        "delivered",
        &reply.is_some_and(|reply| (200..300).contains(&reply.status)),
    );
    out.value("status", &reply.map(|reply| reply.status));
    out.value("text", &text);
    out.value("problem", &problem);
    out.value("took_ms", &millis(trial.took));
    out.end()
}

fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}
