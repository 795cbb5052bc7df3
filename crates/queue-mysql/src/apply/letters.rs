//! Dead letters: what the writer does with them.
//!
//! The input of a task is its letter's from the step on that ends the task, so that a purge of the task leaves it alone.

use cresset_queue::kit::fleet::Tally;
use cresset_queue::kit::{Doom, PURGE_ROWS_MAX, as_number};
use cresset_queue::{LetterFilter, Replayed};
use cresset_task::{TaskId, Tenant};
use mysql_async::Row;

use super::purge::{ids, within_bytes};
use super::submit::{submit, taken};
use crate::error::{StoreError, id_or_none};
use crate::sql::sql;
use crate::submission::Submission;
use crate::tx::Tx;

const ADD: &str = "\
INSERT INTO letters (id, model, version, created_at, died_at, priority, metadata, evidence, tenant, retry, size)
SELECT t.id, t.model, t.version, t.created_at, t.finished_at, t.priority, t.metadata, ?, t.tenant, t.retry,
       (SELECT COALESCE(SUM(i.size), 0) FROM inputs AS i WHERE i.id = t.id)
FROM tasks AS t WHERE t.seq = ?";

const REPLAYED: &str = "SELECT replayed_as FROM letters FORCE INDEX (letters_by_id) WHERE id = ? FOR UPDATE";

const REPLAY_OF: &str = "UPDATE tasks SET replay_of = ? WHERE id = ?";
const REPLAYED_AS: &str = "UPDATE letters SET replayed_as = ? WHERE id = ?";

/// The oldest first.
const DOOMED: &str = "\
SELECT seq, size, id FROM letters FORCE INDEX (letters_by_time)
WHERE died_at < ? AND (? IS NULL OR model = ?) AND (? IS NULL OR tenant = ?) ORDER BY died_at LIMIT ? FOR UPDATE SKIP LOCKED";

const REMOVE: [&str; 2] = [
    "DELETE i FROM inputs AS i FORCE INDEX (PRIMARY) WHERE i.id IN (?)",
    "DELETE l FROM letters AS l FORCE INDEX (PRIMARY) WHERE l.seq IN (?)",
];

const ONE: &str = "SELECT seq, size, id FROM letters FORCE INDEX (letters_by_id) WHERE id = ? FOR UPDATE";

/// Leaves a letter for the task in this row, which has ended.
pub(super) fn add(seq: i64, evidence: &str) -> String {
    sql!(ADD, evidence, seq)
}

/// Queues the task that a letter is replayed as, unless there is one; an error when its id is taken.
pub(super) async fn replay(
    tx: &mut Tx<'_>,
    letter: TaskId,
    task: &Submission,
    tally: &mut Tally,
) -> Result<Result<Replayed, StoreError>, StoreError> {
    let found = tx
        .row("cannot look up a dead letter", sql!(REPLAYED, letter))
        .await?;
    let Some(row) = found else {
        return Ok(Ok(Replayed::Unknown));
    };
    if let Some(before) = id_or_none(&row, 0)? {
        return Ok(Ok(Replayed::Before(before)));
    }
    let submitted = submit(tx, &[task], tally).await?;
    if submitted.into_iter().flatten().next().is_none() {
        return Ok(Err(taken(task.id)));
    }
    let link = [
        sql!(REPLAY_OF, letter, task.id),
        sql!(REPLAYED_AS, task.id, letter),
    ];
    tx.later("cannot link a replay to its letter", link);
    Ok(Ok(Replayed::New))
}

/// Throws letters away; says how many.
pub(super) async fn discard(tx: &mut Tx<'_>, doom: &Doom) -> Result<usize, StoreError> {
    match doom {
        Doom::One(id) => {
            let doing = "cannot throw a dead letter away";
            let found = tx.rows(doing, sql!(ONE, *id)).await?;
            throw(tx, doing, found).await
        }
        Doom::Matching(filter) => {
            let before = filter.before.map_or(i64::MAX, |at| at.as_micros());
            remove(tx, before, filter, PURGE_ROWS_MAX).await
        }
    }
}

/// Forgets one chunk of letters that died before this instant.
pub(super) async fn purge(tx: &mut Tx<'_>, died_before: i64, limit: usize) -> Result<usize, StoreError> {
    remove(tx, died_before, &LetterFilter::default(), limit).await
}

async fn remove(
    tx: &mut Tx<'_>,
    before: i64,
    filter: &LetterFilter,
    limit: usize,
) -> Result<usize, StoreError> {
    let model = filter.model.as_ref().map(|model| model.as_str());
    let tenant = filter.tenant.as_ref().map(Tenant::as_str);
    let doing = "cannot throw dead letters away";
    let asked = sql!(DOOMED, before, model, model, tenant, tenant, as_number(limit));
    let found = tx.rows(doing, asked).await?;
    throw(tx, doing, found).await
}

/// Of these letters, as many as one chunk takes; how many.
async fn throw(tx: &mut Tx<'_>, doing: &'static str, mut found: Vec<Row>) -> Result<usize, StoreError> {
    let chunk = within_bytes(&found)?;
    if chunk.is_empty() {
        return Ok(0);
    }
    found.truncate(chunk.len());
    let inputs = ids(&found, 2)?;
    let [remove_inputs, remove] = REMOVE;
    let statements = [sql!(remove_inputs, &inputs[..]), sql!(remove, &chunk[..])];
    tx.later(doing, statements);
    Ok(chunk.len())
}
