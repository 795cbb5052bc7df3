//! Bulks: what the writer does with them.

use cresset_queue::kit::fleet::Tally;
use cresset_queue::kit::{BulkPlace, as_number};
use cresset_queue::{BulkAdded, BulkMade, BulkSealed, NewBulk};
use cresset_task::{BulkId, Tenant, Timestamp};

use super::purge::{count, numbers};
use super::submit::{submit_into, taken};
use crate::error::{StoreError, col, id};
use crate::op::Line;
use crate::sql::{insert, row, sql};
use crate::tx::Tx;

const MAKE: &str = "INSERT INTO bulks (id, model, tenant, word, metadata, created_at, touched_at) VALUES (?, ?, ?, ?, ?, ?, ?)";

const KNOWN: &str = "SELECT id FROM bulks WHERE model = ? AND word = ?";

/// Lines are counted by one at a time.
const PLACE: &str = "SELECT seq, accepted, total, cancelled_at IS NOT NULL FROM bulks FORCE INDEX (bulks_by_id) WHERE id = ? FOR UPDATE";

const WRONG: &str = "INSERT INTO bulk_wrong (bulk, line, error)";

const ACCEPTED: &str = "\
UPDATE bulks SET accepted = accepted + ?, wrong = wrong + ?, touched_at = GREATEST(touched_at, ?) WHERE seq = ?";

const SEAL: &str = "UPDATE bulks SET total = accepted WHERE seq = ?";

/// The first one stays.
const CANCEL: &str = "UPDATE bulks SET cancelled_at = COALESCE(cancelled_at, ?) WHERE id = ?";

/// Of bulks that have no task left.
const PURGE_WRONG: &str = "\
DELETE w FROM bulk_wrong AS w JOIN (
    SELECT n.bulk, n.line FROM bulks AS b JOIN bulk_wrong AS n ON n.bulk = b.seq
    WHERE b.touched_at < ? AND NOT EXISTS (SELECT 1 FROM tasks AS t WHERE t.bulk = b.seq)
    LIMIT ?
) AS d ON d.bulk = w.bulk AND d.line = w.line";

/// Those that have no task and no line left.
const FORGOTTEN: &str = "\
SELECT b.seq FROM bulks AS b FORCE INDEX (bulks_touched)
WHERE b.touched_at < ? AND NOT EXISTS (SELECT 1 FROM tasks AS t WHERE t.bulk = b.seq)
      AND NOT EXISTS (SELECT 1 FROM bulk_wrong AS w WHERE w.bulk = b.seq)
LIMIT ? FOR UPDATE SKIP LOCKED";

const PURGE: &str = "DELETE b FROM bulks AS b FORCE INDEX (PRIMARY) WHERE b.seq IN (?)";

pub(super) async fn make(tx: &mut Tx<'_>, new: &NewBulk) -> Result<BulkMade, StoreError> {
    let (model, key) = (new.model.as_str(), new.key.as_ref().map(|key| key.as_str()));
    if key.is_some()
        && let Some(row) = tx
            .row("cannot look up a bulk's key", sql!(KNOWN, model, key))
            .await?
    {
        return Ok(BulkMade::Known(BulkId::from_bytes(*id(&row, 0)?.as_bytes())));
    }
    let at = new.created_at.as_micros();
    let made = sql!(
        MAKE,
        new.id,
        model,
        new.tenant.as_ref().map(Tenant::as_str),
        key,
        new.metadata.as_deref(),
        at,
        at
    );
    tx.later("cannot make a bulk", [made]);
    Ok(BulkMade::New)
}

async fn place(tx: &mut Tx<'_>, id: BulkId) -> Result<Option<BulkPlace>, StoreError> {
    let row = tx.row("cannot look up a bulk", sql!(PLACE, id)).await?;
    let place = |row| {
        Ok(BulkPlace {
            seq: col(&row, 0)?,
            accepted: col::<i64>(&row, 1)?.cast_unsigned(),
            total: col::<Option<i64>>(&row, 2)?.map(i64::cast_unsigned),
            is_cancelled: col(&row, 3)?,
        })
    };
    row.map(place).transpose()
}

pub(super) async fn add(
    tx: &mut Tx<'_>,
    (id, first): (BulkId, u64),
    lines: &[Line],
    now: Timestamp,
    tally: &mut Tally,
) -> Result<BulkAdded, StoreError> {
    let Some(bulk) = place(tx, id).await? else {
        return Ok(BulkAdded::Unknown);
    };
    let fresh = match bulk.fresh(first, lines) {
        Ok(fresh) => fresh,
        Err(answer) => return Ok(answer),
    };
    let (mut tasks, mut task_lines, mut wrong) = (Vec::new(), Vec::new(), Vec::new());
    for (number, line) in (bulk.accepted.cast_signed()..).zip(fresh) {
        match line {
            Line::Task(task) => {
                tasks.push(&**task);
                task_lines.push(number);
            }
            Line::Wrong(error) => wrong.push(row![bulk.seq, number, error]),
        }
    }
    let answers = submit_into(tx, &tasks, Some((bulk.seq, &task_lines)), tally).await?;
    if let Some((task, _)) = tasks.iter().zip(answers).find(|(_, answer)| answer.is_none()) {
        return Err(taken(task.id));
    }
    let (new, not_tasks) = (as_number(fresh.len()), as_number(wrong.len()));
    let mut statements = vec![sql!(ACCEPTED, new, not_tasks, now.as_micros(), bulk.seq)];
    insert(&mut statements, WRONG, wrong, "");
    tx.later("cannot count the lines of a bulk", statements);
    Ok(BulkAdded::Added(fresh.len()))
}

pub(super) async fn seal(tx: &mut Tx<'_>, id: BulkId, total: u64) -> Result<BulkSealed, StoreError> {
    let Some(bulk) = place(tx, id).await? else {
        return Ok(BulkSealed::Unknown);
    };
    if bulk.accepted != total {
        return Ok(BulkSealed::Differs(bulk.accepted));
    }
    tx.later("cannot seal a bulk", [sql!(SEAL, bulk.seq)]);
    Ok(BulkSealed::Sealed)
}

/// False when there is no such bulk.
pub(super) async fn cancel(tx: &mut Tx<'_>, id: BulkId, now: Timestamp) -> Result<bool, StoreError> {
    let cancelled = tx
        .run("cannot cancel a bulk", sql!(CANCEL, now.as_micros(), id))
        .await?;
    Ok(cancelled > 0)
}

/// Removes what nothing is left of, in a chunk: lines that were wrong, then bulks; how many.
pub(super) async fn purge(tx: &mut Tx<'_>, before: i64, max: usize) -> Result<usize, StoreError> {
    let lines = tx
        .run("cannot purge lines", sql!(PURGE_WRONG, before, as_number(max)))
        .await?;
    let lines = count(lines);
    let doing = "cannot purge bulks";
    let left = as_number(max.saturating_sub(lines));
    let bulks = numbers(&tx.rows(doing, sql!(FORGOTTEN, before, left)).await?)?;
    if bulks.is_empty() {
        return Ok(lines);
    }
    let bulks = tx.run(doing, sql!(PURGE, &bulks[..])).await?;
    Ok(lines + count(bulks))
}
