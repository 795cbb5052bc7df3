//! Leases: the head of a model's queue.

use std::collections::HashMap;

use cresset_queue::kit::fleet::Tally;
use cresset_queue::kit::{PROMOTED_MAX, Stored, as_number, client_of, retry_of, trace_of};
use cresset_queue::{Lease, LeaseRequest, Turn, Unreadable};
use cresset_task::{Attempt, CacheUse, Event, Payload, State, TaskId, Timestamp};
use mysql_async::Row;

use super::purge::numbers;
use super::tell::{Callbacks, tell};
use crate::error::{StoreError, col, id, small};
use crate::payload::{Table, asked, parts};
use crate::sql::sql;
use crate::tx::Tx;

/// Delayed tasks that are due take their places in the queue. What somebody else has just in their hands is not waited for, here
/// and below.
const DUE: &str = "\
SELECT seq FROM tasks FORCE INDEX (tasks_delayed) WHERE model = ? AND due_at <= ? ORDER BY due_at LIMIT ?
FOR UPDATE SKIP LOCKED";
const PROMOTE: &str = "UPDATE tasks SET due_at = NULL WHERE seq IN (?)";

const HEAD: &str = "\
SELECT id, attempts, priority, created_at, turn, retries, client, weight, cache, retry, trace, seq
FROM tasks FORCE INDEX (tasks_queued)
WHERE model = ? AND place IS NOT NULL AND (expires_at IS NULL OR expires_at > ?)
ORDER BY place, seq LIMIT ? FOR UPDATE SKIP LOCKED";

const TAKE: &str = "\
UPDATE tasks SET state = 1, attempts = attempts + 1, started_at = ?, holder = ? WHERE seq IN (?)";

pub(super) async fn lease(
    tx: &mut Tx<'_>,
    request: &LeaseRequest,
    tally: &mut Tally,
) -> Result<Vec<Lease>, StoreError> {
    let doing = "cannot lease tasks";
    let (model, now) = (request.model.as_str(), request.now.as_micros());
    let head = sql!(HEAD, model, now, as_number(request.max_tasks));
    let mut looked = tx
        .all(doing, &[sql!(DUE, model, now, PROMOTED_MAX), head.clone()])
        .await?;
    let due = looked.first().map(|answer| &answer.rows[..]).unwrap_or_default();
    if !due.is_empty() {
        let due = numbers(due)?;
        looked = tx.all(doing, &[sql!(PROMOTE, &due[..]), head]).await?;
        tally.counts.delay(&request.model, -as_number(due.len()));
    }
    let rows = looked.pop().map(|answer| answer.rows).unwrap_or_default();
    let head = within(&rows, request.max_bytes)?;
    if head.is_empty() {
        return Ok(Vec::new());
    }
    let (mut inputs, callbacks) = take(tx, head, (now, tally.me)).await?;
    let (mut leases, mut told) = (Vec::with_capacity(head.len()), Vec::new());
    for row in head {
        let (mut lease, weight, client) = read(row)?;
        tally.counts.add_to_model(&request.model, -1, -weight);
        if let Some(client) = client_of(client.as_deref())? {
            tally.counts.add_to_client(&client, -1, -weight);
        }
        tally.note(lease.id, model, (State::Started, false))?;
        let what = (Event::Started, lease.attempt.0);
        told.extend(callbacks.news((lease.id, model), what, request.now)?);
        let input = inputs.remove(&lease.id);
        lease.payload = decode(row, input, &mut lease).map_err(|damage| Unreadable(damage.to_string()));
        leases.push(lease);
    }
    tell(tx, &told, tally).await?;
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

/// They are leased; their inputs, and whom to tell of them.
async fn take(
    tx: &mut Tx<'_>,
    head: &[Row],
    (now, me): (i64, i64),
) -> Result<(HashMap<TaskId, Stored>, Callbacks), StoreError> {
    let seqs: Vec<i64> = head.iter().map(|row| col(row, 11)).collect::<Result<_, _>>()?;
    let ids: Vec<TaskId> = head.iter().map(|row| id(row, 0)).collect::<Result<_, _>>()?;
    let statements = [
        sql!(TAKE, now, me, &seqs[..]),
        asked(Table::Inputs, &ids),
        Callbacks::asked(&ids),
    ];
    let mut answers = tx.all("cannot lease tasks", &statements).await?;
    let callbacks = Callbacks::read(answers.pop())?;
    Ok((parts(answers.pop().unwrap_or_default())?, callbacks))
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
