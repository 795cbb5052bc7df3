//! The outbox: what the writer does with it.

use cresset_queue::kit::fleet::Tally;
use cresset_queue::kit::{DISABLED, as_number, event_id, model_of, url_of};
use cresset_queue::{
    Finished, HOSTS_LOOK_MAX, OutboxRequest, Redelivered, Sending, Sendings, Told, Tried, cut_note,
};
use cresset_task::{EventId, Timestamp};
use mysql_async::Row;

use super::purge::{count, numbers};
use crate::error::{StoreError, col, id, small};
use crate::sql::sql;
use crate::tx::Tx;

/// The hosts behind one for which something waits, found along an index.
const HOSTS: &str = "\
SELECT host, MIN(due_at) AS due FROM outbox WHERE host > ? GROUP BY host HAVING due IS NOT NULL ORDER BY host LIMIT ?";

/// What is due for a host; nothing of a task of which something is being sent, and of each task one.
const DUE: &str = "\
SELECT o.task, o.event, o.attempt, o.model, o.url, o.at, o.since, o.tries, o.fence, o.seq
FROM outbox AS o FORCE INDEX (outbox_due_by_host)
WHERE o.host = ? AND o.due_at <= ?
      AND NOT EXISTS (SELECT 1 FROM outbox AS p WHERE p.task = o.task AND p.state = 1)
      AND NOT EXISTS (SELECT 1 FROM outbox AS e WHERE e.task = o.task AND e.due_at <= ?
                      AND (e.due_at < o.due_at OR (e.due_at = o.due_at AND e.seq < o.seq)))
ORDER BY o.due_at, o.seq LIMIT ? FOR UPDATE SKIP LOCKED";

const TAKE: &str = "\
UPDATE outbox SET state = 1, due_at = NULL, tries = tries + 1, fence = fence + 1, holder = ? WHERE seq IN (?)";

/// Under the server and the number that hold the lease; and whether something of the task came later.
const HELD: &str = "\
SELECT o.seq, o.host, o.url, EXISTS (SELECT 1 FROM outbox AS l WHERE l.task = o.task AND l.seq > o.seq)
FROM outbox AS o FORCE INDEX (outbox_by_name)
WHERE o.task = ? AND o.event = ? AND o.attempt = ? AND o.state = 1 AND o.fence = ? AND o.holder = ? FOR UPDATE";

const REMOVE: &str = "DELETE FROM outbox WHERE seq = ?";

const SETTLE: &str = "\
UPDATE outbox SET state = ?, due_at = ?, settled_at = ?, status = ?, note = ?, holder = NULL WHERE seq = ?";

const GONE_ADD: &str = "INSERT INTO gone (url, at) VALUES (?, ?) ON DUPLICATE KEY UPDATE at = VALUES(at)";

/// All that waits for an address.
const DISABLE: &str = "\
UPDATE outbox SET state = 4, due_at = NULL, settled_at = ?, note = ? WHERE host = ? AND due_at IS NOT NULL AND url = ?";

const ONE: &str = "\
SELECT seq, state, host, url, settled_at IS NULL FROM outbox FORCE INDEX (outbox_by_name)
WHERE task = ? AND event = ? AND attempt = ? FOR UPDATE";

const GONE_REMOVE: &str = "DELETE FROM gone WHERE url = ?";

const AGAIN: &str = "\
UPDATE outbox SET state = 0, tries = 0, since = ?, due_at = ?, settled_at = NULL WHERE seq = ?";

const OLD: &str = "\
SELECT seq FROM outbox FORCE INDEX (outbox_settled) WHERE settled_at < ? ORDER BY settled_at LIMIT ? FOR UPDATE SKIP LOCKED";
const PURGE: &str = "DELETE o FROM outbox AS o FORCE INDEX (PRIMARY) WHERE o.seq IN (?)";

const GONE_FORGET: &str = "DELETE FROM gone WHERE at < ? ORDER BY at LIMIT ?";

const WAITING: i64 = 0;
const SENDING: i64 = 1;

/// Takes what is due, host by host.
pub(super) async fn lease(
    tx: &mut Tx<'_>,
    request: &OutboxRequest,
    tally: &mut Tally,
) -> Result<Sendings, StoreError> {
    let mut answer = Sendings::default();
    let mut at = request.after.clone().unwrap_or_default();
    // One more than are looked at tells whether there are more.
    let look = as_number(HOSTS_LOOK_MAX + 1);
    let hosts = tx.rows("cannot read the outbox", sql!(HOSTS, &at, look)).await?;
    for (looked, row) in hosts.iter().enumerate() {
        if looked == HOSTS_LOOK_MAX || answer.sendings.len() >= request.max {
            answer.next = Some(at);
            return Ok(answer);
        }
        let host: String = col(row, 0)?;
        let room = request.rooms.get(&host).copied().unwrap_or(request.per_host);
        let room = room.min(request.max - answer.sendings.len());
        if room > 0 {
            take(tx, (&host, room), (request.now, tally.me), &mut answer.sendings).await?;
        }
        at = host;
    }
    if !answer.sendings.is_empty() {
        tally.counts.outbox.touch();
    }
    Ok(answer)
}

