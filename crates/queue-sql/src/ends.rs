//! How a task ends, or is put off: outcomes, retries, cancellations, expiries. Each within the transaction of its group.

use cresset_queue::kit::{
    Change, Content, EXPIRED, EXPIRED_MAX, OVERDUE, Owner, STARTED, owner_of, state_of,
};
use cresset_queue::{Cancelled, Expiries, Finished, Retry};
use cresset_task::{Event, HISTORY_MAX, Move, Outcome, Redelivery, TaskId, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use crate::apply::{Weighed, leased};
use crate::error::StoreError;
use crate::letters;
use crate::op::Ending;
use crate::outbox;
use crate::place::Kept;
use crate::queries;

pub(crate) fn finish(conn: &Connection, ending: &Ending, change: &mut Change) -> rusqlite::Result<Finished> {
    let held: Option<i64> = conn
        .prepare_cached(queries::LEASED_TASK)?
        .query_row(params![ending.id.as_bytes(), ending.attempt.0], |row| row.get(0))
        .optional()?;
    let Some(seq) = held else {
        return Ok(Finished::Stale);
    };
    conn.prepare_cached(queries::FINISH_TASK)?.execute(params![
        seq,
        ending.state,
        ending.finished_at.as_micros(),
        ending.version.as_deref(),
        ending.redeliveries,
        ending.cached,
    ])?;
    keep_outcome(conn, seq, &ending.outcome)?;
    add_history(conn, seq, &ending.history)?;
    if let Some(evidence) = &ending.evidence {
        letters::add(conn, seq, evidence)?;
    }
    // The state comes of an outcome, so there is an event of it.
    if let Some(event) = state_of(ending.state).ok().and_then(Event::of) {
        outbox::tell(conn, seq, (event, 0), ending.finished_at, change)?;
    }
    Ok(Finished::Recorded)
}

fn keep_outcome(conn: &Connection, seq: i64, outcome: &Kept) -> rusqlite::Result<()> {
    let mut insert = conn.prepare_cached(queries::FINISH_OUTCOME)?;
    outcome
        .with_columns(|[kind, bytes, file, length, checksum]| {
            insert.execute(params![seq, kind, bytes, file, length, checksum])
        })
        .map(drop)
}

pub(crate) fn retry(conn: &Connection, retry: &Retry, change: &mut Change) -> Result<Finished, StoreError> {
    let queued = retry_row(conn, retry, change).map_err(StoreError::sqlite("cannot queue a task again"))?;
    let Some((owner, weight)) = queued else {
        return Ok(Finished::Stale);
    };
    let owner = owner?;
    change.add(&owner, 1, weight);
    change.delay(&owner.model, 1);
    Ok(Finished::Recorded)
}

/// What the task counts for; `None` when the attempt does not hold it.
fn retry_row(conn: &Connection, retry: &Retry, change: &mut Change) -> rusqlite::Result<Option<Weighed>> {
    let Some((seq, task)) = leased(conn, retry.id, retry.attempt)? else {
        return Ok(None);
    };
    conn.prepare_cached(queries::RETRY_TASK)?.execute(params![
        seq,
        retry.due_at.as_micros(),
        retry.redeliveries
    ])?;
    add_history(conn, seq, &retry.history)?;
    let at = retry.history.last().map_or(retry.due_at, |failure| failure.at);
    outbox::tell(conn, seq, (Event::Retried, retry.attempt.0), at, change)?;
    Ok(Some(task))
}

fn add_history(conn: &Connection, seq: i64, history: &[Redelivery]) -> rusqlite::Result<()> {
    if history.is_empty() {
        return Ok(());
    }
    let mut add = conn.prepare_cached(queries::HISTORY_ADD)?;
    let newest = history.len().saturating_sub(HISTORY_MAX);
    for entry in &history[newest..] {
        add.execute(params![seq, entry.attempt.0, entry.at.as_micros(), entry.reason])?;
    }
    conn.prepare_cached(queries::HISTORY_TRIM)?
        .execute(params![seq, HISTORY_MAX as i64])
        .map(drop)
}

/// A queued or leased task, on its way to REVOKED.
struct Open {
    seq: i64,
    owner: Owner,
    weight: i64,
    is_delayed: bool,
}

pub(crate) fn cancel(
    conn: &Connection,
    id: TaskId,
    reason: &str,
    now: Timestamp,
    change: &mut Change,
) -> Result<Cancelled, StoreError> {
    let found = conn
        .prepare_cached(queries::OPEN_TASK)
        .and_then(|mut query| {
            query
                .query_row([id.as_bytes()], |row| {
                    let owner = owner_of(row.get_ref(1)?.as_str()?, row.get_ref(5)?.as_str_or_null()?);
                    Ok((
                        row.get(0)?,
                        owner,
                        row.get(2)?,
                        row.get::<_, i64>(3)?,
                        row.get(4)?,
                    ))
                })
                .optional()
        })
        .map_err(StoreError::sqlite("cannot look for a task to cancel"))?;
    let Some((seq, owner, weight, number, is_delayed)) = found else {
        let purged = conn
            .prepare_cached(queries::FETCH_TOMBSTONE)
            .and_then(|mut query| query.exists([id.as_bytes()]))
            .map_err(StoreError::sqlite("cannot read a purged id"))?;
        return Ok(if purged {
            Cancelled::Expired
        } else {
            Cancelled::Unknown
        });
    };
    let state = state_of(number)?;
    if state.after(Move::Revoke).is_err() {
        return Ok(Cancelled::Ended(state));
    }
    let owner = owner?;
    let model = owner.model.clone();
    let open = Open {
        seq,
        owner,
        weight,
        is_delayed,
    };
    if number == STARTED {
        revoke(conn, &open, reason, now, change)?;
        return Ok(Cancelled::Leased(model));
    }
    revoke_queued(conn, &open, reason, now, change)?;
    Ok(Cancelled::Queued(model))
}

/// Revokes one chunk of what has expired.
pub(crate) fn expire(conn: &Connection, now: Timestamp, change: &mut Change) -> Result<Expiries, StoreError> {
    let mut expiries = Expiries::default();
    let cannot = StoreError::sqlite("cannot look for expired tasks");
    for due in candidates(conn, queries::EXPIRE_CANDIDATES, now).map_err(cannot)? {
        let (id, open) = due.open()?;
        revoke_queued(conn, &open, EXPIRED, now, change)?;
        expiries.revoked.push((id, open.owner.model));
    }
    let cannot = StoreError::sqlite("cannot look for tasks past their deadline");
    for due in candidates(conn, queries::OVERDUE_CANDIDATES, now).map_err(cannot)? {
        let (id, open) = due.open()?;
        revoke(conn, &open, OVERDUE, now, change)?;
        expiries.stopped.push((id, open.owner.model));
    }
    let next: Option<i64> = conn
        .prepare_cached(queries::NEXT_EXPIRY)
        .and_then(|mut query| query.query_row([], |row| row.get(0)))
        .map_err(StoreError::sqlite("cannot look up the next expiry"))?;
    expiries.next = next.map(Timestamp::from_micros);
    Ok(expiries)
}

/// An expired task's row as SQLite gives it.
struct Due {
    seq: i64,
    id: [u8; 16],
    model: String,
    weight: i64,
    is_delayed: bool,
    client: Option<String>,
}

impl Due {
    fn open(self) -> Result<(TaskId, Open), StoreError> {
        let open = Open {
            seq: self.seq,
            owner: owner_of(&self.model, self.client.as_deref())?,
            weight: self.weight,
            is_delayed: self.is_delayed,
        };
        Ok((TaskId::from_bytes(self.id), open))
    }
}

fn candidates(conn: &Connection, query: &str, now: Timestamp) -> rusqlite::Result<Vec<Due>> {
    let mut query = conn.prepare_cached(query)?;
    let rows = query.query_map(params![now.as_micros(), EXPIRED_MAX], |row| {
        Ok(Due {
            seq: row.get(0)?,
            id: row.get(1)?,
            model: row.get(2)?,
            weight: row.get(3)?,
            is_delayed: row.get(4)?,
            client: row.get(5)?,
        })
    })?;
    rows.collect()
}

fn revoke_queued(
    conn: &Connection,
    open: &Open,
    reason: &str,
    now: Timestamp,
    change: &mut Change,
) -> Result<(), StoreError> {
    revoke(conn, open, reason, now, change)?;
    change.add(&open.owner, -1, -open.weight);
    if open.is_delayed {
        change.delay(&open.owner.model, -1);
    }
    Ok(())
}

fn revoke(
    conn: &Connection,
    open: &Open,
    reason: &str,
    now: Timestamp,
    change: &mut Change,
) -> Result<(), StoreError> {
    let outcome = Content::Outcome(Outcome::Revoked {
        reason: reason.into(),
    });
    let outcome = Kept::Row(outcome.encode()?);
    let mut write = || {
        conn.prepare_cached(queries::REVOKE_TASK)?
            .execute(params![open.seq, now.as_micros()])?;
        keep_outcome(conn, open.seq, &outcome)?;
        outbox::tell(conn, open.seq, (Event::Revoked, 0), now, change)
    };
    write().map_err(StoreError::sqlite("cannot revoke a task"))
}
