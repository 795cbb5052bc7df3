//! `/v1/dead`: inputs that took their process down, shown, run again, thrown away.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use cresset_engine::{Client, LETTERS_MAX, LetterCursor, LetterFilter, LetterQuery};
use cresset_task::{DeadLetter, Timestamp};

use crate::answer::{json, with_header};
use crate::app::App;
use crate::auth::Viewer;
use crate::binary_out::Maker;
use crate::idempotency::IDEMPOTENCY_REPLAYED;
use crate::json_out::ObjectOut;
use crate::path::LetterPath;
use crate::problem::{Answer, Problem};
use crate::query::{bad, cut};
use crate::{duration, letter_json, list_query, payload_out, query, schema, upload};

/// Letters on a page unless the caller says otherwise.
const LIMIT_DEFAULT: usize = 20;

/// About the size of the answer to a replay.
const ANSWER_BYTES: usize = 256;

/// List dead letters.
///
/// The newest first, page by page: `next` of one page is `after` of the following. A letter that comes or goes meanwhile moves
/// no other. A letter is kept for `store.dead_ttl`, longer than its task.
#[utoipa::path(
    get,
    path = "/v1/dead",
    operation_id = "listDead",
    tag = "dead letters",
    params(
        ("model" = Option<String>, Query, pattern = "^[a-z0-9][a-z0-9_.-]{0,127}$", description = "Of this model only"),
        ("limit" = Option<usize>, Query, minimum = 1, maximum = 100, description = "Letters on the page, 1 to 100; 20 unless told"),
        ("after" = Option<u64>, Query, description = "`next` of the page before")
    ),
    responses((status = 200, description = "A page", body = schema::Letters))
)]
pub(crate) async fn list(State(app): State<App>, Viewer(tenant): Viewer, uri: Uri) -> Answer {
    let mut asked = LetterQuery {
        tenant,
        limit: LIMIT_DEFAULT,
        ..LetterQuery::default()
    };
    for (name, value) in query::options(&uri, &["model", "limit", "after"])? {
        match name.as_str() {
            "model" => asked.model = Some(list_query::model(&value)?),
            "limit" => asked.limit = list_query::limit(&value, LETTERS_MAX)?,
            _ => asked.after = Some(LetterCursor(list_query::after(&value)?)),
        }
    }
    let page = app.engine.dead_letters(asked).await?;
    let logs = app.options.show_tracebacks;
    let weight = page.letters.iter().map(letter_json::weight).sum();
    let body = app
        .codec(weight, move || letter_json::write_page(&page, logs))
        .await?;
    Ok(json(StatusCode::OK, body))
}

/// One dead letter.
///
/// What is known of how the process died, and the last lines that it printed: those only where the server shows tracebacks
/// (`api.show_tracebacks`), as they may tell of other callers' inputs.
#[utoipa::path(
    get,
    path = "/v1/dead/{id}",
    operation_id = "getDead",
    tag = "dead letters",
    params(("id" = String, Path, description = "The letter's id: that of its task")),
    responses((status = 200, description = "The letter", body = schema::Letter))
)]
pub(crate) async fn one(State(app): State<App>, LetterPath(id): LetterPath, uri: Uri) -> Answer {
    query::none(&uri)?;
    let letter = app.engine.dead_letter(id).await?;
    let body = letter_json::write(&letter, app.options.show_tracebacks);
    Ok(json(StatusCode::OK, body))
}

/// The input of a dead letter.
///
/// As it was submitted: JSON, or bytes where `Accept` asks for that, see "Tensors as bytes".
#[utoipa::path(
    get,
    path = "/v1/dead/{id}/input",
    operation_id = "getDeadInput",
    tag = "dead letters",
    params(("id" = String, Path, description = "The letter's id: that of its task")),
    responses((
        status = 200,
        description = "The input: any JSON",
        content(
            (schema::AnyJson = "application/json"),
            (schema::Elements = "application/octet-stream"),
            (schema::NpyFile = "application/x-npy"),
            (schema::SafetensorsFile = "application/x-safetensors")
        )
    ))
)]
pub(crate) async fn input(
    State(app): State<App>,
    LetterPath(id): LetterPath,
    headers: HeaderMap,
    uri: Uri,
) -> Answer {
    query::none(&uri)?;
    let DeadLetter { model, version, .. } = app.engine.dead_letter(id).await?;
    let input = app.engine.dead_input(id).await?;
    let maker = Maker {
        model: &model,
        version: version.as_deref().unwrap_or_default(),
    };
    payload_out::answer(&app, &headers, input, maker).await
}

