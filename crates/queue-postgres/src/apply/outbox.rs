//! The outbox: what the writer does with it.

use cresset_queue::kit::fleet::Tally;
use cresset_queue::kit::{DISABLED, as_number, event_id, model_of, url_of};
use cresset_queue::{
    Finished, HOSTS_LOOK_MAX, OutboxRequest, Redelivered, Sending, Sendings, Told, Tried, cut_note,
};
use cresset_task::{EventId, TaskId, Timestamp};
use tokio_postgres::Row;
use uuid::Uuid;

use super::ends::uuid;
use super::purge::count;
use crate::connect::{Conn, Params, text};
use crate::error::{StoreError, col, small, tiny};

/// The hosts behind one for which something waits, each found by a step along the index.
const HOSTS: &str = "\
WITH RECURSIVE host (name, number) AS (
    (SELECT host, 1 FROM outbox WHERE due_at IS NOT NULL AND host > $1 ORDER BY host LIMIT 1)
    UNION ALL
    SELECT (SELECT o.host FROM outbox AS o WHERE o.due_at IS NOT NULL AND o.host > h.name ORDER BY o.host LIMIT 1),
           h.number + 1
    FROM host AS h WHERE h.name IS NOT NULL AND h.number < $2
)
SELECT name FROM host WHERE name IS NOT NULL ORDER BY number";

/// What is due for a host; nothing of a task of which something is being sent, and of each task one.
const TAKE: &str = "\
WITH due AS MATERIALIZED (
    SELECT o.seq, o.task, o.due_at FROM outbox AS o
    WHERE o.host = $1 AND o.due_at <= $2
          AND NOT EXISTS (SELECT 1 FROM outbox AS p WHERE p.task = o.task AND p.state = 1)
          AND NOT EXISTS (SELECT 1 FROM outbox AS e WHERE e.task = o.task AND e.due_at <= $2
                          AND (e.due_at, e.seq) < (o.due_at, o.seq))
    ORDER BY o.due_at, o.seq LIMIT $3 FOR UPDATE OF o SKIP LOCKED
), sent AS (
    UPDATE outbox AS o SET state = 1, due_at = NULL, tries = o.tries + 1, fence = o.fence + 1, holder = $4
    FROM due WHERE due.seq = o.seq
    RETURNING o.task, o.event, o.attempt, o.model, o.url, o.at, o.since, o.tries, o.fence, due.due_at, o.seq
)
SELECT * FROM sent ORDER BY due_at, seq";

/// Under the server and the number that hold the lease; and whether something of the task came later.
const HELD: &str = "\
SELECT seq, host, url, EXISTS (SELECT 1 FROM outbox AS l WHERE l.task = o.task AND l.seq > o.seq)
FROM outbox AS o WHERE task = $1 AND event = $2 AND attempt = $3 AND state = 1 AND fence = $4 AND holder = $5
FOR UPDATE";

const REMOVE: &str = "DELETE FROM outbox WHERE seq = $1";

const SETTLE: &str = "\
UPDATE outbox SET state = $2, due_at = $3, settled_at = $4, status = $5, note = $6, holder = NULL WHERE seq = $1";

const GONE_ADD: &str = "\
INSERT INTO gone (url, at) VALUES ($1, $2) ON CONFLICT (url) DO UPDATE SET at = excluded.at";

/// All that waits for an address.
const DISABLE: &str = "\
UPDATE outbox SET state = 4, due_at = NULL, settled_at = $3, note = $4
WHERE host = $1 AND due_at IS NOT NULL AND url = $2";

const ONE: &str = "\
SELECT seq, state, host, url, settled_at IS NULL FROM outbox WHERE task = $1 AND event = $2 AND attempt = $3
FOR UPDATE";

const GONE_REMOVE: &str = "DELETE FROM gone WHERE url = $1";

const AGAIN: &str = "\
UPDATE outbox SET state = 0, tries = 0, since = $2, due_at = $2, settled_at = NULL WHERE seq = $1";

const PURGE: &str = "\
DELETE FROM outbox WHERE seq IN (SELECT seq FROM outbox WHERE settled_at < $1 ORDER BY settled_at LIMIT $2 FOR UPDATE SKIP LOCKED)";

const GONE_FORGET: &str = "\
DELETE FROM gone WHERE url IN (SELECT url FROM gone WHERE at < $1 ORDER BY at LIMIT $2 FOR UPDATE SKIP LOCKED)";

const WAITING: i16 = 0;
const SENDING: i16 = 1;

