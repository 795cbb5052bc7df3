//! Leases: the head of a model's queue.

use std::collections::HashMap;

use cresset_queue::kit::{Change, PROMOTED_MAX, Stored, as_number, client_of, retry_of, trace_of};
use cresset_queue::{Lease, LeaseRequest, Turn, Unreadable};
use cresset_task::{Attempt, CacheUse, Event, Payload, TaskId, Timestamp};
use mysql_async::Row;

use super::tell::{news, tell};
use crate::connect::Conn;
use crate::error::{StoreError, col, id, small};
use crate::payload::{Table, asked, parts};
use crate::sql::sql;

/// Delayed tasks that are due take their places in the queue.
const PROMOTE: &str =
    "UPDATE tasks SET due_at = NULL WHERE model = ? AND due_at <= ? ORDER BY due_at LIMIT ?";

/// What somebody else has just in their hands is not waited for.
const HEAD: &str = "\
SELECT t.id, t.attempts, t.priority, t.created_at, t.turn, t.retries, t.client, t.weight, t.cache, t.retry, t.trace, t.seq,
       c.url, c.host, c.events
FROM tasks AS t FORCE INDEX (tasks_queued) LEFT JOIN callbacks AS c ON c.task = t.id
WHERE t.model = ? AND t.place IS NOT NULL AND (t.expires_at IS NULL OR t.expires_at > ?)
ORDER BY t.place, t.seq LIMIT ? FOR UPDATE SKIP LOCKED";

const TAKE: &str = "UPDATE tasks SET state = 1, attempts = attempts + 1, started_at = ? WHERE seq IN (?)";

pub(super) async fn lease(
    conn: &Conn,
    request: &LeaseRequest,
    change: &mut Change,
) -> Result<Vec<Lease>, StoreError> {
    let doing = "cannot lease tasks";
    let (model, now) = (request.model.as_str(), request.now.as_micros());
    let looked = [
        sql!(PROMOTE, model, now, PROMOTED_MAX),
        sql!(HEAD, model, now, as_number(request.max_tasks)),
    ];
    let mut looked = conn.all(doing, &looked).await?.into_iter();
    let promoted = looked.next().map_or(0, |answer| answer.found);
    if promoted > 0 {
        change.delay(&request.model, -promoted.cast_signed());
    }
    let rows = looked.next().map(|answer| answer.rows).unwrap_or_default();
    let head = within(&rows, request.max_bytes)?;
    if head.is_empty() {
        return Ok(Vec::new());
    }
    let mut inputs = take(conn, head, now).await?;
    let (mut leases, mut told) = (Vec::with_capacity(head.len()), Vec::new());
    for row in head {
        let (mut lease, weight, client) = read(row)?;
        change.add_to_model(&request.model, -1, -weight);
        if let Some(client) = client_of(client.as_deref())? {
            change.add_to_client(&client, -1, -weight);
        }
        let what = (Event::Started, lease.attempt.0);
        told.extend(news((lease.id, model), (row, 12), what, request.now)?);
        let input = inputs.remove(&lease.id);
        lease.payload = decode(row, input, &mut lease).map_err(|damage| Unreadable(damage.to_string()));
        leases.push(lease);
    }
    tell(conn, &told, change).await?;
    Ok(leases)
}

/// The first of them that together weigh no more than this; the first one whatever it weighs.
fn within(rows: &[Row], max_bytes: usize) -> Result<&[Row], StoreError> {
    let (mut upto, most) = (0_i64, as_number(max_bytes));
    for (at, row) in rows.iter().enumerate() {
        upto = upto.saturating_add(col(row, 7)?);
        if at > 0 && upto > most {
            return Ok(&rows[..at]);
        }
    }
    Ok(rows)
}

/// They are leased; their inputs.
async fn take(conn: &Conn, head: &[Row], now: i64) -> Result<HashMap<TaskId, Stored>, StoreError> {
    let seqs: Vec<i64> = head.iter().map(|row| col(row, 11)).collect::<Result<_, _>>()?;
    let ids: Vec<TaskId> = head.iter().map(|row| id(row, 0)).collect::<Result<_, _>>()?;
    let statements = [sql!(TAKE, now, &seqs[..]), asked(Table::Inputs, &ids)];
    let mut answers = conn.all("cannot lease tasks", &statements).await?;
    parts(answers.pop().unwrap_or_default())
}

/// All of a lease that cannot be damaged, and what its task counts for.
fn read(row: &Row) -> Result<(Lease, i64, Option<String>), StoreError> {
    let id = id(row, 0)?;
    let lease = Lease {
        id,
        attempt: Attempt(small::<u32>(row, 1)?.saturating_add(1)),
        payload: Err(Unreadable(String::new())),
        priority: small(row, 2)?,
        created_at: Timestamp::from_micros(col(row, 3)?),
        turn: Turn::from_micros(col(row, 4)?),
        retries: small(row, 5)?,
        cache: CacheUse::from_code(small(row, 8)?).unwrap_or(CacheUse::NoStore),
        retry: None,
        trace: trace_of(id, col::<Option<String>>(row, 10)?.as_deref()),
    };
    Ok((lease, col(row, 7)?, col(row, 6)?))
}

/// Its input, and in the lease how it is tried again; or why one of them cannot be read.
fn decode(row: &Row, input: Option<Stored>, lease: &mut Lease) -> Result<Payload, StoreError> {
    lease.retry = retry_of(col::<Option<String>>(row, 9)?.as_deref())?;
    let input = input.ok_or_else(|| StoreError::Damaged("it is missing".into()))?;
    Ok(input.as_payload()?)
}
