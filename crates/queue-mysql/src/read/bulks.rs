//! Bulks.

use std::collections::HashMap;

use cresset_queue::kit::{as_number, model_of, place_of, state_of, tenant_of};
use cresset_queue::{BULK_PAGE_MAX, BULKS_MAX, Bulk, BulkCounts, BulkCursor, BulkFound, BulkPage, BulkQuery};
use cresset_task::{BulkId, Ownership, TaskId, Tenant, Timestamp};
use mysql_async::Row;

use super::{at_once, instant};
use crate::connect::{Answer, Conn};
use crate::error::{StoreError, col, id, id_or_none};
use crate::sql::sql;

/// All of a bulk.
macro_rules! columns {
    ($of:literal) => {
        concat!(
            "SELECT seq, id, model, tenant, metadata, created_at, accepted, wrong, total, cancelled_at FROM bulks ",
            $of
        )
    };
}

const ONE: &str = columns!("WHERE id = ?");
const LIST: &str =
    columns!("FORCE INDEX (PRIMARY) WHERE seq < ? AND (? IS NULL OR tenant = ?) ORDER BY seq DESC LIMIT ?");

/// What became of the tasks of each, of the same moment.
const COUNTS: &str = "\
SELECT bulk, bulk_state, COUNT(*), MAX(bulk_end) FROM tasks WHERE bulk = (SELECT seq FROM bulks WHERE id = ?)
GROUP BY bulk, bulk_state";

const COUNTS_LISTED: &str = "\
SELECT t.bulk, t.bulk_state, COUNT(*), MAX(t.bulk_end)
FROM (SELECT seq FROM bulks WHERE seq < ? AND (? IS NULL OR tenant = ?) ORDER BY seq DESC LIMIT ?) AS b
JOIN tasks AS t ON t.bulk = b.seq GROUP BY t.bulk, t.bulk_state";

const OWNER: &str = "SELECT tenant FROM bulks WHERE id = ?";

const ACCEPTED: &str = "SELECT seq, accepted FROM bulks WHERE id = ?";

const LINES: &str = "\
SELECT line, id, NULL FROM tasks WHERE bulk = ? AND line >= ? AND line < ?
UNION ALL
SELECT line, NULL, error FROM bulk_wrong WHERE bulk = ? AND line >= ? AND line < ?";

const OPEN: &str = "\
SELECT id FROM tasks WHERE bulk = (SELECT seq FROM bulks WHERE id = ?) AND bulk_state IN (0, 1, 2) LIMIT ?";

/// What became of tasks of a bulk, by state: how many, and when the last of them ended.
type Fates = HashMap<i64, Vec<(i64, u64, Option<i64>)>>;

fn fates(answer: &Answer) -> Result<Fates, StoreError> {
    let mut fates = Fates::new();
    for row in &answer.rows {
        let fate = (col(row, 1)?, col::<i64>(row, 2)?.cast_unsigned(), col(row, 3)?);
        fates.entry(col(row, 0)?).or_default().push(fate);
    }
    Ok(fates)
}

pub(crate) async fn bulk(conn: &Conn, id: BulkId) -> Result<Option<Bulk>, StoreError> {
    let [bulk, counts] = at_once(conn, "cannot read a bulk", [sql!(ONE, id), sql!(COUNTS, id)]).await?;
    let fates = fates(&counts)?;
    bulk.rows.first().map(|row| read(row, &fates)).transpose()
}

pub(crate) async fn bulk_owner(conn: &Conn, id: BulkId) -> Result<Ownership, StoreError> {
    let row = conn
        .row("cannot look up whose a bulk is", sql!(OWNER, id))
        .await?;
    Ok(match row {
        None => Ownership::Unknown,
        Some(row) => Ownership::Of(tenant_of(col::<Option<String>>(&row, 0)?.as_deref())?),
    })
}

pub(crate) async fn bulks(conn: &Conn, query: &BulkQuery) -> Result<BulkPage, StoreError> {
    let limit = query.limit.clamp(1, BULKS_MAX);
    let before = place_of(query.after.map(|BulkCursor(place)| place));
    let tenant = query.tenant.as_ref().map(Tenant::as_str);
    // One more than asked for tells whether there is another page.
    let most = as_number(limit + 1);
    let statements = [LIST, COUNTS_LISTED].map(|text| sql!(text, before, tenant, tenant, most));
    let [listed, counts] = at_once(conn, "cannot list bulks", statements).await?;
    let fates = fates(&counts)?;
    let more = listed.rows.len() > limit;
    let mut page = BulkPage::default();
    let mut last = None;
    for row in listed.rows.iter().take(limit) {
        last = u64::try_from(col::<i64>(row, 0)?).ok();
        page.bulks.push(read(row, &fates)?);
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
    let Some(row) = conn.row(doing, sql!(ACCEPTED, id)).await? else {
        return Ok(Vec::new());
    };
    let (seq, accepted): (i64, i64) = (col(&row, 0)?, col(&row, 1)?);
    let from = i64::try_from(from).unwrap_or(i64::MAX).min(accepted);
    let end = from
        .saturating_add(as_number(limit.clamp(1, BULK_PAGE_MAX)))
        .min(accepted);
    let mut found = vec![BulkFound::Forgotten; usize::try_from(end - from).unwrap_or(0)];
    for row in conn
        .rows(doing, sql!(LINES, seq, from, end, seq, from, end))
        .await?
    {
        let place = usize::try_from(col::<i64>(&row, 0)? - from).ok();
        if let Some(place) = place.and_then(|place| found.get_mut(place)) {
            *place = match id_or_none(&row, 1)? {
                Some(task) => BulkFound::Task(task),
                None => BulkFound::Wrong(col(&row, 2)?),
            };
        }
    }
    Ok(found)
}

pub(crate) async fn bulk_open(conn: &Conn, bulk: BulkId, limit: usize) -> Result<Vec<TaskId>, StoreError> {
    let most = as_number(limit.clamp(1, BULK_PAGE_MAX));
    let rows = conn
        .rows("cannot look for a bulk's open tasks", sql!(OPEN, bulk, most))
        .await?;
    rows.iter().map(|row| id(row, 0)).collect()
}

fn read(row: &Row, fates: &Fates) -> Result<Bulk, StoreError> {
    let accepted = col::<i64>(row, 6)?.cast_unsigned();
    let mut counts = BulkCounts {
        wrong: col::<i64>(row, 7)?.cast_unsigned(),
        ..BulkCounts::default()
    };
    let mut last = None;
    for (state, tasks, ended) in fates.get(&col(row, 0)?).into_iter().flatten() {
        *counts.of_state(state_of(*state)?) = *tasks;
        last = last.max(*ended);
    }
    counts.forgotten = accepted.saturating_sub(counts.sum());
    Ok(Bulk {
        id: BulkId::from_bytes(*id(row, 1)?.as_bytes()),
        model: model_of(&col::<String>(row, 2)?)?,
        tenant: tenant_of(col::<Option<String>>(row, 3)?.as_deref())?,
        metadata: col::<Option<Vec<u8>>>(row, 4)?.map(Into::into),
        created_at: Timestamp::from_micros(col(row, 5)?),
        accepted,
        total: col::<Option<i64>>(row, 8)?.map(i64::cast_unsigned),
        cancelled_at: instant(row, 9)?,
        finished_at: last.filter(|_| counts.open() == 0).map(Timestamp::from_micros),
        counts,
    })
}