/// Takes what is due, host by host.
pub(super) async fn lease(
    conn: &Conn,
    request: &OutboxRequest,
    tally: &mut Tally,
) -> Result<Sendings, StoreError> {
    let mut answer = Sendings::default();
    let mut at = request.after.clone().unwrap_or_default();
    // One more than are looked at tells whether there are more.
    let look = i32::try_from(HOSTS_LOOK_MAX).unwrap_or(i32::MAX) + 1;
    let hosts = conn.rows("cannot read the outbox", HOSTS, &[&at, &look]).await?;
    for (looked, row) in hosts.iter().enumerate() {
        if looked == HOSTS_LOOK_MAX || answer.sendings.len() >= request.max {
            answer.next = Some(at);
            return Ok(answer);
        }
        let host: String = col(row, 0)?;
        let room = request.rooms.get(&host).copied().unwrap_or(request.per_host);
        let room = room.min(request.max - answer.sendings.len());
        if room > 0 {
            let values: Params<'_> = &[&host, &request.now.as_micros(), &as_number(room), &tally.me];
            for row in conn.rows("cannot lease deliveries", TAKE, values).await? {
                answer.sendings.push(sending(&row)?);
                tally.counts.outbox.touch();
            }
        }
        at = host;
    }
    Ok(answer)
}

fn sending(row: &Row) -> Result<Sending, StoreError> {
    Ok(Sending {
        id: event_id(
            TaskId::from_bytes(*col::<Uuid>(row, 0)?.as_bytes()),
            tiny(row, 1)?,
            small(row, 2)?,
        )?,
        model: model_of(col(row, 3)?)?,
        url: url_of(col(row, 4)?)?,
        at: Timestamp::from_micros(col(row, 5)?),
        since: Timestamp::from_micros(col(row, 6)?),
        tries: small(row, 7)?,
        fence: small(row, 8)?,
    })
}

pub(super) async fn settle(conn: &Conn, tried: &Tried, tally: &mut Tally) -> Result<Finished, StoreError> {
    let doing = "cannot settle a delivery";
    let (task, event, attempt) = key(tried.id);
    let held = conn
        .row(
            doing,
            HELD,
            &[&task, &event, &attempt, &i64::from(tried.fence), &tally.me],
        )
        .await?;
    let Some(row) = held else {
        return Ok(Finished::Stale);
    };
    let (seq, host, url): (i64, String, String) = (col(&row, 0)?, col(&row, 1)?, col(&row, 2)?);
    let has_later: bool = col(&row, 3)?;
    let (state, due, is_over) = match tried.told {
        Told::Again(_) if has_later => {
            conn.run(doing, REMOVE, &[&seq]).await?;
            tally.counts.outbox.add(&host, -1);
            return Ok(Finished::Recorded);
        }
        Told::Again(due) => (WAITING, Some(due.as_micros()), false),
        Told::Delivered => (2, None, true),
        Told::Failed => (3, None, true),
        Told::Disabled => (4, None, true),
    };
    let at = tried.at.as_micros();
    let note = tried.note.clone().map(cut_note);
    let note = note.as_deref().map(text);
    let status = tried.status.map(i32::from);
    let over = is_over.then_some(at);
    conn.run(
        doing,
        SETTLE,
        &[&seq, &state, &due, &over, &status, &note.as_deref()],
    )
    .await?;
    let mut open = -i64::from(is_over);
    if tried.told == Told::Disabled {
        conn.run(doing, GONE_ADD, &[&url, &at]).await?;
        let disabled = conn.run(doing, DISABLE, &[&host, &url, &at, &DISABLED]).await?;
        open -= disabled.cast_signed();
    }
    tally.counts.outbox.add(&host, open);
    Ok(Finished::Recorded)
}

pub(super) async fn redeliver(
    conn: &Conn,
    id: EventId,
    now: Timestamp,
    tally: &mut Tally,
) -> Result<Redelivered, StoreError> {
    let doing = "cannot have a delivery sent again";
    let (task, event, attempt) = key(id);
    let found = conn.row(doing, ONE, &[&task, &event, &attempt]).await?;
    let Some(row) = found else {
        return Ok(Redelivered::Unknown);
    };
    let (seq, state, host): (i64, i16, String) = (col(&row, 0)?, col(&row, 1)?, col(&row, 2)?);
    if state == SENDING {
        return Ok(Redelivered::UnderWay);
    }
    conn.run(doing, GONE_REMOVE, &[&col::<&str>(&row, 3)?]).await?;
    conn.run(doing, AGAIN, &[&seq, &now.as_micros()]).await?;
    tally.counts.outbox.add(&host, i64::from(!col::<bool>(&row, 4)?));
    Ok(Redelivered::Queued)
}

/// Forgets one chunk of what was settled, and of addresses that were disabled, before this instant; how many.
pub(super) async fn purge(conn: &Conn, before: i64, limit: usize) -> Result<usize, StoreError> {
    let settled = conn
        .run("cannot purge deliveries", PURGE, &[&before, &as_number(limit)])
        .await?;
    let settled = count(settled);
    let left = as_number(limit.saturating_sub(settled));
    let gone = conn
        .run("cannot forget addresses", GONE_FORGET, &[&before, &left])
        .await?;
    Ok(settled + count(gone))
}

fn key(id: EventId) -> (Uuid, i16, i64) {
    (uuid(id.task), i16::from(id.event.code()), i64::from(id.attempt))
}
