//! Bulks: many tasks that came in one request, each with the number of its line.
//!
//! `op` is what the writer does, `read` what readers look up, `port` what callers hold. A bulk's lines are accepted in order
//! and without a gap, so one number says which are there; its counts are those of an index, kept by whatever moves its tasks.

mod op;
mod port;
mod read;

use rusqlite::{Connection, params};

use crate::queries;

pub(crate) use self::op::BulkOp;
pub(crate) use self::read::{BulkRead, answer};

/// Removes what nothing is left of, in a chunk: lines that were wrong, then bulks.
pub(crate) fn purge(conn: &Connection, before: i64, max: usize) -> rusqlite::Result<usize> {
    let lines = conn
        .prepare_cached(queries::BULK_PURGE_WRONG)?
        .execute(params![before, max as i64])?;
    let left = max.saturating_sub(lines);
    let bulks = conn
        .prepare_cached(queries::BULK_PURGE)?
        .execute(params![before, left as i64])?;
    Ok(lines + bulks)
}
