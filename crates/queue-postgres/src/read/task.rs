//! One task.

use bytes::Bytes;
use cresset_queue::kit::{Stored, model_of, retry_of, state_of, tenant_of, trace_of};
use cresset_queue::{Lookup, POSITION_MAX};
use cresset_task::{Attempt, Ownership, Redelivery, TaskId, TaskRecord, Timestamp};
use tokio_postgres::Row;
use uuid::Uuid;

use super::uuid;
use crate::connect::Conn;
use crate::error::{StoreError, col, small, tiny};

const FETCH: &str = "\
SELECT t.model, t.state, t.priority, t.attempts, t.created_at, t.started_at, t.finished_at, t.version, t.metadata,
       o.kind, o.bytes, t.due_at, t.expires_at, t.retries, t.replay_of, t.deadline_at, t.cached, t.retry,
       ARRAY(SELECT h.attempt FROM history AS h WHERE h.seq = t.seq ORDER BY h.attempt),
       ARRAY(SELECT h.at FROM history AS h WHERE h.seq = t.seq ORDER BY h.attempt),
       ARRAY(SELECT h.reason FROM history AS h WHERE h.seq = t.seq ORDER BY h.attempt),
       t.trace
FROM tasks AS t LEFT JOIN outcomes AS o ON o.seq = t.seq
WHERE t.id = $1";

const TOMBSTONE: &str = "SELECT 1 FROM tombstones WHERE id = $1";

/// Whose the task is, or was before it was purged.
const OWNER: &str = "\
SELECT tenant FROM tasks WHERE id = $1 UNION ALL SELECT tenant FROM tombstones WHERE id = $1 LIMIT 1";

/// How many go before a queued task, counted no further than is asked.
const POSITION: &str = "\
WITH me AS (SELECT model, turn, seq FROM tasks WHERE id = $1 AND state IN (0, 2) AND due_at IS NULL)
SELECT (SELECT count(*) FROM (
    SELECT 1 FROM tasks AS t
    WHERE t.state IN (0, 2) AND t.due_at IS NULL AND t.model = me.model AND (t.turn, t.seq) < (me.turn, me.seq)
    LIMIT $2) AS ahead)
FROM me";

pub(crate) async fn fetch(conn: &Conn, id: TaskId) -> Result<Lookup, StoreError> {
    if let Some(row) = conn.row("cannot read a task", FETCH, &[&uuid(id)]).await? {
        return Ok(Lookup::Found(Box::new(record(&row, id)?)));
    }
    // The task first, its tombstone second: a purge in between is seen as the purge it is.
    let purged = conn
        .row("cannot read a purged id", TOMBSTONE, &[&uuid(id)])
        .await?;
    Ok(match purged {
        Some(_) => Lookup::Expired,
        None => Lookup::Unknown,
    })
}

fn record(row: &Row, id: TaskId) -> Result<TaskRecord, StoreError> {
    let state = state_of(i64::from(col::<i16>(row, 1)?))?;
    let outcome = match col::<Option<&[u8]>>(row, 10)? {
        Some(bytes) => {
            let stored = Stored {
                kind: tiny(row, 9)?,
                bytes: Bytes::copy_from_slice(bytes),
            };
            stored.as_outcome(state)?
        }
        None => None,
    };
    if state.is_terminal() != outcome.is_some() {
        return Err(StoreError::Damaged(format!(
            "task {id} is {state}, which does not go with its outcome"
        )));
    }
    let instant = |at: usize| Ok::<_, StoreError>(col::<Option<i64>>(row, at)?.map(Timestamp::from_micros));
    Ok(TaskRecord {
        id,
        model: model_of(col(row, 0)?)?,
        state,
        created_at: Timestamp::from_micros(col(row, 4)?),
        started_at: instant(5)?,
        finished_at: instant(6)?,
        due_at: instant(11)?,
        expires_at: instant(12)?,
        deadline_at: instant(15)?,
        attempts: Attempt(small(row, 3)?),
        retries: small(row, 13)?,
        history: history(row)?,
        priority: tiny(row, 2)?,
        metadata: col::<Option<Vec<u8>>>(row, 8)?.map(Into::into),
        version: col(row, 7)?,
        replay_of: col::<Option<Uuid>>(row, 14)?.map(|id| TaskId::from_bytes(*id.as_bytes())),
        outcome,
        cached: col(row, 16)?,
        retry: retry_of(col(row, 17)?)?,
        trace: trace_of(id, col(row, 21)?),
    })
}

fn history(row: &Row) -> Result<Vec<Redelivery>, StoreError> {
    let attempts: Vec<i64> = col(row, 18)?;
    let ats: Vec<i64> = col(row, 19)?;
    let reasons: Vec<String> = col(row, 20)?;
    let entry = |((attempt, at), reason): ((i64, i64), String)| {
        let attempt = u32::try_from(attempt)
            .map_err(|_| StoreError::Damaged(format!("a history has the attempt {attempt}")))?;
        Ok(Redelivery {
            attempt: Attempt(attempt),
            at: Timestamp::from_micros(at),
            reason,
        })
    };
    attempts.into_iter().zip(ats).zip(reasons).map(entry).collect()
}

pub(crate) async fn position(conn: &Conn, id: TaskId) -> Result<Option<u64>, StoreError> {
    let most = i64::try_from(POSITION_MAX).unwrap_or(i64::MAX);
    let row = conn
        .row("cannot count the tasks ahead", POSITION, &[&uuid(id), &most])
        .await?;
    row.map(|row| small(&row, 0)).transpose()
}

pub(crate) async fn owner(conn: &Conn, id: TaskId) -> Result<Ownership, StoreError> {
    let row = conn
        .row("cannot look up whose a task is", OWNER, &[&uuid(id)])
        .await?;
    Ok(match row {
        None => Ownership::Unknown,
        Some(row) => Ownership::Of(tenant_of(col(&row, 0)?)?),
    })
}
