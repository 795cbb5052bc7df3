//! The list of tasks, read along their order of acceptance.

use cresset_queue::kit::{LOOK_MAX, as_number, model_of, next_place, place_of, state_number, state_of};
use cresset_queue::{TASKS_MAX, TaskCursor, TaskPage, TaskQuery};
use cresset_task::{Attempt, TaskSummary, Tenant, Timestamp};
use tokio_postgres::Row;

use super::id;
use crate::connect::{Conn, Params};
use crate::error::{StoreError, col, small, tiny};

/// The newest task that stands behind a place, and the oldest of all: what a list has to look at.
const ENDS: &str = "SELECT (SELECT max(seq) FROM tasks WHERE seq < $1), (SELECT min(seq) FROM tasks)";

const PAGE: &str = "\
SELECT seq, id, model, version, state, created_at, started_at, finished_at, due_at, attempts, retries, priority, metadata
FROM tasks
WHERE seq < $1 AND seq >= $2 AND ($3::text IS NULL OR model = $3) AND ($4::smallint IS NULL OR state = $4)
      AND ($5::text IS NULL OR tenant = $5)
ORDER BY seq DESC LIMIT $6";

pub(crate) async fn tasks(conn: &Conn, query: &TaskQuery) -> Result<TaskPage, StoreError> {
    let doing = "cannot list tasks";
    let limit = query.limit.clamp(1, TASKS_MAX);
    let before = place_of(query.after.map(|TaskCursor(place)| place));
    let mut page = TaskPage::default();
    let Some((newest, oldest)) = ends(conn, doing, ENDS, before).await? else {
        return Ok(page);
    };
    let floor = newest.saturating_sub(LOOK_MAX - 1);
    let model = query.model.as_ref().map(|model| model.as_str());
    let state = query
        .state
        .and_then(|state| i16::try_from(state_number(state)).ok());
    let tenant = query.tenant.as_ref().map(Tenant::as_str);
    // One more than asked for tells whether there is another page.
    let values: Params<'_> = &[&before, &floor, &model, &state, &tenant, &as_number(limit + 1)];
    let rows = conn.rows(doing, PAGE, values).await?;
    let more = rows.len() > limit;
    let mut last = None;
    for row in rows.iter().take(limit) {
        last = more.then_some(col(row, 0)?);
        page.tasks.push(summary(row)?);
    }
    page.next = next_place(last, floor, oldest).map(TaskCursor);
    Ok(page)
}

/// The newest row before a place, and the oldest of all.
pub(super) async fn ends(
    conn: &Conn,
    doing: &'static str,
    sql: &'static str,
    before: i64,
) -> Result<Option<(i64, i64)>, StoreError> {
    let Some(row) = conn.row(doing, sql, &[&before]).await? else {
        return Ok(None);
    };
    let (newest, oldest): (Option<i64>, Option<i64>) = (col(&row, 0)?, col(&row, 1)?);
    Ok(newest.zip(oldest))
}

fn summary(row: &Row) -> Result<TaskSummary, StoreError> {
    let instant = |at: usize| Ok::<_, StoreError>(col::<Option<i64>>(row, at)?.map(Timestamp::from_micros));
    Ok(TaskSummary {
        id: id(row, 1)?,
        model: model_of(col(row, 2)?)?,
        version: col(row, 3)?,
        state: state_of(i64::from(col::<i16>(row, 4)?))?,
        created_at: Timestamp::from_micros(col(row, 5)?),
        started_at: instant(6)?,
        finished_at: instant(7)?,
        due_at: instant(8)?,
        attempts: Attempt(small(row, 9)?),
        retries: small(row, 10)?,
        priority: tiny(row, 11)?,
        metadata: col::<Option<Vec<u8>>>(row, 12)?.map(Into::into),
    })
}
