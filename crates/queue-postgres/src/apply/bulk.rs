//! Bulks: what the writer does with them.

use cresset_queue::kit::fleet::Tally;
use cresset_queue::kit::{BulkPlace, as_number};
use cresset_queue::{BulkAdded, BulkMade, BulkSealed, NewBulk};
use cresset_task::{BulkId, Tenant, Timestamp};
use uuid::Uuid;

use super::ends::uuid;
use super::purge::count;
use super::submit::{submit, taken};
use crate::connect::{Conn, Params, text};
use crate::error::{StoreError, col};
use crate::op::Line;

/// Nothing when the key is known.
const MAKE: &str = "\
INSERT INTO bulks (id, model, tenant, key, metadata, created_at, touched_at) VALUES ($1, $2, $3, $4, $5, $6, $6)
ON CONFLICT (model, key) WHERE key IS NOT NULL DO NOTHING";

const KNOWN: &str = "SELECT id FROM bulks WHERE model = $1 AND key = $2";

/// Lines are counted by one at a time.
const PLACE: &str =
    "SELECT seq, accepted, total, cancelled_at IS NOT NULL FROM bulks WHERE id = $1 FOR UPDATE";

const TASKS: &str = "\
UPDATE tasks AS t SET bulk = $1, line = g.line FROM unnest($2::uuid[], $3::bigint[]) AS g (id, line) WHERE t.id = g.id";

const WRONG: &str = "\
INSERT INTO bulk_wrong (bulk, line, error) SELECT $1, line, error FROM unnest($2::bigint[], $3::text[]) AS g (line, error)";

const ACCEPTED: &str = "\
UPDATE bulks SET accepted = accepted + $2, wrong = wrong + $3, touched_at = greatest(touched_at, $4) WHERE seq = $1";

const SEAL: &str = "UPDATE bulks SET total = accepted WHERE seq = $1";

/// The first one stays.
const CANCEL: &str = "UPDATE bulks SET cancelled_at = coalesce(cancelled_at, $2) WHERE id = $1";

/// Of bulks that have no task left.
const PURGE_WRONG: &str = "\
DELETE FROM bulk_wrong WHERE (bulk, line) IN (
    SELECT w.bulk, w.line FROM bulks AS b JOIN bulk_wrong AS w ON w.bulk = b.seq
    WHERE b.touched_at < $1 AND NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.bulk = b.seq)
    LIMIT $2 FOR UPDATE OF w SKIP LOCKED)";

/// Those that have no task and no line left.
const PURGE: &str = "\
DELETE FROM bulks WHERE seq IN (
    SELECT b.seq FROM bulks AS b
    WHERE b.touched_at < $1 AND NOT EXISTS (SELECT 1 FROM tasks WHERE tasks.bulk = b.seq)
          AND NOT EXISTS (SELECT 1 FROM bulk_wrong AS w WHERE w.bulk = b.seq)
    LIMIT $2 FOR UPDATE OF b SKIP LOCKED)";

pub(crate) fn bulk_uuid(id: BulkId) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}

pub(super) async fn make(conn: &Conn, new: &NewBulk) -> Result<BulkMade, StoreError> {
    let (model, key) = (new.model.as_str(), new.key.as_ref().map(|key| key.as_str()));
    let tenant = new.tenant.as_ref().map(Tenant::as_str);
    let (id, created_at) = (bulk_uuid(new.id), new.created_at.as_micros());
    let values: Params<'_> = &[&id, &model, &tenant, &key, &new.metadata.as_deref(), &created_at];
    if conn.run("cannot make a bulk", MAKE, values).await? > 0 {
        return Ok(BulkMade::New);
    }
    let known = conn
        .row("cannot look up a bulk's key", KNOWN, &[&model, &key])
        .await?;
    let known =
        known.ok_or_else(|| StoreError::Damaged("a bulk's key is known, and its bulk is not".into()))?;
    Ok(BulkMade::Known(BulkId::from_bytes(
        *col::<Uuid>(&known, 0)?.as_bytes(),
    )))
}

async fn place(conn: &Conn, id: BulkId) -> Result<Option<BulkPlace>, StoreError> {
    let row = conn
        .row("cannot look up a bulk", PLACE, &[&bulk_uuid(id)])
        .await?;
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
    conn: &Conn,
    (id, first): (BulkId, u64),
    lines: &[Line],
    now: Timestamp,
    tally: &mut Tally,
) -> Result<BulkAdded, StoreError> {
    let Some(bulk) = place(conn, id).await? else {
        return Ok(BulkAdded::Unknown);
    };
    let fresh = match bulk.fresh(first, lines) {
        Ok(fresh) => fresh,
        Err(answer) => return Ok(answer),
    };
    let (mut tasks, mut task_lines, mut errors, mut error_lines) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (number, line) in (bulk.accepted.cast_signed()..).zip(fresh) {
        match line {
            Line::Task(task) => {
                tasks.push(&**task);
                task_lines.push(number);
            }
            Line::Wrong(error) => {
                errors.push(text(error));
                error_lines.push(number);
            }
        }
    }
    if !tasks.is_empty() {
        let answers = submit(conn, &tasks, tally).await?;
        if let Some((task, _)) = tasks.iter().zip(answers).find(|(_, answer)| answer.is_none()) {
            return Err(taken(task.id));
        }
        let ids: Vec<Uuid> = tasks.iter().map(|task| uuid(task.id)).collect();
        conn.run(
            "cannot put tasks into a bulk",
            TASKS,
            &[&bulk.seq, &ids, &task_lines],
        )
        .await?;
    }
    if !errors.is_empty() {
        let errors: Vec<&str> = errors.iter().map(|error| &**error).collect();
        conn.run(
            "cannot note lines that are wrong",
            WRONG,
            &[&bulk.seq, &error_lines, &errors],
        )
        .await?;
    }
    let (new, wrong) = (as_number(fresh.len()), as_number(error_lines.len()));
    let values: Params<'_> = &[&bulk.seq, &new, &wrong, &now.as_micros()];
    conn.run("cannot count the lines of a bulk", ACCEPTED, values)
        .await?;
    Ok(BulkAdded::Added(fresh.len()))
}

pub(super) async fn seal(conn: &Conn, id: BulkId, total: u64) -> Result<BulkSealed, StoreError> {
    let Some(bulk) = place(conn, id).await? else {
        return Ok(BulkSealed::Unknown);
    };
    if bulk.accepted != total {
        return Ok(BulkSealed::Differs(bulk.accepted));
    }
    conn.run("cannot seal a bulk", SEAL, &[&bulk.seq]).await?;
    Ok(BulkSealed::Sealed)
}

/// False when there is no such bulk.
pub(super) async fn cancel(conn: &Conn, id: BulkId, now: Timestamp) -> Result<bool, StoreError> {
    let cancelled = conn
        .run(
            "cannot cancel a bulk",
            CANCEL,
            &[&bulk_uuid(id), &now.as_micros()],
        )
        .await?;
    Ok(cancelled > 0)
}

/// Removes what nothing is left of, in a chunk: lines that were wrong, then bulks; how many.
pub(super) async fn purge(conn: &Conn, before: i64, max: usize) -> Result<usize, StoreError> {
    let lines = conn
        .run("cannot purge lines", PURGE_WRONG, &[&before, &as_number(max)])
        .await?;
    let lines = count(lines);
    let left = as_number(max.saturating_sub(lines));
    let bulks = conn.run("cannot purge bulks", PURGE, &[&before, &left]).await?;
    Ok(lines + count(bulks))
}
