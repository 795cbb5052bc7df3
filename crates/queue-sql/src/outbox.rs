//! The outbox: what the writer does with it, within the transaction of its group.

mod op;
mod port;
mod read;

use cresset_queue::kit::{Change, DISABLED, event_id, model_of, url_of};
use cresset_queue::{
    Finished, HOSTS_LOOK_MAX, OutboxRequest, Redelivered, Sending, Sendings, Told, Tried, cut_note,
};
use cresset_task::{Event, EventId, Events, TaskId, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};

pub(crate) use self::op::OutboxOp;
pub(crate) use self::read::{OutboxRead, answer};
use crate::error::StoreError;
use crate::queries;

const WAITING: i64 = 0;
const SENDING: i64 = 1;

/// Whom the task in this row is to tell of the event, if anybody.
struct Recipient {
    url: String,
    host: String,
    task: [u8; 16],
    model: String,
}

/// Leaves a delivery for an event of the task in this row, if its callback wants it.
pub(crate) fn tell(
    conn: &Connection,
    seq: i64,
    (event, attempt): (Event, u32),
    at: Timestamp,
    change: &mut Change,
) -> rusqlite::Result<()> {
    let Some(to) = recipient(conn, seq, event)? else {
        return Ok(());
    };
    let replaced = conn.prepare_cached(queries::OUTBOX_REPLACE)?.execute([to.task])?;
    let added = conn.prepare_cached(queries::OUTBOX_ADD)?.execute(params![
        to.task,
        event.code(),
        attempt,
        to.model,
        to.url,
        to.host,
        at.as_micros(),
        DISABLED,
    ])?;
    let is_open = added > 0
        && conn
            .prepare_cached(queries::OUTBOX_IS_OPEN)?
            .query_row([conn.last_insert_rowid()], |row| row.get::<_, bool>(0))?;
    change.outbox.add(&to.host, i64::from(is_open) - replaced as i64);
    Ok(())
}

fn recipient(conn: &Connection, seq: i64, event: Event) -> rusqlite::Result<Option<Recipient>> {
    let found = conn
        .prepare_cached(queries::CALLBACK_OF)?
        .query_row([seq], |row| {
            let events = Events::from_code(row.get(2)?);
            let to = Recipient {
                url: row.get(0)?,
                host: row.get(1)?,
                task: row.get(3)?,
                model: row.get(4)?,
            };
            Ok((events, to))
        })
        .optional()?;
    Ok(found
        .filter(|(events, _)| events.is_some_and(|events| events.has(event)))
        .map(|(_, to)| to))
}

/// Takes what is due, host by host.
pub(crate) fn lease(
    conn: &Connection,
    request: &OutboxRequest,
    change: &mut Change,
) -> Result<Sendings, StoreError> {
    let cannot = || StoreError::sqlite("cannot read the outbox");
    let mut answer = Sendings::default();
    let mut at = request.after.clone().unwrap_or_default();
    for looked in 0.. {
        let host: Option<String> = conn
            .prepare_cached(queries::OUTBOX_HOST_AFTER)
            .and_then(|mut query| query.query_row([&at], |row| row.get(0)))
            .map_err(cannot())?;
        let Some(host) = host else {
            return Ok(answer);
        };
        if looked == HOSTS_LOOK_MAX || answer.sendings.len() >= request.max {
            answer.next = Some(at);
            return Ok(answer);
        }
        let room = request.rooms.get(&host).copied().unwrap_or(request.per_host);
        let room = room.min(request.max - answer.sendings.len());
        if room > 0 {
            for row in due(conn, &host, request.now, room).map_err(cannot())? {
                // One by one: of one task only one is sent at a time.
                answer.sendings.extend(send(conn, row)?);
                change.outbox.touch();
            }
        }
        at = host;
    }
    Ok(answer)
}

struct DueRow {
    seq: i64,
    task: [u8; 16],
    event: u8,
    attempt: u32,
    model: String,
    url: String,
    at: i64,
    since: i64,
    tries: u32,
    fence: u32,
}

impl DueRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: row.get(0)?,
            task: row.get(1)?,
            event: row.get(2)?,
            attempt: row.get(3)?,
            model: row.get(4)?,
            url: row.get(5)?,
            at: row.get(6)?,
            since: row.get(7)?,
            tries: row.get(8)?,
            fence: row.get(9)?,
        })
    }
}

fn due(conn: &Connection, host: &str, now: Timestamp, limit: usize) -> rusqlite::Result<Vec<DueRow>> {
    conn.prepare_cached(queries::OUTBOX_TAKE)?
        .query_map(params![host, now.as_micros(), limit as i64], DueRow::read)?
        .collect()
}

