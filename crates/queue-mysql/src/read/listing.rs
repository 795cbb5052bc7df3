//! The list of tasks, read along their order of acceptance.

use cresset_queue::kit::{LOOK_MAX, as_number, model_of, next_place, place_of, state_number, state_of};
use cresset_queue::{TASKS_MAX, TaskCursor, TaskPage, TaskQuery};
use cresset_task::{Attempt, TaskSummary, Tenant, Timestamp};
use mysql_async::Row;

use super::instant;
use crate::connect::Conn;
use crate::error::{StoreError, col, id, small};
use crate::sql::sql;

/// The newest task that stands behind a place, and the oldest of all: what a list has to look at.
const ENDS: &str = "SELECT (SELECT MAX(seq) FROM tasks WHERE seq < ?), (SELECT MIN(seq) FROM tasks)";

const PAGE: &str = "\
SELECT seq, id, model, version, state, created_at, started_at, finished_at, due_at, attempts, retries, priority, metadata
FROM tasks FORCE INDEX (PRIMARY)
WHERE seq < ? AND seq >= ? AND (? IS NULL OR model = ?) AND (? IS NULL OR state = ?) AND (? IS NULL OR tenant = ?)
ORDER BY seq DESC LIMIT ?";

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
    let state = query.state.map(state_number);
    let tenant = query.tenant.as_ref().map(Tenant::as_str);
    // One more than asked for tells whether there is another page.
    let most = as_number(limit + 1);
    let asked = sql!(
        PAGE, before, floor, model, model, state, state, tenant, tenant, most
    );
    let rows = conn.rows(doing, asked).await?;
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
    text: &'static str,
    before: i64,
) -> Result<Option<(i64, i64)>, StoreError> {
    let Some(row) = conn.row(doing, sql!(text, before)).await? else {
        return Ok(None);
    };
    let (newest, oldest): (Option<i64>, Option<i64>) = (col(&row, 0)?, col(&row, 1)?);
    Ok(newest.zip(oldest))
}

fn summary(row: &Row) -> Result<TaskSummary, StoreError> {
    Ok(TaskSummary {
        id: id(row, 1)?,
        model: model_of(&col::<String>(row, 2)?)?,
        version: col(row, 3)?,
        state: state_of(col(row, 4)?)?,
        created_at: Timestamp::from_micros(col(row, 5)?),
        started_at: instant(row, 6)?,
        finished_at: instant(row, 7)?,
        due_at: instant(row, 8)?,
        attempts: Attempt(small(row, 9)?),
        retries: small(row, 10)?,
        priority: small(row, 11)?,
        metadata: col::<Option<Vec<u8>>>(row, 12)?.map(Into::into),
    })
}
