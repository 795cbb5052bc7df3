//! What was answered as an error, and was committed all the same, is made to be as it was answered. It is the first thing
//! that is done once that is known, so nothing has come of it yet.

use cresset_queue::kit::{Change, owner_of};
use uuid::Uuid;

use super::ends::uuid;
use crate::connect::{Conn, Params};
use crate::error::{StoreError, col};
use crate::op::Undo;

const TASKS: &str = "\
WITH task AS (
    DELETE FROM tasks WHERE id = ANY ($1) AND state = 0 AND attempts = 0
    RETURNING seq, model, client, weight, due_at IS NOT NULL AS is_delayed
), input AS (DELETE FROM inputs WHERE seq IN (SELECT seq FROM task)),
   key AS (DELETE FROM idempotency WHERE seq IN (SELECT seq FROM task)),
   callback AS (DELETE FROM callbacks WHERE seq IN (SELECT seq FROM task))
SELECT model, client, weight, is_delayed FROM task";

/// The try was none.
const SENDINGS: &str = "\
UPDATE outbox SET state = 0, due_at = since, tries = tries - 1
FROM unnest($1::uuid[], $2::smallint[], $3::bigint[], $4::bigint[]) AS g (task, event, attempt, fence)
WHERE outbox.task = g.task AND outbox.event = g.event AND outbox.attempt = g.attempt AND outbox.fence = g.fence
      AND outbox.state = 1";

pub(super) async fn undo(conn: &Conn, what: &Undo, change: &mut Change) -> Result<(), StoreError> {
    if !what.submitted.is_empty() {
        let ids: Vec<Uuid> = what.submitted.iter().copied().map(uuid).collect();
        for row in conn.rows("cannot take tasks back", TASKS, &[&ids]).await? {
            let owner = owner_of(col(&row, 0)?, col(&row, 1)?)?;
            change.add(&owner, -1, -col::<i64>(&row, 2)?);
            if col(&row, 3)? {
                change.delay(&owner.model, -1);
            }
        }
    }
    if !what.sendings.is_empty() {
        let tasks: Vec<Uuid> = what.sendings.iter().map(|(id, _)| uuid(id.task)).collect();
        let events: Vec<i16> = what
            .sendings
            .iter()
            .map(|(id, _)| i16::from(id.event.code()))
            .collect();
        let attempts: Vec<i64> = what
            .sendings
            .iter()
            .map(|(id, _)| i64::from(id.attempt))
            .collect();
        let fences: Vec<i64> = what.sendings.iter().map(|(_, fence)| i64::from(*fence)).collect();
        let values: Params<'_> = &[&tasks, &events, &attempts, &fences];
        conn.run("cannot take deliveries back", SENDINGS, values).await?;
        change.outbox.touch();
    }
    Ok(())
}
