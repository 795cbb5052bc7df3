//! What the writer is asked to do with bulks.

use cresset_queue::kit::{self, BulkPlace, Change};
use cresset_queue::{BulkAdded, BulkMade, BulkSealed, NewBulk};
use cresset_task::{BulkId, Tenant, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};

use crate::apply::{submit, taken};
use crate::error::StoreError;
use crate::op::Slot;
use crate::place::Kept;
use crate::queries;

/// A line, its task's input already in stored form.
pub(crate) type Line = kit::Line<Kept>;

/// An operation.
#[derive(Debug)]
pub(crate) enum BulkOp {
    Make {
        new: NewBulk,
        slot: Slot<BulkMade>,
    },
    Add {
        id: BulkId,
        first: u64,
        lines: Vec<Line>,
        now: Timestamp,
        slot: Slot<BulkAdded>,
    },
    Seal {
        id: BulkId,
        total: u64,
        slot: Slot<BulkSealed>,
    },
    Cancel {
        id: BulkId,
        now: Timestamp,
        slot: Slot<bool>,
    },
}

impl BulkOp {
    pub(crate) fn apply(&mut self, conn: &Connection, change: &mut Change) -> Result<(), StoreError> {
        match self {
            Self::Make { new, slot } => {
                slot.set(Ok(
                    make(conn, new).map_err(StoreError::sqlite("cannot make a bulk"))?
                ));
            }
            Self::Add {
                id,
                first,
                lines,
                now,
                slot,
            } => slot.set(Ok(add(conn, (*id, *first), lines, *now, change)?)),
            Self::Seal { id, total, slot } => {
                let sealed = seal(conn, *id, *total);
                slot.set(Ok(sealed.map_err(StoreError::sqlite("cannot seal a bulk"))?));
            }
            Self::Cancel { id, now, slot } => {
                let cancelled = conn
                    .prepare_cached(queries::BULK_CANCEL)
                    .and_then(|mut query| query.execute(params![id.as_bytes(), now.as_micros()]))
                    .map_err(StoreError::sqlite("cannot cancel a bulk"))?;
                slot.set(Ok(cancelled > 0));
            }
        }
        Ok(())
    }

    /// Bytes it brings into the transaction.
    pub(crate) fn weight(&self) -> usize {
        let Self::Add { lines, .. } = self else { return 0 };
        let weight = |line: &Line| match line {
            Line::Task(task) => task.input.weight(),
            Line::Wrong(error) => error.len(),
        };
        lines.iter().map(weight).sum()
    }

    pub(crate) fn settle(self) {
        match self {
            Self::Make { slot, .. } => slot.settle("bulk_make", |made| made),
            Self::Add { lines, slot, .. } => {
                let skipped = |new: usize| lines.len().saturating_sub(new);
                let mut from = lines.len();
                slot.answered(|added| {
                    if let BulkAdded::Added(new) = added {
                        from = skipped(*new);
                    }
                    true
                });
                for line in lines.into_iter().skip(from) {
                    if let Line::Task(task) = line {
                        task.input.keep();
                    }
                }
                slot.settle("bulk_add", |added| added);
            }
            Self::Seal { slot, .. } => slot.settle("bulk_seal", |sealed| sealed),
            Self::Cancel { slot, .. } => slot.settle("bulk_cancel", |is_there| is_there),
        }
    }

    /// What it would have kept is the caller's to drop.
    pub(crate) fn fail(self, error: StoreError) -> Vec<Kept> {
        match self {
            Self::Make { slot, .. } => slot.fail("bulk_make", error),
            Self::Add { lines, slot, .. } => {
                slot.fail("bulk_add", error);
                let inputs = lines.into_iter().filter_map(|line| match line {
                    Line::Task(task) => Some(task.input),
                    Line::Wrong(_) => None,
                });
                return inputs.collect();
            }
            Self::Seal { slot, .. } => slot.fail("bulk_seal", error),
            Self::Cancel { slot, .. } => slot.fail("bulk_cancel", error),
        }
        Vec::new()
    }
}

fn make(conn: &Connection, new: &NewBulk) -> rusqlite::Result<BulkMade> {
    let key = new.key.as_ref().map(|key| key.as_str());
    let made = conn.prepare_cached(queries::BULK_MAKE)?.execute(params![
        new.id.as_bytes(),
        new.model.as_str(),
        new.tenant.as_ref().map(Tenant::as_str),
        key,
        new.metadata.as_deref(),
        new.created_at.as_micros(),
    ])?;
    if made > 0 {
        return Ok(BulkMade::New);
    }
    let known = conn
        .prepare_cached(queries::BULK_KNOWN)?
        .query_row(params![new.model.as_str(), key], |row| row.get(0))?;
    Ok(BulkMade::Known(BulkId::from_bytes(known)))
}

fn place(conn: &Connection, id: BulkId) -> rusqlite::Result<Option<BulkPlace>> {
    conn.prepare_cached(queries::BULK_PLACE)?
        .query_row([id.as_bytes()], |row| {
            Ok(BulkPlace {
                seq: row.get(0)?,
                accepted: row.get::<_, i64>(1)?.cast_unsigned(),
                total: row.get::<_, Option<i64>>(2)?.map(i64::cast_unsigned),
                is_cancelled: row.get(3)?,
            })
        })
        .optional()
}

fn add(
    conn: &Connection,
    (id, first): (BulkId, u64),
    lines: &[Line],
    now: Timestamp,
    change: &mut Change,
) -> Result<BulkAdded, StoreError> {
    let broken = StoreError::sqlite("cannot look up a bulk");
    let Some(bulk) = place(conn, id).map_err(broken)? else {
        return Ok(BulkAdded::Unknown);
    };
    let fresh = match bulk.fresh(first, lines) {
        Ok(fresh) => fresh,
        Err(answer) => return Ok(answer),
    };
    let mut wrong = 0_i64;
    for (number, line) in (bulk.accepted.cast_signed()..).zip(fresh) {
        match line {
            Line::Task(task) => {
                submit(conn, task, change)?.ok_or_else(|| taken(task.id))?;
                conn.prepare_cached(queries::BULK_TASK)
                    .and_then(|mut query| query.execute(params![task.id.as_bytes(), bulk.seq, number]))
                    .map_err(StoreError::sqlite("cannot put a task into its bulk"))?;
            }
            Line::Wrong(error) => {
                wrong += 1;
                conn.prepare_cached(queries::BULK_WRONG)
                    .and_then(|mut query| query.execute(params![bulk.seq, number, error]))
                    .map_err(StoreError::sqlite("cannot note a line that is wrong"))?;
            }
        }
    }
    conn.prepare_cached(queries::BULK_ACCEPTED)
        .and_then(|mut query| query.execute(params![bulk.seq, fresh.len() as i64, wrong, now.as_micros()]))
        .map_err(StoreError::sqlite("cannot count the lines of a bulk"))?;
    Ok(BulkAdded::Added(fresh.len()))
}

fn seal(conn: &Connection, id: BulkId, total: u64) -> rusqlite::Result<BulkSealed> {
    let Some(bulk) = place(conn, id)? else {
        return Ok(BulkSealed::Unknown);
    };
    if bulk.accepted != total {
        return Ok(BulkSealed::Differs(bulk.accepted));
    }
    conn.prepare_cached(queries::BULK_SEAL)?.execute([bulk.seq])?;
    Ok(BulkSealed::Sealed)
}
