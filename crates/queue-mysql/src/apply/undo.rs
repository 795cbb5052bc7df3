//! What was answered as an error, and was committed all the same, is made to be as it was answered. It is the first thing
//! that is done once that is known, so nothing has come of it yet; and it may be done again.

use cresset_queue::kit::remote::Undo;

use super::purge::ids;
use crate::connect::Conn;
use crate::error::StoreError;
use crate::sql::sql;

/// Of one that was born leased the first attempt is ours, so nobody has run it: its lease may have been given back by now.
const FRESH: &str = "\
SELECT id FROM tasks
WHERE id IN (?) AND (state = 0 AND attempts = 0 OR id IN (?) AND state IN (0, 1) AND attempts = 1)";

const TOLD: &str = "DELETE FROM outbox WHERE task IN (?)";

const TASKS: [&str; 5] = [
    "DELETE FROM history WHERE task IN (?)",
    "DELETE FROM inputs WHERE id IN (?)",
    "DELETE FROM idempotency WHERE task IN (?)",
    "DELETE FROM callbacks WHERE task IN (?)",
    "DELETE FROM tasks WHERE id IN (?)",
];

/// The try was none.
const SENDING: &str = "\
UPDATE outbox SET state = 0, due_at = since, tries = tries - 1
WHERE task = ? AND event = ? AND attempt = ? AND fence = ? AND state = 1";

/// On a connection that has the store; what it changes is counted afterwards.
pub(crate) async fn undo(conn: &Conn, undo: &Undo) -> Result<(), StoreError> {
    if undo.is_empty() {
        return Ok(());
    }
    let doing = "cannot undo what was refused";
    let found = conn
        .rows(doing, sql!(FRESH, &undo.submitted[..], &undo.begun[..]))
        .await?;
    let fresh = ids(&found, 0)?;
    let mut statements = vec!["START TRANSACTION".to_owned()];
    statements.extend(TASKS.iter().map(|text| sql!(text, &fresh[..])));
    statements.push(sql!(TOLD, &undo.begun[..]));
    let sendings = undo.sendings.iter();
    statements
        .extend(sendings.map(|(id, fence)| sql!(SENDING, id.task, id.event.code(), id.attempt, *fence)));
    statements.push("COMMIT".to_owned());
    conn.all(doing, &statements).await.map(drop)
}
