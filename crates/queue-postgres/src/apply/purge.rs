//! Forgetting what is old, a bounded chunk at a time: the writer does nothing else meanwhile.

use cresset_queue::kit::{PURGE_BYTES_MAX, PURGE_ROWS_MAX, Ttl, as_number, before};
use cresset_task::Timestamp;

use super::{bulk, letters, outbox};
use crate::connect::Conn;
use crate::error::{StoreError, col};

/// Finished tasks that ended before an instant, longest ago first.
const CANDIDATES: &str = "\
SELECT t.seq, t.weight + coalesce(length(o.bytes), 0) FROM tasks AS t LEFT JOIN outcomes AS o ON o.seq = t.seq
WHERE t.finished_at < $1 ORDER BY t.finished_at LIMIT $2 FOR UPDATE OF t SKIP LOCKED";

const TASKS: &str = "\
WITH outcome AS (DELETE FROM outcomes WHERE seq = ANY ($1)),
     input AS (DELETE FROM inputs WHERE seq = ANY ($1)),
     key AS (DELETE FROM idempotency WHERE seq = ANY ($1)),
     past AS (DELETE FROM history WHERE seq = ANY ($1)),
     callback AS (DELETE FROM callbacks WHERE seq = ANY ($1)),
     task AS (DELETE FROM tasks WHERE seq = ANY ($1) RETURNING id, tenant)
INSERT INTO tombstones (id, purged_at, tenant) SELECT id, $2, tenant FROM task
ON CONFLICT (id) DO UPDATE SET purged_at = excluded.purged_at, tenant = excluded.tenant";

const FORGET: &str = "\
DELETE FROM tombstones WHERE id IN (SELECT id FROM tombstones WHERE purged_at < $1 ORDER BY purged_at LIMIT $2 FOR UPDATE SKIP LOCKED)";

/// One chunk: finished tasks first, then, with what is left of the chunk, dead letters, settled deliveries, bulks and the
/// memory of purged ids; how many.
pub(super) async fn purge(conn: &Conn, now: Timestamp, ttl: Ttl) -> Result<usize, StoreError> {
    let mut removed = tasks(conn, now, before(now, ttl.results)).await?;
    let left = |removed: usize| PURGE_ROWS_MAX.saturating_sub(removed);
    if left(removed) > 0 {
        removed += letters::purge(conn, before(now, ttl.letters), left(removed)).await?;
    }
    if left(removed) > 0 {
        removed += outbox::purge(conn, before(now, ttl.deliveries), left(removed)).await?;
    }
    if left(removed) > 0 {
        removed += bulk::purge(conn, before(now, ttl.results), left(removed)).await?;
    }
    if left(removed) > 0 {
        let laid_before = before(now, ttl.tombstones);
        let most = as_number(left(removed));
        removed += count(
            conn.run("cannot forget ids", FORGET, &[&laid_before, &most])
                .await?,
        );
    }
    Ok(removed)
}

async fn tasks(conn: &Conn, now: Timestamp, ended_before: i64) -> Result<usize, StoreError> {
    let most = as_number(PURGE_ROWS_MAX);
    let rows = conn
        .rows("cannot look for old tasks", CANDIDATES, &[&ended_before, &most])
        .await?;
    let chunk = within_bytes(&rows)?;
    if !chunk.is_empty() {
        conn.run("cannot purge tasks", TASKS, &[&chunk, &now.as_micros()])
            .await?;
    }
    Ok(chunk.len())
}

/// Of rows of numbers and bytes, the first that together are few enough bytes, and one at least.
pub(super) fn within_bytes(rows: &[tokio_postgres::Row]) -> Result<Vec<i64>, StoreError> {
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

/// Rows that were changed, as a count.
pub(super) fn count(rows: u64) -> usize {
    usize::try_from(rows).unwrap_or(usize::MAX)
}
