//! Dead letters: what the writer does with them.
//!
//! The input moves from its task to the letter in the step that ends the task, so that a purge of the task has nothing to do
//! with it.

use cresset_queue::kit::fleet::Tally;
use cresset_queue::kit::{Doom, PURGE_ROWS_MAX, as_number};
use cresset_queue::{LetterFilter, Replayed};
use cresset_task::{TaskId, Tenant};
use uuid::Uuid;

use super::ends::uuid;
use super::purge::within_bytes;
use super::submit::{submit, taken};
use crate::connect::Conn;
use crate::error::{StoreError, col};
use crate::submission::Submission;

const ADD: &str = "\
WITH input AS (DELETE FROM inputs WHERE seq = $1 RETURNING seq, kind, bytes)
INSERT INTO letters (id, model, version, created_at, died_at, priority, metadata, evidence, tenant, retry, kind, bytes)
SELECT t.id, t.model, t.version, t.created_at, t.finished_at, t.priority, t.metadata, $2, t.tenant, t.retry, i.kind,
       i.bytes
FROM tasks AS t JOIN input AS i ON i.seq = t.seq";

const REPLAYED: &str = "SELECT seq, replayed_as FROM letters WHERE id = $1 FOR UPDATE";

const LINK: &str = "\
WITH task AS (UPDATE tasks SET replay_of = $2 WHERE id = $1)
UPDATE letters SET replayed_as = $1 WHERE id = $2";

/// The oldest first.
const DOOMED: &str = "\
SELECT seq, length(bytes)::bigint FROM letters
WHERE died_at < $1 AND ($2::text IS NULL OR model = $2) AND ($3::text IS NULL OR tenant = $3)
ORDER BY died_at LIMIT $4 FOR UPDATE SKIP LOCKED";

const REMOVE: &str = "DELETE FROM letters WHERE seq = ANY ($1)";
const REMOVE_ONE: &str = "DELETE FROM letters WHERE id = $1";

/// Leaves a letter for the task in this row, which has ended, and takes its input there.
pub(super) async fn add(conn: &Conn, seq: i64, evidence: &str) -> Result<(), StoreError> {
    conn.run("cannot leave a dead letter", ADD, &[&seq, &evidence])
        .await
        .map(drop)
}

/// Queues the task that a letter is replayed as, unless there is one; an error when its id is taken.
pub(super) async fn replay(
    conn: &Conn,
    letter: TaskId,
    task: &Submission,
    tally: &mut Tally,
) -> Result<Result<Replayed, StoreError>, StoreError> {
    let found = conn
        .row("cannot look up a dead letter", REPLAYED, &[&uuid(letter)])
        .await?;
    let Some(row) = found else {
        return Ok(Ok(Replayed::Unknown));
    };
    if let Some(before) = col::<Option<Uuid>>(&row, 1)? {
        return Ok(Ok(Replayed::Before(TaskId::from_bytes(*before.as_bytes()))));
    }
    if submit(conn, &[task], tally)
        .await?
        .into_iter()
        .flatten()
        .next()
        .is_none()
    {
        return Ok(Err(taken(task.id)));
    }
    let (task, letter) = (uuid(task.id), uuid(letter));
    conn.run("cannot link a replay to its letter", LINK, &[&task, &letter])
        .await?;
    Ok(Ok(Replayed::New))
}

/// Throws letters away; says how many.
pub(super) async fn discard(conn: &Conn, doom: &Doom) -> Result<usize, StoreError> {
    match doom {
        Doom::One(id) => {
            let id = uuid(*id);
            conn.run("cannot throw a dead letter away", REMOVE_ONE, &[&id])
                .await
                .map(super::purge::count)
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
    let rows = conn
        .rows(doing, DOOMED, &[&before, &model, &tenant, &as_number(limit)])
        .await?;
    let chunk = within_bytes(&rows)?;
    if !chunk.is_empty() {
        conn.run(doing, REMOVE, &[&chunk]).await?;
    }
    Ok(chunk.len())
}
