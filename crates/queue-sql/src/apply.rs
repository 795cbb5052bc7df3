//! Each operation as SQL, inside a transaction that somebody else begins and ends.
//!
//! An error returned from here means that the transaction can no longer be trusted and must be rolled back. A refusal
//! (a taken id, a stale attempt) is an answer, not an error.

use bytes::Bytes;
use cresset_queue::kit::{Change, Fault, Owner, PROMOTED_MAX, Ttl, client_of, owner_of, retry_of, trace_of};
use cresset_queue::{Idempotency, Lease, LeaseRequest, Release, Submitted, Turn, Unreadable};
use cresset_task::{Attempt, CacheUse, Callback, ClientKey, Event, Payload, TaskId, Tenant, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use crate::ends;
use crate::error::StoreError;
use crate::files::Part;
use crate::idempotency::recall;
use crate::letters;
use crate::op::{Op, Submission};
use crate::outbox;
use crate::place::{Found, misnamed};
use crate::purge::purge;
use crate::queries;
use crate::returns::Leased;
use crate::schema;

/// Applies `op`, puts its answer into its slot, and notes what it does to the depths.
pub(crate) fn apply(conn: &Connection, op: &mut Op, ttl: Ttl, change: &mut Change) -> Result<(), StoreError> {
    match op {
        Op::Submit { task, slot } => {
            let submitted = submit(conn, task, change)?;
            slot.set(submitted.ok_or_else(|| taken(task.id)));
        }
        Op::Lease { request, slot } => {
            let leases = lease(conn, request, change)?;
            slot.set(Ok(leases));
        }
        Op::Release { leases, slot } => {
            release(conn, leases, change)?;
            slot.set(Ok(()));
        }
        Op::GiveBack { leases } => release(conn, leases, change)?,
        Op::Finish { endings, slot } => {
            let answers = endings
                .iter()
                .map(|ending| ends::finish(conn, ending, change))
                .collect::<rusqlite::Result<_>>();
            slot.set(Ok(
                answers.map_err(StoreError::sqlite("cannot record an outcome"))?
            ));
        }
        Op::Retry { retries, slot } => {
            let answers = retries.iter().map(|one| ends::retry(conn, one, change));
            slot.set(Ok(answers.collect::<Result<_, _>>()?));
        }
        Op::Cancel {
            id,
            reason,
            now,
            slot,
        } => {
            let cancelled = ends::cancel(conn, *id, reason, *now, change)?;
            slot.set(Ok(cancelled));
        }
        Op::Expire { now, slot } => {
            let expiries = ends::expire(conn, *now, change)?;
            slot.set(Ok(expiries));
        }
        Op::Purge { now, slot } => {
            let purged = purge(conn, *now, ttl).map_err(StoreError::sqlite("cannot purge"))?;
            slot.set(Ok(purged));
        }
        Op::Replay { letter, task, slot } => {
            slot.set(letters::replay(conn, *letter, task, change)?);
        }
        Op::Discard { doom, slot } => {
            let gone = letters::discard(conn, doom);
            slot.set(Ok(
                gone.map_err(StoreError::sqlite("cannot throw dead letters away"))?
            ));
        }
        Op::Outbox(op) => op.apply(conn, change)?,
        Op::Bulk(op) => op.apply(conn, change)?,
        Op::Probe { slot } => {
            schema::rewrite_version(conn)?;
            slot.set(Ok(()));
        }
    }
    Ok(())
}

pub(crate) fn taken(id: TaskId) -> StoreError {
    StoreError::Misuse(format!("the id {id} is taken; every task needs a fresh one"))
}

/// `None` when the id is taken.
pub(crate) fn submit(
    conn: &Connection,
    task: &Submission,
    change: &mut Change,
) -> Result<Option<Submitted>, StoreError> {
    if let Some(idempotency) = &task.idempotency
        && let Some(known) = recall(conn, &task.owner.model, idempotency)?
    {
        return Ok(Some(known));
    }
    let inserted = insert(conn, task).map_err(StoreError::sqlite("cannot insert a task"))?;
    let Some(seq) = inserted else {
        return Ok(None);
    };
    match task.started_at {
        // Born leased: it is not queued.
        Some(at) => outbox::tell(conn, seq, (Event::Started, 1), at, change)
            .map_err(StoreError::sqlite("cannot note that a task has started"))?,
        None => {
            change.add(&task.owner, 1, task.weight);
            if task.due_at.is_some() {
                change.delay(&task.owner.model, 1);
            }
        }
    }
    Ok(Some(Submitted::New))
}

/// Its row; `None` when the id is taken.
fn insert(conn: &Connection, task: &Submission) -> rusqlite::Result<Option<i64>> {
    let inserted = conn.prepare_cached(queries::SUBMIT_TASK)?.execute(params![
        task.id.as_bytes(),
        task.owner.model.as_str(),
        task.priority,
        task.weight,
        task.created_at.as_micros(),
        task.metadata.as_deref(),
        task.turn.as_micros(),
        task.due_at.map(Timestamp::as_micros),
        task.expires_at.map(Timestamp::as_micros),
        task.owner.client.as_ref().map(ClientKey::as_str),
        task.deadline_at.map(Timestamp::as_micros),
        task.cache.code(),
        task.retry.as_deref(),
        task.tenant.as_ref().map(Tenant::as_str),
        task.trace.as_deref(),
        task.started_at.map(Timestamp::as_micros),
    ])?;
    if inserted == 0 {
        return Ok(None);
    }
    let seq = conn.last_insert_rowid();
    let mut input = conn.prepare_cached(queries::SUBMIT_INPUT)?;
    (task.input).with_columns(|[kind, bytes, file, length, checksum]| {
        input.execute(params![seq, kind, bytes, file, length, checksum])
    })?;
    if let Some(Callback { url, events }) = &task.callback {
        conn.prepare_cached(queries::CALLBACK_ADD)?.execute(params![
            seq,
            url.as_str(),
            url.host(),
            events.code()
        ])?;
    }
    if let Some(Idempotency { key, digest }) = &task.idempotency {
        conn.prepare_cached(queries::SUBMIT_KEY)?.execute(params![
            task.owner.model.as_str(),
            key.as_str(),
            seq,
            digest
        ])?;
    }
    Ok(Some(seq))
}

fn lease(conn: &Connection, request: &LeaseRequest, change: &mut Change) -> Result<Vec<Leased>, StoreError> {
    let promoted = conn
        .prepare_cached(queries::PROMOTE)
        .and_then(|mut query| {
            query.execute(params![
                request.model.as_str(),
                request.now.as_micros(),
                PROMOTED_MAX
            ])
        })
        .map_err(StoreError::sqlite("cannot queue what is due"))?;
    if promoted > 0 {
        change.delay(&request.model, -(promoted as i64));
    }
    let head = candidates(conn, request).map_err(StoreError::sqlite("cannot read the head of a queue"))?;
    let mut leases = Vec::with_capacity(head.len());
    for (seq, weight) in head {
        let (lease, client) = lease_one(conn, seq, request.now, change)?;
        change.add_to_model(&request.model, -1, -weight);
        if let Some(client) = client {
            change.add_to_client(&client, -1, -weight);
        }
        leases.push(lease);
    }
    Ok(leases)
}

/// The tasks that fit the request, as row and weight.
fn candidates(conn: &Connection, request: &LeaseRequest) -> rusqlite::Result<Vec<(i64, i64)>> {
    let limit = i64::try_from(request.max_tasks).unwrap_or(i64::MAX);
    let bytes_max = i64::try_from(request.max_bytes).unwrap_or(i64::MAX);
    let mut query = conn.prepare_cached(queries::LEASE_CANDIDATES)?;
    let mut rows = query.query(params![request.model.as_str(), limit, request.now.as_micros()])?;
    let mut chosen = Vec::new();
    let mut bytes = 0_i64;
    while let Some(row) = rows.next()? {
        let (seq, weight): (i64, i64) = (row.get(0)?, row.get(1)?);
        bytes = bytes.saturating_add(weight);
        if bytes > bytes_max && !chosen.is_empty() {
            break;
        }
        chosen.push((seq, weight));
    }
    Ok(chosen)
}

/// Leases one queued task; says whose it was. An input in a file is read later, by the asker (see `lease`).
fn lease_one(
    conn: &Connection,
    seq: i64,
    now: Timestamp,
    change: &mut Change,
) -> Result<(Leased, Option<ClientKey>), StoreError> {
    let LeaseRow {
        mut lease,
        input,
        client,
        retry,
    } = lease_row(conn, seq, now).map_err(StoreError::sqlite("cannot lease a task"))?;
    outbox::tell(conn, seq, (Event::Started, lease.attempt.0), now, change)
        .map_err(StoreError::sqlite("cannot note that a task has started"))?;
    let client = client_of(client.as_deref())?;
    let retry = retry_of(retry.as_deref()).map(|terms| lease.retry = terms);
    let payload = match input {
        _ if retry.is_err() => retry
            .map(|()| Payload::Json(Bytes::new()))
            .map_err(StoreError::from),
        Some(Found::Row(stored)) => stored.as_payload().map_err(StoreError::from),
        Some(Found::File { kind, file }) => {
            let file = Some((kind, file));
            return Ok((Leased { lease, file }, client));
        }
        Some(Found::Misnamed) => Err(misnamed()),
        None => Err(StoreError::Damaged("it is missing".into())),
    };
    lease.payload = payload.map_err(|damage| Unreadable(damage.to_string()));
    Ok((Leased { lease, file: None }, client))
}

/// A lease still without what has to be decoded, and that in stored form.
struct LeaseRow {
    lease: Lease,
    input: Option<Found>,
    client: Option<String>,
    retry: Option<String>,
}

fn lease_row(conn: &Connection, seq: i64, now: Timestamp) -> rusqlite::Result<LeaseRow> {
    let leased = conn
        .prepare_cached(queries::QUEUED_TASK)?
        .query_row([seq], |row| {
            let mut lease = Lease {
                id: TaskId::from_bytes(row.get(0)?),
                attempt: Attempt(row.get(1)?).next(),
                payload: Err(Unreadable(String::new())),
                priority: row.get(2)?,
                created_at: Timestamp::from_micros(row.get(3)?),
                turn: Turn::from_micros(row.get(4)?),
                retries: row.get(5)?,
                // The column has no other numbers; of one that it had nothing would be kept.
                cache: CacheUse::from_code(row.get(12)?).unwrap_or(CacheUse::NoStore),
                retry: None,
                trace: None,
            };
            lease.trace = trace_of(lease.id, row.get_ref(14)?.as_str_or_null()?);
            Ok(LeaseRow {
                input: Found::read(row, 7, lease.id, Part::Input)?,
                client: row.get(6)?,
                retry: row.get(13)?,
                lease,
            })
        })?;
    conn.prepare_cached(queries::LEASE_TASK)?.execute(params![
        seq,
        leased.lease.attempt.0,
        now.as_micros()
    ])?;
    Ok(leased)
}

fn release(conn: &Connection, leases: &[Release], change: &mut Change) -> Result<(), StoreError> {
    for lease in leases {
        let released = release_one(conn, lease).map_err(StoreError::sqlite("cannot release a task"))?;
        if let Some((owner, weight)) = released {
            change.add(&owner?, 1, weight);
        }
    }
    Ok(())
}

/// A task's owner, or why it cannot be told, and its weight.
pub(crate) type Weighed = (Result<Owner, Fault>, i64);

/// The row of the task that is leased under this attempt, and what it counts for.
pub(crate) fn leased(
    conn: &Connection,
    id: TaskId,
    attempt: Attempt,
) -> rusqlite::Result<Option<(i64, Weighed)>> {
    conn.prepare_cached(queries::LEASED_TASK)?
        .query_row(params![id.as_bytes(), attempt.0], |row| {
            let owner = owner_of(row.get_ref(1)?.as_str()?, row.get_ref(3)?.as_str_or_null()?);
            Ok((row.get(0)?, (owner, row.get(2)?)))
        })
        .optional()
}

/// What the released task counts for; `None` for a stale release.
fn release_one(conn: &Connection, lease: &Release) -> rusqlite::Result<Option<Weighed>> {
    let Some((seq, released)) = leased(conn, lease.id, lease.attempt)? else {
        return Ok(None);
    };
    conn.prepare_cached(queries::RELEASE)?.execute([seq])?;
    Ok(Some(released))
}
