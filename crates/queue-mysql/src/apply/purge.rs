//! Forgetting what is old, a bounded chunk at a time: the writer does nothing else meanwhile.

use cresset_queue::kit::{PURGE_BYTES_MAX, PURGE_ROWS_MAX, Ttl, as_number, before};
use cresset_task::{TaskId, Timestamp};
use mysql_async::Row;

use super::{bulk, letters, outbox};
use crate::error::{StoreError, col, id};
use crate::sql::sql;
use crate::tx::Tx;

/// Finished tasks that ended before an instant, longest ago first.
const CANDIDATES: &str = "\
SELECT t.seq, t.weight + CAST((SELECT COALESCE(SUM(o.size), 0) FROM outcomes AS o WHERE o.id = t.id) AS SIGNED), t.id
FROM tasks AS t FORCE INDEX (tasks_finished) WHERE t.finished_at < ? ORDER BY t.finished_at LIMIT ? FOR UPDATE SKIP LOCKED";

const LAY: &str = "\
INSERT INTO tombstones (id, purged_at, tenant) SELECT t.id, ?, t.tenant FROM tasks AS t WHERE t.seq IN (?)
ON DUPLICATE KEY UPDATE purged_at = VALUES(purged_at), tenant = VALUES(tenant)";

/// What belongs to tasks with these ids; the input of a dead letter stays. Without a word about the index a small table is read
/// from end to end, and what others are just writing is waited for.
const BELONGINGS: [&str; 5] = [
    "DELETE o FROM outcomes AS o FORCE INDEX (PRIMARY) WHERE o.id IN (?)",
    "DELETE i FROM inputs AS i FORCE INDEX (PRIMARY) WHERE i.id IN (?) AND NOT EXISTS (SELECT 1 FROM letters AS l WHERE l.id = i.id)",
    "DELETE k FROM idempotency AS k FORCE INDEX (idempotency_by_task) WHERE k.task IN (?)",
    "DELETE h FROM history AS h FORCE INDEX (PRIMARY) WHERE h.task IN (?)",
    "DELETE c FROM callbacks AS c FORCE INDEX (PRIMARY) WHERE c.task IN (?)",
];

const TASKS: &str = "DELETE t FROM tasks AS t FORCE INDEX (PRIMARY) WHERE t.seq IN (?)";

const OLD: &str = "\
SELECT id FROM tombstones FORCE INDEX (tombstones_by_time) WHERE purged_at < ? ORDER BY purged_at LIMIT ? FOR UPDATE SKIP LOCKED";
const FORGET: &str = "DELETE b FROM tombstones AS b FORCE INDEX (PRIMARY) WHERE b.id IN (?)";

/// One chunk: finished tasks first, then, with what is left of the chunk, dead letters, settled deliveries, bulks and the
/// memory of purged ids; how many.
pub(super) async fn purge(tx: &mut Tx<'_>, now: Timestamp, ttl: Ttl) -> Result<usize, StoreError> {
    let mut removed = tasks(tx, now, before(now, ttl.results)).await?;
    let left = |removed: usize| PURGE_ROWS_MAX.saturating_sub(removed);
    if left(removed) > 0 {
        removed += letters::purge(tx, before(now, ttl.letters), left(removed)).await?;
    }
    if left(removed) > 0 {
        removed += outbox::purge(tx, before(now, ttl.deliveries), left(removed)).await?;
    }
    if left(removed) > 0 {
        removed += bulk::purge(tx, before(now, ttl.results), left(removed)).await?;
    }
    if left(removed) > 0 {
        let doing = "cannot forget ids";
        let old = sql!(OLD, before(now, ttl.tombstones), as_number(left(removed)));
        let old = ids(&tx.rows(doing, old).await?, 0)?;
        tx.later(doing, [sql!(FORGET, &old[..])]);
        removed += old.len();
    }
    Ok(removed)
}

async fn tasks(tx: &mut Tx<'_>, now: Timestamp, ended_before: i64) -> Result<usize, StoreError> {
    let asked = sql!(CANDIDATES, ended_before, as_number(PURGE_ROWS_MAX));
    let mut rows = tx.rows("cannot look for old tasks", asked).await?;
    let chunk = within_bytes(&rows)?;
    if chunk.is_empty() {
        return Ok(0);
    }
    rows.truncate(chunk.len());
    let gone = ids(&rows, 2)?;
    let mut statements = vec![sql!(LAY, now.as_micros(), &chunk[..])];
    statements.extend(BELONGINGS.iter().map(|text| sql!(text, &gone[..])));
    statements.push(sql!(TASKS, &chunk[..]));
    tx.later("cannot purge tasks", statements);
    Ok(chunk.len())
}

/// Of rows of numbers and bytes, the first that together are few enough bytes, and one at least.
pub(super) fn within_bytes(rows: &[Row]) -> Result<Vec<i64>, StoreError> {
    let (mut chunk, mut bytes) = (Vec::new(), 0_i64);
    for row in rows {
        if bytes >= PURGE_BYTES_MAX {
            break;
        }
        chunk.push(col(row, 0)?);
        bytes = bytes.saturating_add(col(row, 1)?);
    }
    Ok(chunk)
}

/// The numbers that rows begin with.
pub(super) fn numbers(rows: &[Row]) -> Result<Vec<i64>, StoreError> {
    rows.iter().map(|row| col(row, 0)).collect()
}

/// The ids in a column of rows.
pub(super) fn ids(rows: &[Row], at: usize) -> Result<Vec<TaskId>, StoreError> {
    rows.iter().map(|row| id(row, at)).collect()
}

/// Rows that were changed, as a count.
pub(super) fn count(rows: u64) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX)
}
