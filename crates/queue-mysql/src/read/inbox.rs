//! What lies in the inbox.

use cresset_queue::kit::{self, as_number, inbox_input, model_of};
use cresset_queue::{INBOX_COUNT_MAX, InboxLoad, InboxQuery, InboxRow};
use cresset_task::{ModelName, TaskId, TaskRecord, Tenant, Timestamp};
use mysql_async::Row;

use super::instant;
use crate::connect::Conn;
use crate::error::{StoreError, col, small, take};
use crate::sql::sql;

const LOOKING: &str = "cannot look into the inbox";

/// Models that one look considers beside those that it skips, at most: a bounded time, however many names applications come
/// up with.
const MODELS_MAX: usize = 256;

/// Of these so many are asked for at once: most sites have fewer.
const STEPS: usize = 8;
const MODELS_A_STEP: usize = STEP.len() / 2;

/// The next model by name, whatever lies before it: one step in an index. A variable of the session is a constant to the
/// statement that reads it, which what another row says would not be. `SET` would lock what it reads, and wait for applications.
const BEGIN: &str = "SET @model = ? COLLATE utf8mb4_bin";
const STEP: [&str; 4] = [
    "SELECT (SELECT waiting FROM inbox FORCE INDEX (inbox_by_model) WHERE waiting > @model ORDER BY waiting LIMIT 1) INTO @next",
    "SELECT @next",
    "SELECT (SELECT waiting FROM inbox FORCE INDEX (inbox_by_model) WHERE waiting > @next ORDER BY waiting LIMIT 1) INTO @model",
    "SELECT @model",
];

/// The first of a model, and what their inputs weigh.
const HEADS: &str =
    "SELECT seq, size FROM inbox FORCE INDEX (inbox_by_model) WHERE waiting = ? ORDER BY seq LIMIT ?";

const HEAD: &str = "SELECT seq, size FROM inbox WHERE id = ? AND error IS NULL";

/// All of a row; its input only where that is said, as the database reads all of it otherwise.
macro_rules! rows {
    ($input:literal) => {
        concat!(
            "SELECT seq, id, model, priority, CAST(UNIX_TIMESTAMP(eta) * 1000000 AS SIGNED), ",
            "CAST(UNIX_TIMESTAMP(expires) * 1000000 AS SIGNED), CAST(UNIX_TIMESTAMP(deadline) * 1000000 AS SIGNED), ",
            "TIMESTAMPDIFF(MICROSECOND, '1970-01-01', inserted_at), metadata, retry, callback_url, callback_events, ",
            "content_type, size, ",
            $input,
            " FROM inbox WHERE seq IN (?) AND error IS NULL"
        )
    };
}
const WHOLE: &str = rows!("input, body");
const UNREAD: &str = rows!("NULL, NULL");

const HAS: &str = "SELECT 1 FROM inbox WHERE id = ? AND error IS NULL";

const LOAD: &str = "\
SELECT (SELECT COUNT(*) FROM (SELECT 1 FROM inbox FORCE INDEX (inbox_by_age) WHERE is_wrong = 0 LIMIT ?) AS i),
       (SELECT TIMESTAMPDIFF(MICROSECOND, '1970-01-01', inserted_at) FROM inbox FORCE INDEX (inbox_by_age)
        WHERE is_wrong = 0 ORDER BY seq LIMIT 1),
       (SELECT COUNT(*) FROM (SELECT 1 FROM inbox FORCE INDEX (inbox_by_age) WHERE is_wrong = 1 LIMIT ?) AS w)";

/// Whether anything has come or gone: the newest row, and how many wait, as far as the oldest of them tell.
const GLANCE: &str = "\
SELECT (SELECT MAX(seq) FROM inbox), COUNT(*), CAST(SUM(seq) AS CHAR)
FROM (SELECT seq FROM inbox FORCE INDEX (inbox_by_age) WHERE is_wrong = 0 ORDER BY seq LIMIT ?) AS i";

/// Rows that a glance goes over, at most.
const GLANCE_MAX: i64 = 32;

/// How the inbox looked. It is another one where something has come or gone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Glance {
    newest: Option<i64>,
    waiting: i64,
    sum: Option<String>,
}

impl Glance {
    pub(crate) fn has_rows(&self) -> bool {
        self.waiting > 0
    }
}

/// A row and what its input weighs.
type Head = (i64, u64);

/// The id of a row, which is text.
pub(crate) fn inbox_id(row: &Row, at: usize) -> Result<TaskId, StoreError> {
    let text: String = col(row, at)?;
    let id = text.parse();
    id.map_err(|_| StoreError::Damaged(format!("a row of the inbox has the id {text:?}, which is none")))
}

pub(crate) async fn inbox_glance(conn: &Conn) -> Result<Glance, StoreError> {
    let row = conn.row(LOOKING, sql!(GLANCE, GLANCE_MAX)).await?;
    row.map_or(Ok(Glance::default()), |row| {
        Ok(Glance {
            newest: col(&row, 0)?,
            waiting: col(&row, 1)?,
            sum: col(&row, 2)?,
        })
    })
}

