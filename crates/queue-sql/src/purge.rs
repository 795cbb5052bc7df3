//! Forgetting what is old, a bounded chunk at a time: the writer does nothing else meanwhile.

use cresset_queue::kit::{PURGE_BYTES_MAX, PURGE_ROWS_MAX, Ttl, before};
use cresset_task::Timestamp;
use rusqlite::{Connection, params};

use crate::bulk;
use crate::files::FileName;
use crate::letters;
use crate::outbox;
use crate::queries;

/// What one purge removed.
#[derive(Debug)]
pub(crate) struct Purged {
    pub(crate) count: usize,
    /// The files of the purged rows, to be removed once the purge is committed.
    pub(crate) files: Vec<FileName>,
}

/// One chunk: finished tasks first, then, with what is left of the chunk, dead letters, settled deliveries, bulks and the memory of purged ids.
pub(crate) fn purge(conn: &Connection, now: Timestamp, ttl: Ttl) -> rusqlite::Result<Purged> {
    let mut files = Vec::new();
    let mut removed = purge_tasks(conn, now, before(now, ttl.results), &mut files)?;
    if removed < PURGE_ROWS_MAX {
        let letters = letters::purge(conn, before(now, ttl.letters), PURGE_ROWS_MAX - removed)?;
        removed += letters.count;
        files.extend(letters.files);
    }
    if removed < PURGE_ROWS_MAX {
        removed += outbox::purge(conn, before(now, ttl.deliveries), PURGE_ROWS_MAX - removed)?;
    }
    if removed < PURGE_ROWS_MAX {
        removed += bulk::purge(conn, before(now, ttl.results), PURGE_ROWS_MAX - removed)?;
    }
    let forgotten = conn.prepare_cached(queries::FORGET)?.execute(params![
        before(now, ttl.tombstones),
        (PURGE_ROWS_MAX.saturating_sub(removed)) as i64
    ])?;
    Ok(Purged {
        count: removed + forgotten,
        files,
    })
}

fn purge_tasks(
    conn: &Connection,
    now: Timestamp,
    ended_before: i64,
    files: &mut Vec<FileName>,
) -> rusqlite::Result<usize> {
    let mut chunk: Vec<i64> = Vec::new();
    let mut bytes = 0_i64;
    let mut query = conn.prepare_cached(queries::PURGE_CANDIDATES)?;
    let mut rows = query.query(params![ended_before, PURGE_ROWS_MAX as i64])?;
    while bytes < PURGE_BYTES_MAX
        && let Some(row) = rows.next()?
    {
        chunk.push(row.get(0)?);
        bytes = bytes.saturating_add(row.get(1)?);
        for column in [2, 3] {
            // What is not named as ours are is not ours to remove.
            let name = row.get_ref(column)?.as_str_or_null()?;
            files.extend(name.and_then(|name| name.parse::<FileName>().ok()));
        }
    }
    drop(rows);
    let mut bury = conn.prepare_cached(queries::BURY)?;
    let mut task = conn.prepare_cached(queries::PURGE_TASK)?;
    let mut input = conn.prepare_cached(queries::PURGE_INPUT)?;
    let mut outcome = conn.prepare_cached(queries::PURGE_OUTCOME)?;
    let mut key = conn.prepare_cached(queries::PURGE_KEY)?;
    let mut history = conn.prepare_cached(queries::PURGE_HISTORY)?;
    let mut callback = conn.prepare_cached(queries::PURGE_CALLBACK)?;
    for seq in &chunk {
        bury.execute(params![seq, now.as_micros()])?;
        outcome.execute([seq])?;
        input.execute([seq])?;
        key.execute([seq])?;
        history.execute([seq])?;
        callback.execute([seq])?;
        task.execute([seq])?;
    }
    Ok(chunk.len())
}
