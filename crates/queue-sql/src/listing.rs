//! The list of tasks, read along their order of acceptance.

use async_trait::async_trait;
use cresset_queue::kit::{LOOK_MAX, model_of, next_place, place_of, state_number, state_of};
use cresset_queue::{Neighbours, QueueError, TASKS_MAX, TaskCursor, TaskList, TaskPage, TaskQuery};
use cresset_task::{Attempt, TaskId, TaskSummary, Tenant, Timestamp};
use rusqlite::{Connection, Row, params};

use crate::error::StoreError;
use crate::queries;
use crate::reader::Read;
use crate::store::SqliteStore;

#[async_trait]
impl TaskList for SqliteStore {
    async fn tasks(&self, query: TaskQuery) -> Result<TaskPage, QueueError> {
        self.read("tasks", |reply| Read::Tasks { query, reply }).await
    }
}

/// The store belongs to one server.
impl Neighbours for SqliteStore {}

/// One page.
pub(crate) fn page(conn: &Connection, query: &TaskQuery) -> Result<TaskPage, StoreError> {
    let limit = query.limit.clamp(1, TASKS_MAX);
    let before = place_of(query.after.map(|TaskCursor(place)| place));
    let mut page = TaskPage::default();
    let ends = ends(conn, before).map_err(StoreError::sqlite("cannot list tasks"))?;
    let Some((newest, oldest)) = ends else {
        return Ok(page);
    };
    let floor = newest.saturating_sub(LOOK_MAX - 1);
    // One more than asked for tells whether there is another page.
    let rows =
        rows(conn, query, before, floor, limit + 1).map_err(StoreError::sqlite("cannot list tasks"))?;
    let more = rows.len() > limit;
    let mut last = None;
    for row in rows.into_iter().take(limit) {
        last = more.then_some(row.seq);
        page.tasks.push(row.into_summary()?);
    }
    page.next = next_place(last, floor, oldest).map(TaskCursor);
    Ok(page)
}

/// The newest task before this place, and the oldest of all.
fn ends(conn: &Connection, before: i64) -> rusqlite::Result<Option<(i64, i64)>> {
    conn.prepare_cached(queries::LIST_ENDS)?
        .query_row([before], |row| {
            let (newest, oldest): (Option<i64>, Option<i64>) = (row.get(0)?, row.get(1)?);
            Ok(newest.zip(oldest))
        })
}

fn rows(
    conn: &Connection,
    query: &TaskQuery,
    before: i64,
    floor: i64,
    limit: usize,
) -> rusqlite::Result<Vec<SummaryRow>> {
    let model = query.model.as_ref().map(|model| model.as_str());
    let state = query.state.map(state_number);
    let tenant = query.tenant.as_ref().map(Tenant::as_str);
    conn.prepare_cached(queries::LIST_TASKS)?
        .query_map(
            params![before, floor, model, state, limit as i64, tenant],
            SummaryRow::read,
        )?
        .collect()
}

/// A row as SQLite gives it.
struct SummaryRow {
    seq: i64,
    id: [u8; 16],
    model: String,
    version: Option<String>,
    state: i64,
    created_at: i64,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    due_at: Option<i64>,
    attempts: u32,
    retries: u32,
    priority: i8,
    metadata: Option<Vec<u8>>,
}

impl SummaryRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: row.get(0)?,
            id: row.get(1)?,
            model: row.get(2)?,
            version: row.get(3)?,
            state: row.get(4)?,
            created_at: row.get(5)?,
            started_at: row.get(6)?,
            finished_at: row.get(7)?,
            due_at: row.get(8)?,
            attempts: row.get(9)?,
            retries: row.get(10)?,
            priority: row.get(11)?,
            metadata: row.get(12)?,
        })
    }

    fn into_summary(self) -> Result<TaskSummary, StoreError> {
        Ok(TaskSummary {
            id: TaskId::from_bytes(self.id),
            model: model_of(&self.model)?,
            version: self.version,
            state: state_of(self.state)?,
            created_at: Timestamp::from_micros(self.created_at),
            started_at: self.started_at.map(Timestamp::from_micros),
            finished_at: self.finished_at.map(Timestamp::from_micros),
            due_at: self.due_at.map(Timestamp::from_micros),
            attempts: Attempt(self.attempts),
            retries: self.retries,
            priority: self.priority,
            metadata: self.metadata.map(Into::into),
        })
    }
}

#[cfg(test)]
mod tests {
    use cresset_task::State;

    use super::*;

    /// A few that match, far apart among very many: each page looks at so much, and the walk finds them all.
    #[test]
    fn few_that_match_among_many_are_found_over_pages_that_may_be_empty() {
        let dir = tempfile::tempdir().unwrap();
        let conn = crate::open::open(&dir.path().join("tasks.db")).unwrap().conn;
        let count = 3 * LOOK_MAX + 17;
        conn.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1) \
             INSERT INTO tasks (id, model, state, priority, weight, attempts, created_at) \
             SELECT randomblob(16), 'digits', CASE WHEN i % ?2 = 5 THEN 0 ELSE 4 END, 0, 1, 0, 1 FROM n",
            [count, LOOK_MAX],
        )
        .unwrap();
        conn.execute("DELETE FROM tasks WHERE seq < 3", []).unwrap();
        let mut query = TaskQuery {
            state: Some(State::Pending),
            limit: 10,
            ..TaskQuery::default()
        };
        let (mut found, mut pages) = (0, 0);
        loop {
            let page = page(&conn, &query).unwrap();
            (found, pages) = (found + page.tasks.len(), pages + 1);
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
        assert_eq!((found, pages), (4, 4));
    }
}
