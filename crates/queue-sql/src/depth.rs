//! What the counts in memory are looked up by.

use cresset_queue::kit::Change;
use cresset_task::Timestamp;
use rusqlite::Connection;

use crate::queries;

/// Looks up, once a group, what may have changed and is no sum of its operations: first due times.
pub(crate) fn look_up(conn: &Connection, change: &mut Change) -> rusqlite::Result<()> {
    for model in change.due_wanted() {
        let mut query = conn.prepare_cached(queries::NEXT_DUE)?;
        let next: Option<i64> = query.query_row([model.as_str()], |row| row.get(0))?;
        change.due(&model, next.map(Timestamp::from_micros));
    }
    if change.outbox.is_touched() {
        let (due, oldest) = conn
            .prepare_cached(queries::OUTBOX_NEXT)?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        change.outbox.next(due, oldest);
    }
    Ok(())
}

/// What is to be told in a store that has just been opened.
pub(crate) fn count_outbox(conn: &Connection, change: &mut Change) -> rusqlite::Result<()> {
    let mut query = conn.prepare(queries::COUNT_OUTBOX)?;
    let mut rows = query.query([])?;
    while let Some(row) = rows.next()? {
        change.outbox.add(row.get_ref(0)?.as_str()?, row.get(1)?);
    }
    change.outbox.touch();
    Ok(())
}