/// `None` when another delivery of its task has just been taken.
fn send(conn: &Connection, row: DueRow) -> Result<Option<Sending>, StoreError> {
    let sent = conn
        .prepare_cached(queries::OUTBOX_SEND)
        .and_then(|mut query| query.execute([row.seq]))
        .map_err(StoreError::sqlite("cannot lease a delivery"))?;
    if sent == 0 {
        return Ok(None);
    }
    Ok(Some(Sending {
        id: event_id(TaskId::from_bytes(row.task), row.event, row.attempt)?,
        model: model_of(&row.model)?,
        url: url_of(&row.url)?,
        at: Timestamp::from_micros(row.at),
        since: Timestamp::from_micros(row.since),
        tries: row.tries.saturating_add(1),
        fence: row.fence.saturating_add(1),
    }))
}

pub(crate) fn settle(conn: &Connection, tried: &Tried, change: &mut Change) -> Result<Finished, StoreError> {
    settle_row(conn, tried, change).map_err(StoreError::sqlite("cannot settle a delivery"))
}

fn settle_row(conn: &Connection, tried: &Tried, change: &mut Change) -> rusqlite::Result<Finished> {
    let EventId { task, event, attempt } = tried.id;
    let held: Option<(i64, String, String, bool)> = conn
        .prepare_cached(queries::OUTBOX_HELD)?
        .query_row(
            params![task.as_bytes(), event.code(), attempt, tried.fence],
            |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)),
        )
        .optional()?;
    let Some((seq, host, url, has_later)) = held else {
        return Ok(Finished::Stale);
    };
    let (state, due, is_over) = match tried.told {
        Told::Again(_) if has_later => {
            conn.prepare_cached(queries::OUTBOX_REMOVE)?.execute([seq])?;
            change.outbox.add(&host, -1);
            return Ok(Finished::Recorded);
        }
        Told::Again(due) => (WAITING, Some(due.as_micros()), false),
        Told::Delivered => (2, None, true),
        Told::Failed => (3, None, true),
        Told::Disabled => (4, None, true),
    };
    let at = tried.at.as_micros();
    conn.prepare_cached(queries::OUTBOX_SETTLE)?.execute(params![
        seq,
        state,
        due,
        is_over.then_some(at),
        tried.status,
        tried.note.clone().map(cut_note),
    ])?;
    let mut open = -i64::from(is_over);
    if tried.told == Told::Disabled {
        conn.prepare_cached(queries::GONE_ADD)?
            .execute(params![url, at])?;
        let disabled = conn
            .prepare_cached(queries::OUTBOX_DISABLE)?
            .execute(params![host, url, at, DISABLED])?;
        open -= disabled as i64;
    }
    change.outbox.add(&host, open);
    Ok(Finished::Recorded)
}

pub(crate) fn redeliver(
    conn: &Connection,
    id: EventId,
    now: Timestamp,
    change: &mut Change,
) -> Result<Redelivered, StoreError> {
    redeliver_row(conn, id, now, change).map_err(StoreError::sqlite("cannot have a delivery sent again"))
}

fn redeliver_row(
    conn: &Connection,
    id: EventId,
    now: Timestamp,
    change: &mut Change,
) -> rusqlite::Result<Redelivered> {
    let found: Option<(i64, i64, String, String, bool)> = conn
        .prepare_cached(queries::OUTBOX_ONE)?
        .query_row(params![id.task.as_bytes(), id.event.code(), id.attempt], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })
        .optional()?;
    let Some((seq, state, host, url, was_open)) = found else {
        return Ok(Redelivered::Unknown);
    };
    if state == SENDING {
        return Ok(Redelivered::UnderWay);
    }
    conn.prepare_cached(queries::GONE_REMOVE)?.execute([url])?;
    conn.prepare_cached(queries::OUTBOX_AGAIN)?
        .execute(params![seq, now.as_micros()])?;
    change.outbox.add(&host, i64::from(!was_open));
    Ok(Redelivered::Queued)
}

/// Forgets one chunk of what was settled, and of addresses that were disabled, before this instant; how many.
pub(crate) fn purge(conn: &Connection, before: i64, limit: usize) -> rusqlite::Result<usize> {
    let settled = conn
        .prepare_cached(queries::OUTBOX_PURGE)?
        .execute(params![before, limit as i64])?;
    let gone = conn
        .prepare_cached(queries::GONE_FORGET)?
        .execute(params![before, limit.saturating_sub(settled) as i64])?;
    Ok(settled + gone)
}
