//! Bulks.

use cresset_queue::kit::{as_number, model_of, place_of, state_of, tenant_of};
use cresset_queue::{BULK_PAGE_MAX, BULKS_MAX, Bulk, BulkCounts, BulkCursor, BulkFound, BulkPage, BulkQuery};
use cresset_task::{BulkId, Ownership, TaskId, Tenant, Timestamp};
use tokio_postgres::Row;
use uuid::Uuid;

use super::id;
use crate::connect::Conn;
use crate::error::{StoreError, col};

/// With its counts, so that they are of the same moment.
const ONE: &str = "\
SELECT b.seq, b.id, b.model, b.tenant, b.metadata, b.created_at, b.accepted, b.wrong, b.total, b.cancelled_at,
       c.states, c.tasks, c.ended
FROM bulks AS b CROSS JOIN LATERAL (
    SELECT array_agg(s.state) AS states, array_agg(s.tasks) AS tasks, max(s.ended) AS ended
    FROM (SELECT state, count(*) AS tasks, max(finished_at) AS ended FROM tasks WHERE bulk = b.seq GROUP BY state) AS s
) AS c
WHERE b.id = $1";

const LIST: &str = "\
SELECT b.seq, b.id, b.model, b.tenant, b.metadata, b.created_at, b.accepted, b.wrong, b.total, b.cancelled_at,
       c.states, c.tasks, c.ended
FROM (
    SELECT * FROM bulks WHERE seq < $1 AND ($2::text IS NULL OR tenant = $2) ORDER BY seq DESC LIMIT $3
) AS b CROSS JOIN LATERAL (
    SELECT array_agg(s.state) AS states, array_agg(s.tasks) AS tasks, max(s.ended) AS ended
    FROM (SELECT state, count(*) AS tasks, max(finished_at) AS ended FROM tasks WHERE bulk = b.seq GROUP BY state) AS s
) AS c
ORDER BY b.seq DESC";

const OWNER: &str = "SELECT tenant FROM bulks WHERE id = $1";

const ACCEPTED: &str = "SELECT seq, accepted FROM bulks WHERE id = $1";

const LINES: &str = "\
SELECT line, id, NULL::text FROM tasks WHERE bulk = $1 AND line >= $2 AND line < $3
UNION ALL
SELECT line, NULL::uuid, error FROM bulk_wrong WHERE bulk = $1 AND line >= $2 AND line < $3";

const OPEN: &str = "\
SELECT id FROM tasks WHERE bulk = (SELECT seq FROM bulks WHERE id = $1) AND state IN (0, 1, 2) LIMIT $2";

fn uuid(id: BulkId) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}

pub(crate) async fn bulk(conn: &Conn, id: BulkId) -> Result<Option<Bulk>, StoreError> {
    let row = conn.row("cannot read a bulk", ONE, &[&uuid(id)]).await?;
    row.as_ref().map(read).transpose()
}

pub(crate) async fn bulk_owner(conn: &Conn, id: BulkId) -> Result<Ownership, StoreError> {
    let row = conn
        .row("cannot look up whose a bulk is", OWNER, &[&uuid(id)])
        .await?;
    Ok(match row {
        None => Ownership::Unknown,
        Some(row) => Ownership::Of(tenant_of(col(&row, 0)?)?),
    })
}

pub(crate) async fn bulks(conn: &Conn, query: &BulkQuery) -> Result<BulkPage, StoreError> {
    let limit = query.limit.clamp(1, BULKS_MAX);
    let before = place_of(query.after.map(|BulkCursor(place)| place));
    let tenant = query.tenant.as_ref().map(Tenant::as_str);
    // One more than asked for tells whether there is another page.
    let rows = conn
        .rows(
            "cannot list bulks",
            LIST,
            &[&before, &tenant, &as_number(limit + 1)],
        )
        .await?;
    let more = rows.len() > limit;
    let mut page = BulkPage::default();
    let mut last = None;
    for row in rows.iter().take(limit) {
        last = u64::try_from(col::<i64>(row, 0)?).ok();
        page.bulks.push(read(row)?);
    }
    page.next = last.filter(|_| more).map(BulkCursor);
    Ok(page)
}

/// The bulk is read first: lines that are accepted since are not asked for, and a task that is purged in between is forgotten.
pub(crate) async fn bulk_lines(
    conn: &Conn,
    id: BulkId,
    from: u64,
    limit: usize,
) -> Result<Vec<BulkFound>, StoreError> {
    let doing = "cannot read the lines of a bulk";
    let Some(row) = conn.row(doing, ACCEPTED, &[&uuid(id)]).await? else {
        return Ok(Vec::new());
    };
    let (seq, accepted): (i64, i64) = (col(&row, 0)?, col(&row, 1)?);
    let from = i64::try_from(from).unwrap_or(i64::MAX).min(accepted);
    let end = from
        .saturating_add(as_number(limit.clamp(1, BULK_PAGE_MAX)))
        .min(accepted);
    let mut found = vec![BulkFound::Forgotten; usize::try_from(end - from).unwrap_or(0)];
    for row in conn.rows(doing, LINES, &[&seq, &from, &end]).await? {
        let place = usize::try_from(col::<i64>(&row, 0)? - from).ok();
        if let Some(place) = place.and_then(|place| found.get_mut(place)) {
            *place = match col::<Option<String>>(&row, 2)? {
                Some(error) => BulkFound::Wrong(error),
                None => BulkFound::Task(self::id(&row, 1)?),
            };
        }
    }
    Ok(found)
}

pub(crate) async fn bulk_open(conn: &Conn, id: BulkId, limit: usize) -> Result<Vec<TaskId>, StoreError> {
    let most = as_number(limit.clamp(1, BULK_PAGE_MAX));
    let rows = conn
        .rows("cannot look for a bulk's open tasks", OPEN, &[&uuid(id), &most])
        .await?;
    rows.iter().map(|row| self::id(row, 0)).collect()
}

fn read(row: &Row) -> Result<Bulk, StoreError> {
    let accepted = col::<i64>(row, 6)?.cast_unsigned();
    let mut counts = BulkCounts {
        wrong: col::<i64>(row, 7)?.cast_unsigned(),
        ..BulkCounts::default()
    };
    let states = col::<Option<Vec<i16>>>(row, 10)?.unwrap_or_default();
    let tasks = col::<Option<Vec<i64>>>(row, 11)?.unwrap_or_default();
    for (state, tasks) in states.into_iter().zip(tasks) {
        *counts.of_state(state_of(i64::from(state))?) = tasks.cast_unsigned();
    }
    counts.forgotten = accepted.saturating_sub(counts.sum());
    let last: Option<i64> = col(row, 12)?;
    Ok(Bulk {
        id: BulkId::from_bytes(*col::<Uuid>(row, 1)?.as_bytes()),
        model: model_of(col(row, 2)?)?,
        tenant: tenant_of(col(row, 3)?)?,
        metadata: col::<Option<Vec<u8>>>(row, 4)?.map(Into::into),
        created_at: Timestamp::from_micros(col(row, 5)?),
        accepted,
        total: col::<Option<i64>>(row, 8)?.map(i64::cast_unsigned),
        cancelled_at: col::<Option<i64>>(row, 9)?.map(Timestamp::from_micros),
        finished_at: last.filter(|_| counts.open() == 0).map(Timestamp::from_micros),
        counts,
    })
}
