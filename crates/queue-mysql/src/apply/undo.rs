//! What was answered as an error, and was committed all the same, is made to be as it was answered. It is the first thing
//! that is done once that is known, so nothing has come of it yet; and it may be done again.

use cresset_queue::kit::remote::Undo;

use super::purge::ids;
use crate::connect::Conn;
use crate::error::StoreError;
use crate::sql::sql;

/// As long as no other server has begun with it. Of one that was born leased the first attempt is ours, so nobody has run it: its lease may have been given back by now.
const FRESH: &str = "\
SELECT id FROM tasks FORCE INDEX (tasks_by_id)
WHERE id IN (?) AND (state = 0 AND attempts = 0 OR id IN (?) AND state IN (0, 1) AND attempts = 1) FOR UPDATE";

const TOLD: &str = "DELETE o FROM outbox AS o FORCE INDEX (outbox_by_name) WHERE o.task IN (?)";

const TASKS: [&str; 5] = [
    "DELETE h FROM history AS h FORCE INDEX (PRIMARY) WHERE h.task IN (?)",
    "DELETE i FROM inputs AS i FORCE INDEX (PRIMARY) WHERE i.id IN (?)",
    "DELETE k FROM idempotency AS k FORCE INDEX (idempotency_by_task) WHERE k.task IN (?)",
    "DELETE c FROM callbacks AS c FORCE INDEX (PRIMARY) WHERE c.task IN (?)",
    "DELETE FROM tasks WHERE id IN (?)",
];

/// The try was none.
const SENDING: &str = "\
UPDATE outbox SET state = 0, due_at = since, tries = tries - 1, holder = NULL
WHERE task = ? AND event = ? AND attempt = ? AND fence = ? AND state = 1 AND holder = ?";

/// On a connection that has the store; what it changes is counted afterwards. `me` is who leased them.
pub(crate) async fn undo(conn: &Conn, undo: &Undo, me: i64) -> Result<(), StoreError> {
    if undo.is_empty() {
        return Ok(());
    }
    let doing = "cannot undo what was refused";
    let begin = [
        "START TRANSACTION".to_owned(),
        sql!(FRESH, &undo.submitted[..], &undo.begun[..]),
    ];
    let mut begun = conn.all(doing, &begin).await?;
    let found = begun.pop().map(|answer| answer.rows).unwrap_or_default();
    let fresh = ids(&found, 0)?;
    let mut statements: Vec<String> = TASKS.iter().map(|text| sql!(text, &fresh[..])).collect();
    statements.push(sql!(TOLD, &undo.begun[..]));
    let sendings = undo.sendings.iter();
    statements
        .extend(sendings.map(|(id, fence)| sql!(SENDING, id.task, id.event.code(), id.attempt, *fence, me)));
    statements.push("COMMIT".to_owned());
    conn.all(doing, &statements).await.map(drop)
}
