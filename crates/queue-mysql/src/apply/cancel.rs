//! Ends that no holder of a lease reports: cancelled by a caller, or expired.

use cresset_queue::kit::fleet::Tally;
use cresset_queue::kit::{Content, EXPIRED, EXPIRED_MAX, OVERDUE, Owner, STARTED, owner_of, state_of};
use cresset_queue::{Cancelled, Expiries};
use cresset_task::{Event, ModelName, Move, Outcome, State, TaskId, Timestamp};
use mysql_async::Row;

use super::tell::{Callbacks, tell};
use crate::error::{StoreError, col, id};
use crate::payload::{Table, keep};
use crate::sql::sql;
use crate::tx::Tx;

const OPEN_TASK: &str = "\
SELECT seq, id, model, weight, due_at IS NOT NULL, client, state FROM tasks FORCE INDEX (tasks_by_id) WHERE id = ? FOR UPDATE";

const TOMBSTONE: &str = "SELECT 1 FROM tombstones WHERE id = ?";

/// Queued tasks that expired, longest ago first. What another server ends at this moment is its own, here and below.
const EXPIRE: &str = "\
SELECT seq, id, model, weight, due_at IS NOT NULL, client FROM tasks FORCE INDEX (tasks_ending)
WHERE ends_at <= ? AND state IN (0, 2) ORDER BY ends_at LIMIT ? FOR UPDATE SKIP LOCKED";

/// Leased tasks whose deadline has passed, longest ago first.
const OVERDUE_TASKS: &str = "\
SELECT seq, id, model, weight, 0, client FROM tasks FORCE INDEX (tasks_ending)
WHERE ends_at <= ? AND state = 1 ORDER BY ends_at LIMIT ? FOR UPDATE SKIP LOCKED";

const NEXT: &str = "SELECT MIN(ends_at) FROM tasks WHERE ends_at IS NOT NULL";

const REVOKE: &str =
    "UPDATE tasks SET state = 5, finished_at = ?, due_at = NULL, holder = NULL WHERE seq IN (?)";

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
    fn uncount(&self, tally: &mut Tally) {
        tally.counts.add(&self.owner, -1, -self.weight);
        if self.is_delayed {
            tally.counts.delay(&self.owner.model, -1);
        }
    }
}

pub(super) async fn cancel(
    tx: &mut Tx<'_>,
    id: TaskId,
    reason: &str,
    now: Timestamp,
    tally: &mut Tally,
) -> Result<Cancelled, StoreError> {
    let found = tx
        .row("cannot look for a task to cancel", sql!(OPEN_TASK, id))
        .await?;
    let Some(row) = found else {
        let purged = tx.row("cannot read a purged id", sql!(TOMBSTONE, id)).await?;
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
    let was_leased = number == STARTED;
    let what = std::slice::from_ref(&open);
    revoke(tx, what, (reason, was_leased), now, tally).await?;
    if was_leased {
        return Ok(Cancelled::Leased(open.owner.model));
    }
    open.uncount(tally);
    Ok(Cancelled::Queued(open.owner.model))
}

/// Revokes one chunk of what has expired.
pub(super) async fn expire(
    tx: &mut Tx<'_>,
    now: Timestamp,
    tally: &mut Tally,
) -> Result<Expiries, StoreError> {
    let doing = "cannot look for expired tasks";
    let asked = [EXPIRE, OVERDUE_TASKS].map(|text| sql!(text, now.as_micros(), EXPIRED_MAX));
    let found = tx.all(doing, &asked).await?;
    let mut found = found
        .iter()
        .map(|answer| answer.rows.iter().map(Open::read).collect());
    let mut next = || found.next().unwrap_or_else(|| Ok(Vec::new()));
    let (queued, leased): (Vec<Open>, Vec<Open>) = (next()?, next()?);
    revoke(tx, &queued, (EXPIRED, false), now, tally).await?;
    queued.iter().for_each(|open| open.uncount(tally));
    revoke(tx, &leased, (OVERDUE, true), now, tally).await?;
    let next = tx.row("cannot look up the next expiry", NEXT.into()).await?;
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
    tx: &mut Tx<'_>,
    open: &[Open],
    (reason, was_leased): (&str, bool),
    now: Timestamp,
    tally: &mut Tally,
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
    let doing = "cannot revoke tasks";
    tx.later(doing, [sql!(REVOKE, now.as_micros(), &seqs[..])]);
    keep(tx, Table::Outcomes, &outcomes).await?;
    let answers = tx.all(doing, &[Callbacks::asked(&ids)]).await?;
    let callbacks = Callbacks::read(answers.into_iter().next())?;
    let mut told = Vec::new();
    for open in open {
        let model = open.owner.model.as_str();
        tally.note(open.id, model, (State::Revoked, was_leased))?;
        told.extend(callbacks.news((open.id, model), (Event::Revoked, 0), now)?);
    }
    tell(tx, &told, tally).await
}
