//! What was answered as an error, and was committed all the same, is made to be as it was answered. It is the first thing
//! that is done once that is known, so nothing has come of it yet; and it may be done again.

use cresset_queue::kit::remote::Undo;
use uuid::Uuid;

use super::ends::uuid;
use crate::connect::{Conn, Params};
use crate::error::StoreError;

/// Of one that was born leased the first attempt is ours, so nobody has run it: its lease may have been given back by now.
const TASKS: &str = "\
WITH task AS (DELETE FROM tasks WHERE id = ANY ($1) AND (state = 0 AND attempts = 0
                                                        OR id = ANY ($2) AND state IN (0, 1) AND attempts = 1) RETURNING seq),
     told AS (DELETE FROM outbox WHERE task = ANY ($2)),
     past AS (DELETE FROM history WHERE seq IN (SELECT seq FROM task)),
     input AS (DELETE FROM inputs WHERE seq IN (SELECT seq FROM task)),
     key AS (DELETE FROM idempotency WHERE seq IN (SELECT seq FROM task))
DELETE FROM callbacks WHERE seq IN (SELECT seq FROM task)";

/// The try was none.
const SENDINGS: &str = "\
UPDATE outbox SET state = 0, due_at = since, tries = tries - 1, holder = NULL
FROM unnest($1::uuid[], $2::smallint[], $3::bigint[], $4::bigint[]) AS g (task, event, attempt, fence)
WHERE outbox.task = g.task AND outbox.event = g.event AND outbox.attempt = g.attempt AND outbox.fence = g.fence
      AND outbox.state = 1 AND outbox.holder = $5";

/// On a connection that has the store; what it changes is counted afterwards.
/// `me` is who leased them.
pub(crate) async fn undo(conn: &Conn, undo: &Undo, me: i64) -> Result<(), StoreError> {
    if !undo.submitted.is_empty() {
        let ids: Vec<Uuid> = undo.submitted.iter().copied().map(uuid).collect();
        let begun: Vec<Uuid> = undo.begun.iter().copied().map(uuid).collect();
        conn.run("cannot take tasks back", TASKS, &[&ids, &begun]).await?;
    }
    if undo.sendings.is_empty() {
        return Ok(());
    }
    let each = || undo.sendings.iter();
    let tasks: Vec<Uuid> = each().map(|(id, _)| uuid(id.task)).collect();
    let events: Vec<i16> = each().map(|(id, _)| i16::from(id.event.code())).collect();
    let attempts: Vec<i64> = each().map(|(id, _)| i64::from(id.attempt)).collect();
    let fences: Vec<i64> = each().map(|(_, fence)| i64::from(*fence)).collect();
    let values: Params<'_> = &[&tasks, &events, &attempts, &fences, &me];
    conn.run("cannot take deliveries back", SENDINGS, values)
        .await
        .map(drop)
}
