//! What lies in the inbox.

use bytes::Bytes;
use cresset_queue::kit::{self, as_number, inbox_input, model_of};
use cresset_queue::{INBOX_COUNT_MAX, InboxLoad, InboxQuery, InboxRow};
use cresset_task::{TaskId, TaskRecord, Tenant, Timestamp};
use tokio_postgres::Row;

use super::{id, uuid};
use crate::connect::Conn;
use crate::error::{StoreError, col, small};

/// Models that one look considers, at most: a bounded time, however many names applications come up with.
const MODELS_MAX: i64 = 256;

/// All of a row `i`; its input where it weighs no more than `$1`.
macro_rules! columns {
    () => {
        "i.id, i.model, i.priority::bigint, (extract(epoch FROM i.eta) * 1000000)::bigint,
         (extract(epoch FROM i.expires) * 1000000)::bigint, (extract(epoch FROM i.deadline) * 1000000)::bigint,
         (extract(epoch FROM i.inserted_at) * 1000000)::bigint, i.metadata::text, i.retry::text,
         to_json(i.callback_url)::text, to_json(i.callback_events)::text, i.content_type, s.size,
         CASE WHEN s.size <= $1 THEN i.input::text END, CASE WHEN s.size <= $1 THEN i.body END"
    };
}

/// What the input weighs: known without reading it, as it is not compressed.
macro_rules! size {
    () => {
        "(coalesce(pg_column_size(i.input), pg_column_size(i.body), 0))::bigint AS size"
    };
}

/// The first of each model, whatever lies before them of others: each model is found by one step in an index.
const ROWS: &str = concat!(
    "\
WITH RECURSIVE models AS (
    (SELECT model FROM inbox WHERE error IS NULL ORDER BY model LIMIT 1)
    UNION ALL
    SELECT (SELECT n.model FROM inbox AS n WHERE n.error IS NULL AND n.model > m.model ORDER BY n.model LIMIT 1)
    FROM models AS m WHERE m.model IS NOT NULL
), heads AS MATERIALIZED (
    SELECT h.* FROM (SELECT model FROM models WHERE model <> ALL ($2) LIMIT $5) AS m
    CROSS JOIN LATERAL (
        SELECT i.seq, ",
    size!(),
    " FROM inbox AS i WHERE i.error IS NULL AND i.model = m.model ORDER BY i.seq LIMIT $3
    ) AS h
), chosen AS (
    SELECT seq, size, sum(least(size, $1)) OVER (ORDER BY seq) - least(size, $1) AS before
    FROM heads ORDER BY seq LIMIT $3
)
SELECT ",
    columns!(),
    " FROM chosen AS s JOIN inbox AS i ON i.seq = s.seq AND i.error IS NULL WHERE s.before < $4::bigint ORDER BY i.seq"
);

const ONE: &str = concat!(
    "SELECT ",
    columns!(),
    " FROM inbox AS i CROSS JOIN LATERAL (SELECT ",
    size!(),
    ") AS s WHERE i.id = $2 AND i.error IS NULL"
);

const HAS: &str = "SELECT 1 FROM inbox WHERE id = $1 AND error IS NULL";

const LOAD: &str = "\
SELECT (SELECT count(*) FROM (SELECT 1 FROM inbox WHERE error IS NULL LIMIT $1) AS i),
       (SELECT (extract(epoch FROM inserted_at) * 1000000)::bigint FROM inbox WHERE error IS NULL ORDER BY seq LIMIT 1),
       (SELECT count(*) FROM (SELECT 1 FROM inbox WHERE error IS NOT NULL LIMIT $1) AS i)";

pub(crate) async fn inbox_rows(
    conn: &Conn,
    query: &InboxQuery,
    tenant: Option<&Tenant>,
) -> Result<Vec<InboxRow>, StoreError> {
    let skip: Vec<&str> = query.skip.iter().map(|model| model.as_str()).collect();
    let (alone, rows, bytes) = (
        as_number(query.max_row_bytes),
        as_number(query.max_rows),
        as_number(query.max_bytes),
    );
    let found = conn
        .rows(
            "cannot look into the inbox",
            ROWS,
            &[&alone, &skip, &rows, &bytes, &MODELS_MAX],
        )
        .await?;
    found.iter().map(|found| row(found, tenant)).collect()
}

pub(crate) async fn inbox_row(
    conn: &Conn,
    id: TaskId,
    max_row_bytes: usize,
    tenant: Option<&Tenant>,
) -> Result<Option<InboxRow>, StoreError> {
    let found = conn
        .row(
            "cannot look into the inbox",
            ONE,
            &[&as_number(max_row_bytes), &uuid(id)],
        )
        .await?;
    found.map(|found| row(&found, tenant)).transpose()
}

/// The task that a row will be, as long as it is one.
pub(crate) async fn inbox_record(conn: &Conn, id: TaskId) -> Result<Option<TaskRecord>, StoreError> {
    Ok(inbox_row(conn, id, 0, None).await?.map(kit::inbox_record))
}

pub(crate) async fn inbox_has(conn: &Conn, id: TaskId) -> Result<bool, StoreError> {
    let found = conn.row("cannot look into the inbox", HAS, &[&uuid(id)]).await?;
    Ok(found.is_some())
}

pub(crate) async fn inbox_load(conn: &Conn) -> Result<InboxLoad, StoreError> {
    let most = i64::try_from(INBOX_COUNT_MAX).unwrap_or(i64::MAX);
    let found = conn.row("cannot count the inbox", LOAD, &[&most]).await?;
    let Some(found) = found else {
        return Ok(InboxLoad::default());
    };
    Ok(InboxLoad {
        rows: small(&found, 0)?,
        oldest: instant(&found, 1)?,
        refused: small(&found, 2)?,
    })
}

fn instant(row: &Row, at: usize) -> Result<Option<Timestamp>, StoreError> {
    Ok(col::<Option<i64>>(row, at)?.map(Timestamp::from_micros))
}

fn row(row: &Row, tenant: Option<&Tenant>) -> Result<InboxRow, StoreError> {
    let bytes = Bytes::copy_from_slice;
    let body = match col::<Option<&[u8]>>(row, 14)? {
        Some(body) => Some((bytes(body), col(row, 11)?)),
        None => None,
    };
    let json = col::<Option<&str>>(row, 13)?.map(|json| bytes(json.as_bytes()));
    Ok(InboxRow {
        id: id(row, 0)?,
        model: model_of(col(row, 1)?)?,
        input: inbox_input(json, body, small(row, 12)?),
        priority: small(row, 2)?,
        due_at: instant(row, 3)?,
        expires_at: instant(row, 4)?,
        deadline_at: instant(row, 5)?,
        metadata: col(row, 7)?,
        retry: col(row, 8)?,
        callback_url: col(row, 9)?,
        callback_events: col(row, 10)?,
        inserted_at: Timestamp::from_micros(col(row, 6)?),
        tenant: tenant.cloned(),
    })
}