/// Run a dead letter's input again.
///
/// Makes a new task of it, with its priority and metadata, and answers once that is on stable storage. A letter makes one task:
/// a second call answers with the task of the first and `Idempotency-Replayed: true`, so it is safe to send again. The letter
/// stays, and names its task in `replayed_as`.
#[utoipa::path(
    post,
    path = "/v1/dead/{id}/replay",
    operation_id = "replayDead",
    tag = "dead letters",
    params(("id" = String, Path, description = "The letter's id: that of its task")),
    responses((
        status = 202,
        description = "Accepted and stored, now or by an earlier call",
        body = schema::ReplayedLetter,
        headers(
            ("location" = String, description = "The path of the new task"),
            ("idempotency-replayed" = Option<String>, description = "`true` when an earlier call had made it")
        )
    ))
)]
pub(crate) async fn replay(State(app): State<App>, LetterPath(id): LetterPath, request: Request) -> Answer {
    let parts = upload::bare(&app, request);
    query::none(&parts.uri)?;
    let client = parts.extensions.get::<Client>();
    let replay = app.engine.replay(id, client).await?;
    let mut answer = ObjectOut::new(ANSWER_BYTES);
    answer.plain("task_id", replay.id);
    answer.plain("model", &replay.model);
    answer.plain_or_null("status", replay.state);
    answer.plain_or_null("created_at", replay.created_at);
    answer.value("durable", &replay.durable);
    answer.plain("replay_of", replay.letter);
    let mut response = json(StatusCode::ACCEPTED, answer.end());
    if replay.replayed {
        response = with_header(response, IDEMPOTENCY_REPLAYED, "true".into());
    }
    let path = format!("/v1/tasks/{}", replay.id);
    Ok(with_header(response, header::LOCATION, path))
}

/// Throw a dead letter away.
///
/// With its input. Its task, and one that was made of it, stay.
#[utoipa::path(
    delete,
    path = "/v1/dead/{id}",
    operation_id = "purgeDead",
    tag = "dead letters",
    params(("id" = String, Path, description = "The letter's id: that of its task")),
    responses((status = 200, description = "It is gone", body = schema::Purged))
)]
pub(crate) async fn purge(State(app): State<App>, LetterPath(id): LetterPath, request: Request) -> Answer {
    query::none(&upload::bare(&app, request).uri)?;
    app.engine.purge_dead(id).await?;
    Ok(purged(1))
}

/// Throw dead letters away.
///
/// All that match. At least one of `model`, `before` and `all=true` must be given.
#[utoipa::path(
    delete,
    path = "/v1/dead",
    operation_id = "purgeAllDead",
    tag = "dead letters",
    params(
        ("model" = Option<String>, Query, pattern = "^[a-z0-9][a-z0-9_.-]{0,127}$", description = "Of this model only"),
        ("before" = Option<String>, Query, description = "That died before this instant, or longer ago than this", example = "7h"),
        ("all" = Option<bool>, Query, description = "`true`: of all models and times")
    ),
    responses((status = 200, description = "How many there were", body = schema::Purged))
)]
pub(crate) async fn purge_all(State(app): State<App>, Viewer(tenant): Viewer, request: Request) -> Answer {
    let uri = upload::bare(&app, request).uri;
    let mut filter = LetterFilter {
        tenant,
        ..LetterFilter::default()
    };
    let mut all = false;
    for (name, value) in query::options(&uri, &["model", "before", "all"])? {
        match name.as_str() {
            "model" => filter.model = Some(list_query::model(&value)?),
            "before" => filter.before = Some(before(&value, Timestamp::now())?),
            _ if value == "true" => all = true,
            _ => return Err(bad(format!("`all` is `{}`; it can only be true", cut(&value)))),
        }
    }
    let narrowed = filter.model.is_some() || filter.before.is_some();
    if narrowed == all {
        return Err(bad(if all {
            "`all` is given beside `model` or `before`; it is one or the other"
        } else {
            "which letters are to go? Say `model`, `before` or both; or `all=true`"
        }));
    }
    Ok(purged(app.engine.purge_dead_all(filter).await?))
}

fn purged(count: u64) -> axum::response::Response {
    let mut answer = ObjectOut::new(ANSWER_BYTES);
    answer.value("purged", &count);
    json(StatusCode::OK, answer.end())
}

/// An instant, or an age.
fn before(text: &str, now: Timestamp) -> Result<Timestamp, Problem> {
    if let Ok(instant) = text.parse() {
        return Ok(instant);
    }
    let age = duration::parse(text).ok_or_else(|| {
        bad(format!(
            "`before` is `{}`; it must be an instant such as `2026-01-31T08:00:00Z`, or an age: {}",
            cut(text),
            duration::FORM
        ))
    })?;
    let age = i64::try_from(age.as_micros()).unwrap_or(i64::MAX);
    Ok(Timestamp::from_micros(now.as_micros().saturating_sub(age)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_is_an_instant_or_an_age() {
        let now: Timestamp = "2026-01-31T08:00:00Z".parse().unwrap();
        let read = |text| before(text, now).map(|at| at.to_string());
        assert_eq!(read("90s").unwrap(), "2026-01-31T07:58:30.000000Z");
        assert_eq!(
            read("2020-01-01T00:00:00Z").unwrap(),
            "2020-01-01T00:00:00.000000Z"
        );
        assert!(read("yesterday").is_err());
    }
}
