//! Ends that no holder of a lease reports: cancelled by a caller, or expired.

use cresset_queue::kit::fleet::Tally;
use cresset_queue::kit::{Content, EXPIRED, EXPIRED_MAX, OVERDUE, Owner, STARTED, owner_of, state_of};
use cresset_queue::{Cancelled, Expiries};
use cresset_task::{Event, ModelName, Move, Outcome, State, TaskId, Timestamp};
use tokio_postgres::Row;
use uuid::Uuid;

use super::ends::uuid;
use super::tell::{news, tell};
use crate::connect::{Conn, Params};
use crate::error::{StoreError, col};

const OPEN_TASK: &str = "\
SELECT seq, id, model, weight, due_at IS NOT NULL, client, state FROM tasks WHERE id = $1 FOR UPDATE";

const TOMBSTONE: &str = "SELECT 1 FROM tombstones WHERE id = $1";

/// Queued tasks that expired, longest ago first. What another server ends at this moment is its own, here and below.
const EXPIRE: &str = "\
SELECT seq, id, model, weight, due_at IS NOT NULL, client FROM tasks
WHERE expires_at <= $1 AND state IN (0, 2) ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED";

/// Leased tasks whose deadline has passed, longest ago first.
const OVERDUE_TASKS: &str = "\
SELECT seq, id, model, weight, false, client FROM tasks
WHERE deadline_at <= $1 AND state = 1 ORDER BY deadline_at LIMIT $2 FOR UPDATE SKIP LOCKED";

const NEXT: &str = "\
SELECT least((SELECT min(expires_at) FROM tasks WHERE expires_at IS NOT NULL AND state IN (0, 2)),
             (SELECT min(deadline_at) FROM tasks WHERE deadline_at IS NOT NULL AND state = 1))";

const REVOKE: &str = "\
WITH ended AS (
    UPDATE tasks SET state = 5, finished_at = $2, due_at = NULL, holder = NULL WHERE seq = ANY ($1) RETURNING seq, id, model
), kept AS (
    INSERT INTO outcomes (seq, kind, bytes) SELECT seq, $3, $4 FROM ended
)
SELECT e.id, e.model, c.url, c.host, c.events FROM ended AS e LEFT JOIN callbacks AS c ON c.seq = e.seq ORDER BY e.seq";

/// A queued or leased task, on its way to REVOKED.
struct Open {
    seq: i64,
    id: TaskId,
    owner: Owner,
    weight: i64,
    is_delayed: bool,
}

impl Open {
    fn read(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            seq: col(row, 0)?,
            id: TaskId::from_bytes(*col::<Uuid>(row, 1)?.as_bytes()),
            owner: owner_of(col(row, 2)?, col(row, 5)?)?,
            weight: col(row, 3)?,
            is_delayed: col(row, 4)?,
        })
    }

    /// It is no longer queued.
    fn uncount(&self, tally: &mut Tally) {
        tally.counts.add(&self.owner, -1, -self.weight);
        if self.is_delayed {
            tally.counts.delay(&self.owner.model, -1);
        }
    }
}

pub(super) async fn cancel(
    conn: &Conn,
    id: TaskId,
    reason: &str,
    now: Timestamp,
    tally: &mut Tally,
) -> Result<Cancelled, StoreError> {
    let found = conn
        .row("cannot look for a task to cancel", OPEN_TASK, &[&uuid(id)])
        .await?;
    let Some(row) = found else {
        let purged = conn
            .row("cannot read a purged id", TOMBSTONE, &[&uuid(id)])
            .await?;
        return Ok(match purged {
            Some(_) => Cancelled::Expired,
            None => Cancelled::Unknown,
        });
    };
    let number = i64::from(col::<i16>(&row, 6)?);
    let state = state_of(number)?;
    if state.after(Move::Revoke).is_err() {
        return Ok(Cancelled::Ended(state));
    }
    let open = Open::read(&row)?;
    let was_leased = number == STARTED;
    revoke(conn, &[&open], (reason, was_leased), now, tally).await?;
    if was_leased {
        return Ok(Cancelled::Leased(open.owner.model));
    }
    open.uncount(tally);
    Ok(Cancelled::Queued(open.owner.model))
}

/// Revokes one chunk of what has expired.
pub(super) async fn expire(conn: &Conn, now: Timestamp, tally: &mut Tally) -> Result<Expiries, StoreError> {
    let queued = candidates(conn, EXPIRE, now).await?;
    revoke(
        conn,
        &queued.iter().collect::<Vec<_>>(),
        (EXPIRED, false),
        now,
        tally,
    )
    .await?;
    queued.iter().for_each(|open| open.uncount(tally));
    let leased = candidates(conn, OVERDUE_TASKS, now).await?;
    revoke(
        conn,
        &leased.iter().collect::<Vec<_>>(),
        (OVERDUE, true),
        now,
        tally,
    )
    .await?;
    let next = conn.row("cannot look up the next expiry", NEXT, &[]).await?;
    let next: Option<i64> = next.as_ref().map_or(Ok(None), |row| col(row, 0))?;
    let named = |open: Vec<Open>| -> Vec<(TaskId, ModelName)> {
        open.into_iter().map(|open| (open.id, open.owner.model)).collect()
    };
    Ok(Expiries {
        revoked: named(queued),
        stopped: named(leased),
        next: next.map(Timestamp::from_micros),
    })
}

async fn candidates(conn: &Conn, sql: &'static str, now: Timestamp) -> Result<Vec<Open>, StoreError> {
    let rows = conn
        .rows(
            "cannot look for expired tasks",
            sql,
            &[&now.as_micros(), &EXPIRED_MAX],
        )
        .await?;
    rows.iter().map(Open::read).collect()
}

async fn revoke(
    conn: &Conn,
    open: &[&Open],
    (reason, was_leased): (&str, bool),
    now: Timestamp,
    tally: &mut Tally,
) -> Result<(), StoreError> {
    if open.is_empty() {
        return Ok(());
    }
    let outcome = Content::Outcome(Outcome::Revoked {
        reason: reason.into(),
    })
    .encode()?;
    for open in open {
        tally.note(open.id, open.owner.model.as_str(), (State::Revoked, was_leased))?;
    }
    let seqs: Vec<i64> = open.iter().map(|open| open.seq).collect();
    let values: Params<'_> = &[
        &seqs,
        &now.as_micros(),
        &i16::from(outcome.kind),
        &&outcome.bytes[..],
    ];
    let mut told = Vec::new();
    for row in conn.rows("cannot revoke tasks", REVOKE, values).await? {
        told.extend(news(&row, 0, (Event::Revoked, 0), now)?);
    }
    tell(conn, &told, tally).await
}
