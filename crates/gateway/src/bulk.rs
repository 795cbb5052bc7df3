//! `/v1/batches`: many tasks in one request, and what became of them.
//!
//! To callers it is a batch; in here it is a bulk, as a batch is what a model computes in one go.

mod intake;
mod lines;
mod write;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri, header};
use cresset_engine::{BULKS_MAX, BulkCursor, BulkQuery, BulkStart, EngineError};
use cresset_task::{Code, Ownership};

use crate::answer::{json, with_header};
use crate::app::App;
use crate::auth::{self, Viewer};
use crate::idempotency::IDEMPOTENCY_REPLAYED;
use crate::path::BulkPath;
use crate::problem::{Answer, Problem};
use crate::query::{bad, cut};
use crate::upload::Upload;
use crate::{cache_control, idempotency, list_query, order, query, schema, upload};

/// What the body may call itself.
const LINES: [&str; 3] = [
    "application/x-ndjson",
    "application/jsonl",
    "application/x-jsonlines",
];

/// Batches on a page unless the caller says otherwise.
const LIMIT_DEFAULT: usize = 20;

/// Submit many tasks.
///
/// Each line of the body is what `submitTask` takes, and becomes a task of the one model. The body may be of any length: it is
/// read as it comes, and its lines are accepted group by group, each group durably, in order. While the queue is full reading
/// waits, so that the sender does; for ten minutes without room it gives up. A line that is wrong is noted as that line's error
/// and stops no other. White space between lines is none.
///
/// What has been accepted stays accepted, and runs, also when the body breaks off. With an `Idempotency-Key` it is safe to send
/// all of it again: the batch is gone on with behind the lines that it has. Each model has keys of its own, apart from those of
/// single tasks, and a key is kept as long as its batch.
#[utoipa::path(
    post,
    path = "/v1/batches",
    operation_id = "submitBatch",
    tag = "batches",
    params(
        ("model" = String, Query, description = "The model's name", example = "digits"),
        ("Idempotency-Key" = Option<String>, Header, description = "A header: the caller's name for this batch, as with `submitTask`", example = "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        ("Cresset-Metadata" = Option<String>, Header, description = "A header: a JSON object, given back with the batch", example = "{\"night\": 7}"),
        ("traceparent" = Option<String>, Header, description = "A header: as with `submitTask`, for every line", example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("Cache-Control" = Option<String>, Header, description = "A header: as with `submitTask`, for every line", example = "no-cache")
    ),
    request_body(content((schema::BulkLines = "application/x-ndjson"), (schema::BulkLines = "application/jsonl"))),
    responses((
        status = 202,
        description = "All lines are accepted and stored",
        body = schema::Batch,
        headers(
            ("location" = String, description = "The path of the batch"),
            ("idempotency-replayed" = Option<String>, description = "`true` when there was a batch of this `Idempotency-Key`, and it was gone on with")
        )
    ))
)]
pub(crate) async fn submit(State(app): State<App>, request: Request) -> Answer {
    let (parts, body) = request.into_parts();
    let upload = Upload::new(&app, &parts.headers, body);
    check_media(&parts.headers)?;
    let name = model(&parts.uri)?;
    auth::check_model(&parts.extensions, &name)?;
    let config = app.engine.declaration(&name)?;
    let start = BulkStart {
        model: config.name.clone(),
        tenant: auth::tenant(&parts.extensions),
        key: idempotency::key(&parts.headers)?,
        metadata: order::metadata_of(&parts.headers)?,
    };
    let cache = cache_control::wanted(&parts.headers)?;
    let (bulk, is_known) = app.engine.bulk_begin(start).await?;
    let id = bulk.id;
    let taken = intake::take(
        &app,
        upload.lines(),
        bulk,
        intake::Terms {
            config,
            cache,
            parts: &parts,
        },
    )
    .await;
    let whole = app.engine.bulk(id).await;
    if let Err(problem) = taken {
        let accepted = whole.as_ref().map_or(0, |bulk| bulk.accepted);
        let more = format!(
            "{accepted} lines of the batch {id} are accepted and run; all lines sent again under the same `Idempotency-Key` go on behind them"
        );
        return Err(problem.and(&more));
    }
    let response = json(StatusCode::ACCEPTED, write::bulk(&whole?));
    let response = match is_known {
        true => with_header(response, IDEMPOTENCY_REPLAYED, "true".into()),
        false => response,
    };
    Ok(with_header(
        response,
        header::LOCATION,
        format!("/v1/batches/{id}"),
    ))
}

/// How a batch stands.
///
/// Counted in the index of its tasks: cheap enough to be asked every second, also of 100,000 lines.
#[utoipa::path(
    get,
    path = "/v1/batches/{id}",
    operation_id = "getBatch",
    tag = "batches",
    params(("id" = String, Path, description = "The batch's id")),
    responses((status = 200, description = "The batch", body = schema::Batch))
)]
pub(crate) async fn status(State(app): State<App>, BulkPath(id): BulkPath, uri: Uri) -> Answer {
    query::none(&uri)?;
    Ok(json(StatusCode::OK, write::bulk(&app.engine.bulk(id).await?)))
}

