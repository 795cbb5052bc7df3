//! Dead letters: what the writer does with them.
//!
//! The input of a task is its letter's from the step on that ends the task, so that a purge of the task leaves it alone.

use cresset_queue::kit::{Change, Doom, PURGE_ROWS_MAX, as_number};
use cresset_queue::{LetterFilter, Replayed};
use cresset_task::{TaskId, Tenant};

use super::purge::{count, ids, within_bytes};
use super::submit::{submit, taken};
use crate::connect::Conn;
use crate::error::{StoreError, id_or_none};
use crate::sql::sql;
use crate::submission::Submission;

const ADD: &str = "\
INSERT INTO letters (id, model, version, created_at, died_at, priority, metadata, evidence, tenant, retry, size)
SELECT t.id, t.model, t.version, t.created_at, t.finished_at, t.priority, t.metadata, ?, t.tenant, t.retry,
       (SELECT COALESCE(SUM(i.size), 0) FROM inputs AS i WHERE i.id = t.id)
FROM tasks AS t WHERE t.seq = ?";

const REPLAYED: &str = "SELECT replayed_as FROM letters WHERE id = ?";

const REPLAY_OF: &str = "UPDATE tasks SET replay_of = ? WHERE id = ?";
const REPLAYED_AS: &str = "UPDATE letters SET replayed_as = ? WHERE id = ?";

/// The oldest first.
const DOOMED: &str = "\
SELECT seq, size, id FROM letters WHERE died_at < ? AND (? IS NULL OR model = ?) AND (? IS NULL OR tenant = ?)
ORDER BY died_at LIMIT ?";

const REMOVE: &str = "DELETE FROM letters WHERE seq IN (?)";
const REMOVE_INPUT: &str =
    "DELETE FROM inputs WHERE id = ? AND EXISTS (SELECT 1 FROM letters AS l WHERE l.id = inputs.id)";
const REMOVE_ONE: &str = "DELETE FROM letters WHERE id = ?";

/// Leaves a letter for the task in this row, which has ended.
pub(super) fn add(seq: i64, evidence: &str) -> String {
    sql!(ADD, evidence, seq)
}

/// Queues the task that a letter is replayed as, unless there is one; an error when its id is taken.
pub(super) async fn replay(
    conn: &Conn,
    letter: TaskId,
    task: &Submission,
    change: &mut Change,
) -> Result<Result<Replayed, StoreError>, StoreError> {
    let found = conn
        .row("cannot look up a dead letter", sql!(REPLAYED, letter))
        .await?;
    let Some(row) = found else {
        return Ok(Ok(Replayed::Unknown));
    };
    if let Some(before) = id_or_none(&row, 0)? {
        return Ok(Ok(Replayed::Before(before)));
    }
    let submitted = submit(conn, &[task], change).await?;
    if submitted.into_iter().flatten().next().is_none() {
        return Ok(Err(taken(task.id)));
    }
    let link = [
        sql!(REPLAY_OF, letter, task.id),
        sql!(REPLAYED_AS, task.id, letter),
    ];
    conn.all("cannot link a replay to its letter", &link).await?;
    Ok(Ok(Replayed::New))
}

/// Throws letters away; says how many.
pub(super) async fn discard(conn: &Conn, doom: &Doom) -> Result<usize, StoreError> {
    match doom {
        Doom::One(id) => {
            let statements = [sql!(REMOVE_INPUT, *id), sql!(REMOVE_ONE, *id)];
            let answers = conn.all("cannot throw a dead letter away", &statements).await?;
            Ok(answers.last().map_or(0, |answer| count(answer.found)))
        }
        Doom::Matching(filter) => {
            let before = filter.before.map_or(i64::MAX, |at| at.as_micros());
            remove(conn, before, filter, PURGE_ROWS_MAX).await
        }
    }
}

/// Forgets one chunk of letters that died before this instant.
pub(super) async fn purge(conn: &Conn, died_before: i64, limit: usize) -> Result<usize, StoreError> {
    remove(conn, died_before, &LetterFilter::default(), limit).await
}

async fn remove(conn: &Conn, before: i64, filter: &LetterFilter, limit: usize) -> Result<usize, StoreError> {
    let model = filter.model.as_ref().map(|model| model.as_str());
    let tenant = filter.tenant.as_ref().map(Tenant::as_str);
    let doing = "cannot throw dead letters away";
    let asked = sql!(DOOMED, before, model, model, tenant, tenant, as_number(limit));
    let mut rows = conn.rows(doing, asked).await?;
    let chunk = within_bytes(&rows)?;
    if chunk.is_empty() {
        return Ok(0);
    }
    rows.truncate(chunk.len());
    let inputs = ids(&rows, 2)?;
    let statements = [
        sql!("DELETE FROM inputs WHERE id IN (?)", &inputs[..]),
        sql!(REMOVE, &chunk[..]),
    ];
    conn.all(doing, &statements).await?;
    Ok(chunk.len())
}