/// The first of each model, whatever lies before them of others.
pub(crate) async fn inbox_rows(
    conn: &Conn,
    query: &InboxQuery,
    tenant: Option<&Tenant>,
) -> Result<Vec<InboxRow>, StoreError> {
    let models = models(conn, &query.skip).await?;
    let asked: Vec<String> = models
        .iter()
        .map(|model| sql!(HEADS, model, as_number(query.max_rows)))
        .collect();
    let mut heads = Vec::new();
    for row in conn
        .all(LOOKING, &asked)
        .await?
        .iter()
        .flat_map(|answer| &answer.rows)
    {
        heads.push(head(row)?);
    }
    heads.sort_unstable();
    heads.truncate(query.max_rows);
    let mut bytes = 0;
    heads.retain(|(_, size)| {
        let fits = bytes < query.max_bytes;
        bytes = bytes.saturating_add(
            usize::try_from(*size)
                .unwrap_or(usize::MAX)
                .min(query.max_row_bytes),
        );
        fits
    });
    whole(conn, &heads, query.max_row_bytes, tenant).await
}

/// Those that have rows and are not to be skipped.
async fn models(conn: &Conn, skip: &[ModelName]) -> Result<Vec<String>, StoreError> {
    let (mut models, mut last) = (Vec::new(), String::new());
    for _ in 0..(MODELS_MAX + skip.len()).div_ceil(STEPS) {
        let steps = STEP.iter().cycle().take(STEP.len() * STEPS / MODELS_A_STEP);
        let asked = std::iter::once(sql!(BEGIN, &last)).chain(steps.map(|&step| step.to_owned()));
        let asked: Vec<String> = asked.collect();
        let answers = conn.all(LOOKING, &asked).await?;
        for row in answers.iter().flat_map(|answer| &answer.rows) {
            let Some(model) = col::<Option<String>>(row, 0)? else {
                return Ok(models);
            };
            if !skip.iter().any(|skipped| skipped.as_str() == model) {
                models.push(model.clone());
            }
            last = model;
        }
        if models.len() >= MODELS_MAX {
            break;
        }
    }
    Ok(models)
}

fn head(row: &Row) -> Result<Head, StoreError> {
    Ok((col(row, 0)?, small(row, 1)?))
}

/// These rows, in their order; the input of one that weighs more than so much is left where it is.
async fn whole(
    conn: &Conn,
    heads: &[Head],
    max_row_bytes: usize,
    tenant: Option<&Tenant>,
) -> Result<Vec<InboxRow>, StoreError> {
    let is_small = |(_, size): &Head| usize::try_from(*size).is_ok_and(|size| size <= max_row_bytes);
    let (read, unread): (Vec<Head>, Vec<Head>) = heads.iter().partition(|head| is_small(head));
    let of = |text: &str, heads: &[Head]| {
        let seqs: Vec<i64> = heads.iter().map(|(seq, _)| *seq).collect();
        (!seqs.is_empty()).then(|| sql!(text, &seqs[..]))
    };
    let asked = [of(WHOLE, &read), of(UNREAD, &unread)];
    let asked: Vec<String> = asked.into_iter().flatten().collect();
    let mut rows = Vec::new();
    for row in conn
        .all(LOOKING, &asked)
        .await?
        .into_iter()
        .flat_map(|answer| answer.rows)
    {
        rows.push((col::<i64>(&row, 0)?, inbox_row_of(row, tenant)?));
    }
    rows.sort_unstable_by_key(|(seq, _)| *seq);
    Ok(rows.into_iter().map(|(_, row)| row).collect())
}

pub(crate) async fn inbox_row(
    conn: &Conn,
    id: TaskId,
    max_row_bytes: usize,
    tenant: Option<&Tenant>,
) -> Result<Option<InboxRow>, StoreError> {
    let found = conn.row(LOOKING, sql!(HEAD, id.to_string())).await?;
    let Some(found) = found else {
        return Ok(None);
    };
    Ok(whole(conn, &[head(&found)?], max_row_bytes, tenant).await?.pop())
}

/// The task that a row will be, as long as it is one.
pub(crate) async fn inbox_record(conn: &Conn, id: TaskId) -> Result<Option<TaskRecord>, StoreError> {
    Ok(inbox_row(conn, id, 0, None).await?.map(kit::inbox_record))
}

pub(crate) async fn inbox_has(conn: &Conn, id: TaskId) -> Result<bool, StoreError> {
    let found = conn.row(LOOKING, sql!(HAS, id.to_string())).await?;
    Ok(found.is_some())
}

pub(crate) async fn inbox_load(conn: &Conn) -> Result<InboxLoad, StoreError> {
    let most = i64::try_from(INBOX_COUNT_MAX).unwrap_or(i64::MAX);
    let found = conn.row("cannot count the inbox", sql!(LOAD, most, most)).await?;
    let Some(found) = found else {
        return Ok(InboxLoad::default());
    };
    Ok(InboxLoad {
        rows: small(&found, 0)?,
        oldest: instant(&found, 1)?,
        refused: small(&found, 2)?,
    })
}

fn inbox_row_of(mut row: Row, tenant: Option<&Tenant>) -> Result<InboxRow, StoreError> {
    let (json, body) = (take(&mut row, 14), take(&mut row, 15));
    let body = match body {
        Some(body) => Some((body, col(&row, 12)?)),
        None => None,
    };
    // As a submit has it.
    let url: Option<String> = col(&row, 10)?;
    let url = url.map(|url| serde_json::Value::String(url).to_string());
    Ok(InboxRow {
        id: inbox_id(&row, 1)?,
        model: model_of(&col::<String>(&row, 2)?)?,
        input: inbox_input(json, body, small(&row, 13)?),
        priority: small(&row, 3)?,
        due_at: instant(&row, 4)?,
        expires_at: instant(&row, 5)?,
        deadline_at: instant(&row, 6)?,
        metadata: col(&row, 8)?,
        retry: col(&row, 9)?,
        callback_url: url,
        callback_events: col(&row, 11)?,
        inserted_at: Timestamp::from_micros(col(&row, 7)?),
        tenant: tenant.cloned(),
    })
}
