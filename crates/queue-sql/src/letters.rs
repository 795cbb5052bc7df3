//! Dead letters: what the writer does with them, within the transaction of its group.
//!
//! The input moves from its task to the letter in the step that ends the task, so that a purge of the task, and the number
//! of its row being used again, have nothing to do with it.

mod port;
mod read;

use cresset_queue::kit::{Change, Doom, PURGE_BYTES_MAX, PURGE_ROWS_MAX};
use cresset_queue::{LetterFilter, Replayed};
use cresset_task::{TaskId, Tenant};
use rusqlite::{Connection, OptionalExtension, params};

pub(crate) use self::read::{LetterRead, answer};
use crate::apply;
use crate::error::StoreError;
use crate::files::FileName;
use crate::op::Submission;
use crate::purge::Purged;
use crate::queries;

/// Leaves a letter for the task in this row, which has ended, and takes its input there.
pub(crate) fn add(conn: &Connection, seq: i64, evidence: &str) -> rusqlite::Result<()> {
    conn.prepare_cached(queries::LETTER_ADD)?
        .execute(params![seq, evidence])?;
    conn.prepare_cached(queries::PURGE_INPUT)?
        .execute([seq])
        .map(drop)
}

/// Queues the task that a letter is replayed as, unless there is one; an error when its id is taken.
pub(crate) fn replay(
    conn: &Connection,
    letter: TaskId,
    task: &Submission,
    change: &mut Change,
) -> Result<Result<Replayed, StoreError>, StoreError> {
    let found = conn
        .prepare_cached(queries::LETTER_REPLAYED)
        .and_then(|mut query| {
            query
                .query_row([letter.as_bytes()], |row| {
                    Ok((row.get::<_, i64>(0)?, row.get::<_, Option<[u8; 16]>>(1)?))
                })
                .optional()
        })
        .map_err(StoreError::sqlite("cannot look up a dead letter"))?;
    let seq = match found {
        None => return Ok(Ok(Replayed::Unknown)),
        Some((_, Some(before))) => return Ok(Ok(Replayed::Before(TaskId::from_bytes(before)))),
        Some((seq, None)) => seq,
    };
    if apply::submit(conn, task, change)?.is_none() {
        return Ok(Err(apply::taken(task.id)));
    }
    let link = || {
        conn.prepare_cached(queries::REPLAY_MARK)?
            .execute(params![task.id.as_bytes(), letter.as_bytes()])?;
        conn.prepare_cached(queries::LETTER_REPLAY)?
            .execute(params![seq, task.id.as_bytes()])
    };
    link().map_err(StoreError::sqlite("cannot link a replay to its letter"))?;
    Ok(Ok(Replayed::New))
}

/// Throws away one chunk of letters.
pub(crate) fn discard(conn: &Connection, doom: &Doom) -> rusqlite::Result<Purged> {
    match doom {
        Doom::One(id) => remove(conn, queries::LETTER_DOOMED_ONE, params![id.as_bytes()]),
        Doom::Matching(LetterFilter {
            model,
            before,
            tenant,
        }) => {
            let before = before.map_or(i64::MAX, |at| at.as_micros());
            let model = model.as_ref().map(|model| model.as_str());
            let limit = PURGE_ROWS_MAX as i64;
            remove(
                conn,
                queries::LETTER_DOOMED,
                params![before, model, limit, tenant.as_ref().map(Tenant::as_str)],
            )
        }
    }
}

/// Forgets one chunk of letters that died before this instant.
pub(crate) fn purge(conn: &Connection, died_before: i64, limit: usize) -> rusqlite::Result<Purged> {
    let none: Option<&str> = None;
    let of_any = params![died_before, none, limit as i64, none];
    remove(conn, queries::LETTER_DOOMED, of_any)
}

fn remove(conn: &Connection, which: &str, of: &[&dyn rusqlite::ToSql]) -> rusqlite::Result<Purged> {
    let mut chunk: Vec<i64> = Vec::new();
    let mut files = Vec::new();
    let mut bytes = 0_i64;
    let mut query = conn.prepare_cached(which)?;
    let mut rows = query.query(of)?;
    while bytes < PURGE_BYTES_MAX
        && let Some(row) = rows.next()?
    {
        chunk.push(row.get(0)?);
        bytes = bytes.saturating_add(row.get(1)?);
        // What is not named as ours are is not ours to remove.
        let name = row.get_ref(2)?.as_str_or_null()?;
        files.extend(name.and_then(|name| name.parse::<FileName>().ok()));
    }
    drop(rows);
    let mut gone = conn.prepare_cached(queries::LETTER_REMOVE)?;
    for seq in &chunk {
        gone.execute([seq])?;
    }
    Ok(Purged {
        count: chunk.len(),
        files,
    })
}