async fn take(
    tx: &mut Tx<'_>,
    (host, room): (&str, usize),
    (now, me): (Timestamp, i64),
    taken: &mut Vec<Sending>,
) -> Result<(), StoreError> {
    let doing = "cannot lease deliveries";
    let now = now.as_micros();
    let due = tx.rows(doing, sql!(DUE, host, now, now, as_number(room))).await?;
    if due.is_empty() {
        return Ok(());
    }
    let seqs: Vec<i64> = due.iter().map(|row| col(row, 9)).collect::<Result<_, _>>()?;
    tx.later(doing, [sql!(TAKE, me, &seqs[..])]);
    for row in &due {
        taken.push(sending(row)?);
    }
    Ok(())
}

/// As it is once it is leased.
fn sending(row: &Row) -> Result<Sending, StoreError> {
    Ok(Sending {
        id: event_id(id(row, 0)?, small(row, 1)?, small(row, 2)?)?,
        model: model_of(&col::<String>(row, 3)?)?,
        url: url_of(&col::<String>(row, 4)?)?,
        at: Timestamp::from_micros(col(row, 5)?),
        since: Timestamp::from_micros(col(row, 6)?),
        tries: small::<u32>(row, 7)?.saturating_add(1),
        fence: small::<u32>(row, 8)?.saturating_add(1),
    })
}

pub(super) async fn settle(
    tx: &mut Tx<'_>,
    tried: &Tried,
    tally: &mut Tally,
) -> Result<Finished, StoreError> {
    let doing = "cannot settle a delivery";
    let EventId { task, event, attempt } = tried.id;
    let held = tx
        .row(
            doing,
            sql!(HELD, task, event.code(), attempt, tried.fence, tally.me),
        )
        .await?;
    let Some(row) = held else {
        return Ok(Finished::Stale);
    };
    let (seq, host, url): (i64, String, String) = (col(&row, 0)?, col(&row, 1)?, col(&row, 2)?);
    let has_later: bool = col(&row, 3)?;
    let (state, due, is_over) = match tried.told {
        Told::Again(_) if has_later => {
            tx.later(doing, [sql!(REMOVE, seq)]);
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
    let status = tried.status.map(i64::from);
    let over = is_over.then_some(at);
    let mut statements = vec![sql!(SETTLE, state, due, over, status, note.as_deref(), seq)];
    if tried.told == Told::Disabled {
        statements.push(sql!(GONE_ADD, &url, at));
        statements.push(sql!(DISABLE, at, DISABLED, &host, &url));
    }
    let answers = tx.all(doing, &statements).await?;
    let mut open = -i64::from(is_over);
    open -= answers.get(2).map_or(0, |disabled| disabled.found.cast_signed());
    tally.counts.outbox.add(&host, open);
    Ok(Finished::Recorded)
}

pub(super) async fn redeliver(
    tx: &mut Tx<'_>,
    id: EventId,
    now: Timestamp,
    tally: &mut Tally,
) -> Result<Redelivered, StoreError> {
    let doing = "cannot have a delivery sent again";
    let EventId { task, event, attempt } = id;
    let found = tx.row(doing, sql!(ONE, task, event.code(), attempt)).await?;
    let Some(row) = found else {
        return Ok(Redelivered::Unknown);
    };
    let (seq, state, host): (i64, i64, String) = (col(&row, 0)?, col(&row, 1)?, col(&row, 2)?);
    if state == SENDING {
        return Ok(Redelivered::UnderWay);
    }
    let now = now.as_micros();
    let statements = [
        sql!(GONE_REMOVE, col::<String>(&row, 3)?),
        sql!(AGAIN, now, now, seq),
    ];
    tx.later(doing, statements);
    tally.counts.outbox.add(&host, i64::from(!col::<bool>(&row, 4)?));
    Ok(Redelivered::Queued)
}

/// Forgets one chunk of what was settled, and of addresses that were disabled, before this instant; how many.
pub(super) async fn purge(tx: &mut Tx<'_>, before: i64, limit: usize) -> Result<usize, StoreError> {
    let doing = "cannot purge deliveries";
    let old = numbers(&tx.rows(doing, sql!(OLD, before, as_number(limit))).await?)?;
    tx.later(doing, [sql!(PURGE, &old[..])]);
    let settled = old.len();
    let left = as_number(limit.saturating_sub(settled));
    let gone = tx
        .run("cannot forget addresses", sql!(GONE_FORGET, before, left))
        .await?;
    Ok(settled + count(gone))
}