/// List batches.
///
/// Where keys are needed, those of the key's tenant; with the scope `admin`, all. Those begun last first, page by page: `next`
/// of one page is `after` of the following.
#[utoipa::path(
    get,
    path = "/v1/batches",
    operation_id = "listBatches",
    tag = "batches",
    params(
        ("limit" = Option<usize>, Query, minimum = 1, maximum = 100, description = "Batches on the page, 1 to 100; 20 unless told"),
        ("after" = Option<u64>, Query, description = "`next` of the page before")
    ),
    responses((status = 200, description = "A page", body = schema::Batches))
)]
pub(crate) async fn list(State(app): State<App>, Viewer(tenant): Viewer, uri: Uri) -> Answer {
    let mut asked = BulkQuery {
        tenant,
        after: None,
        limit: LIMIT_DEFAULT,
    };
    for (name, value) in query::options(&uri, &["limit", "after"])? {
        match name.as_str() {
            "limit" => asked.limit = list_query::limit(&value, BULKS_MAX)?,
            _ => asked.after = Some(BulkCursor(list_query::after(&value)?)),
        }
    }
    let page = app.engine.bulks(asked).await?;
    Ok(json(StatusCode::OK, write::page(&page)))
}

/// What became of each line.
///
/// One line for each line that is accepted, in the order of the input, as it stands when it is written: one that has not ended
/// has its `status` and neither a `result` nor an `error`. So a batch that is `completed` or `cancelled` has all of them, and
/// another can be read as far as it is. `from` goes on where a reader was cut off.
#[utoipa::path(
    get,
    path = "/v1/batches/{id}/results",
    operation_id = "getBatchResults",
    tag = "batches",
    params(
        ("id" = String, Path, description = "The batch's id"),
        ("from" = Option<u64>, Query, description = "The first line to give, from 0; 0 unless told")
    ),
    responses((
        status = 200,
        description = "JSON Lines, each a `BatchLine`",
        content((schema::BatchResults = "application/x-ndjson"))
    ))
)]
pub(crate) async fn results(State(app): State<App>, BulkPath(id): BulkPath, uri: Uri) -> Answer {
    let mut from = 0;
    for (_, value) in query::options(&uri, &["from"])? {
        // A number of a store's, as the document says.
        let number = value
            .parse::<i64>()
            .ok()
            .and_then(|number| u64::try_from(number).ok());
        from = number.ok_or_else(|| {
            bad(format!(
                "`from` is `{}`; it must be the number of a line, from 0",
                cut(&value)
            ))
        })?;
    }
    if app.engine.bulk_owner(id).await? == Ownership::Unknown {
        return Err(EngineError::UnknownBulk(id).into());
    }
    lines::answer(app, id, from).await
}

/// Cancel a batch.
///
/// It takes no more lines, and every task of it that has not ended is cancelled as by `cancelTask`. Answers when all are; a
/// caller that goes away before does not stop it. Cancelling again does no harm, and goes on where a crash of the server ended it. A
/// batch that is completed stays so.
#[utoipa::path(
    post,
    path = "/v1/batches/{id}/cancel",
    operation_id = "cancelBatch",
    tag = "batches",
    params(("id" = String, Path, description = "The batch's id")),
    responses((status = 200, description = "The batch as it is now", body = schema::Batch))
)]
pub(crate) async fn cancel(State(app): State<App>, BulkPath(id): BulkPath, request: Request) -> Answer {
    query::none(&upload::bare(&app, request).uri)?;
    let bulk = app.engine.bulk_cancel(id).await?;
    Ok(json(StatusCode::OK, write::bulk(&bulk)))
}

/// The one parameter.
fn model(uri: &Uri) -> Result<String, Problem> {
    let given = query::options(uri, &["model"])?.into_iter().next();
    given.map(|(_, name)| name).ok_or_else(|| {
        bad("`model` is missing; say whose tasks the lines are, as in `/v1/batches?model=digits`")
    })
}

/// Saying nothing is saying JSON Lines.
fn check_media(headers: &HeaderMap) -> Result<(), Problem> {
    let given = headers.get(header::CONTENT_TYPE).map(|value| value.as_bytes());
    let text = String::from_utf8_lossy(given.unwrap_or(LINES[0].as_bytes())).to_ascii_lowercase();
    let name = text.split(';').next().unwrap_or_default().trim();
    let is_plain = !headers.contains_key(header::CONTENT_ENCODING);
    if LINES.contains(&name) && is_plain {
        return Ok(());
    }
    let what = match is_plain {
        true => format!("the Content-Type is `{}`", cut(&text)),
        false => "the body has a `Content-Encoding`".to_owned(),
    };
    Err(Problem::new(
        Code::UnsupportedMediaType,
        format!("{what}; send JSON Lines as they are, with `Content-Type: application/x-ndjson`"),
    ))
}
