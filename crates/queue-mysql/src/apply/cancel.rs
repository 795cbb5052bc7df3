//! Ends that no holder of a lease reports: cancelled by a caller, or expired.

use std::collections::HashMap;

use cresset_queue::kit::{
    Change, Content, EXPIRED, EXPIRED_MAX, OVERDUE, Owner, STARTED, owner_of, state_of,
};
use cresset_queue::{Cancelled, Expiries};
use cresset_task::{Event, ModelName, Move, Outcome, TaskId, Timestamp};
use mysql_async::Row;

use super::tell::{CALLBACKS, news, tell};
use crate::connect::Conn;
use crate::error::{StoreError, col, id};
use crate::payload::{Table, keep};
use crate::sql::sql;

const OPEN_TASK: &str =
    "SELECT seq, id, model, weight, due_at IS NOT NULL, client, state FROM tasks WHERE id = ?";

const TOMBSTONE: &str = "SELECT 1 FROM tombstones WHERE id = ?";

/// Queued tasks that expired, longest ago first.
const EXPIRE: &str = "\
SELECT seq, id, model, weight, due_at IS NOT NULL, client FROM tasks
WHERE ends_at <= ? AND state IN (0, 2) ORDER BY ends_at LIMIT ?";

/// Leased tasks whose deadline has passed, longest ago first.
const OVERDUE_TASKS: &str = "\
SELECT seq, id, model, weight, 0, client FROM tasks WHERE ends_at <= ? AND state = 1 ORDER BY ends_at LIMIT ?";

const NEXT: &str = "SELECT MIN(ends_at) FROM tasks WHERE ends_at IS NOT NULL";

const REVOKE: &str = "UPDATE tasks SET state = 5, finished_at = ?, due_at = NULL WHERE seq IN (?)";

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
        let (model, client): (String, Option<String>) = (col(row, 2)?, col(row, 5)?);
        Ok(Self {
            seq: col(row, 0)?,
            id: id(row, 1)?,
            owner: owner_of(&model, client.as_deref())?,
            weight: col(row, 3)?,
            is_delayed: col(row, 4)?,
        })
    }

    /// It is no longer queued.
    fn uncount(&self, change: &mut Change) {
        change.add(&self.owner, -1, -self.weight);
        if self.is_delayed {
            change.delay(&self.owner.model, -1);
        }
    }
}

pub(super) async fn cancel(
    conn: &Conn,
    id: TaskId,
    reason: &str,
    now: Timestamp,
    change: &mut Change,
) -> Result<Cancelled, StoreError> {
    let found = conn
        .row("cannot look for a task to cancel", sql!(OPEN_TASK, id))
        .await?;
    let Some(row) = found else {
        let purged = conn.row("cannot read a purged id", sql!(TOMBSTONE, id)).await?;
        return Ok(match purged {
            Some(_) => Cancelled::Expired,
            None => Cancelled::Unknown,
        });
    };
    let number: i64 = col(&row, 6)?;
    let state = state_of(number)?;
    if state.after(Move::Revoke).is_err() {
        return Ok(Cancelled::Ended(state));
    }
    let open = Open::read(&row)?;
    revoke(conn, std::slice::from_ref(&open), reason, now, change).await?;
    if number == STARTED {
        return Ok(Cancelled::Leased(open.owner.model));
    }
    open.uncount(change);
    Ok(Cancelled::Queued(open.owner.model))
}

/// Revokes one chunk of what has expired.
pub(super) async fn expire(conn: &Conn, now: Timestamp, change: &mut Change) -> Result<Expiries, StoreError> {
    let doing = "cannot look for expired tasks";
    let asked = [EXPIRE, OVERDUE_TASKS].map(|text| sql!(text, now.as_micros(), EXPIRED_MAX));
    let found = conn.all(doing, &asked).await?;
    let mut found = found
        .iter()
        .map(|answer| answer.rows.iter().map(Open::read).collect());
    let mut next = || found.next().unwrap_or_else(|| Ok(Vec::new()));
    let (queued, leased): (Vec<Open>, Vec<Open>) = (next()?, next()?);
    revoke(conn, &queued, EXPIRED, now, change).await?;
    queued.iter().for_each(|open| open.uncount(change));
    revoke(conn, &leased, OVERDUE, now, change).await?;
    let next = conn.row("cannot look up the next expiry", NEXT.into()).await?;
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

async fn revoke(
    conn: &Conn,
    open: &[Open],
    reason: &str,
    now: Timestamp,
    change: &mut Change,
) -> Result<(), StoreError> {
    if open.is_empty() {
        return Ok(());
    }
    let outcome = Outcome::Revoked {
        reason: reason.into(),
    };
    let outcome = Content::Outcome(outcome).encode()?;
    let seqs: Vec<i64> = open.iter().map(|open| open.seq).collect();
    let ids: Vec<TaskId> = open.iter().map(|open| open.id).collect();
    let outcomes: Vec<_> = ids.iter().map(|id| (*id, &outcome)).collect();
    let mut statements = vec![
        sql!(CALLBACKS, &ids[..]),
        sql!(REVOKE, now.as_micros(), &seqs[..]),
    ];
    keep(conn, Table::Outcomes, &outcomes, &mut statements).await?;
    let answers = conn.all("cannot revoke tasks", &statements).await?;
    let mut callbacks = HashMap::new();
    for row in answers.first().map(|answer| &answer.rows[..]).unwrap_or_default() {
        callbacks.insert(id(row, 0)?, row);
    }
    let mut told = Vec::new();
    for open in open {
        if let Some(row) = callbacks.get(&open.id) {
            let whose = (open.id, open.owner.model.as_str());
            told.extend(news(whose, (row, 1), (Event::Revoked, 0), now)?);
        }
    }
    tell(conn, &told, change).await
}
