//! Many operations in one transaction, and what is counted.
//!
//! Where other servers are on the store, the transaction tells them what it comes to. A server that has just come waits for
//! the groups under way before it counts (see `member`), and every later one sees it: so none falls between.

use std::collections::HashMap;

use cresset_queue::kit::fleet::Tally;
use cresset_queue::kit::{Change, Ttl, client_of, model_of};
use cresset_task::Timestamp;

use crate::apply::apply;
use crate::connect::{Answer, Conn};
use crate::error::{StoreError, col};
use crate::member::Member;
use crate::notes;
use crate::op::Op;
use crate::sql::sql;
use crate::tx::{Rest, Tx};

const LOOKING: &str = "cannot look up what is due next";

/// What follows is of one moment, on a connection that otherwise takes each statement's own.
const ONE_MOMENT: [&str; 2] = [
    "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ",
    "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
];

const TOLD: &str = "SELECT id, told FROM servers";

const NEXT_DUE: &str = "SELECT MIN(due_at) FROM tasks WHERE model = ? AND due_at IS NOT NULL";

const NEXT_TOLD: &str = "\
SELECT (SELECT MIN(due_at) FROM outbox WHERE due_at IS NOT NULL), (SELECT MIN(at) FROM outbox WHERE settled_at IS NULL)";

const COUNT_QUEUED: &str = "\
SELECT model, COUNT(*), CAST(SUM(weight) AS SIGNED), COUNT(due_at), MIN(due_at) FROM tasks
WHERE finished_at IS NULL AND state IN (0, 2) GROUP BY model";

const COUNT_CLIENTS: &str = "\
SELECT client, COUNT(*), CAST(SUM(weight) AS SIGNED) FROM tasks
WHERE finished_at IS NULL AND state IN (0, 2) AND client IS NOT NULL GROUP BY client";

const COUNT_OUTBOX: &str = "SELECT host, COUNT(*) FROM outbox WHERE settled_at IS NULL GROUP BY host";

/// All of it but what goes along with the commit; what it does to the counts.
pub(crate) async fn work(
    conn: &Conn,
    (member, number): (Member, i64),
    ttl: Ttl,
    ops: &mut [Op],
) -> Result<(Change, Rest), StoreError> {
    let mut tx = Tx::of_group(conn, member, number);
    // Whether anybody listens is known once it has begun.
    let mut tally = Tally::of(member.id, true);
    apply(&mut tx, ops, ttl, &mut tally).await?;
    let asked = asked(&tally.counts);
    if !asked.is_empty() {
        let answers = tx.all(LOOKING, &asked).await?;
        note(&mut tally.counts, &answers)?;
    }
    tx.begun().await?;
    if tx.is_heard() {
        tx.later("cannot tell the other servers", notes::of_group(&tally));
    }
    Ok((tally.counts, tx.rest().await?))
}

/// What may have changed and is no sum of the operations: first due times.
pub(crate) async fn look_up(conn: &Conn, change: &mut Change) -> Result<(), StoreError> {
    let asked = asked(change);
    if asked.is_empty() {
        return Ok(());
    }
    let answers = conn.all(LOOKING, &asked).await?;
    note(change, &answers)
}

/// The statements that ask for them.
fn asked(change: &Change) -> Vec<String> {
    let models = change.due_wanted();
    let mut asked: Vec<String> = models
        .iter()
        .map(|model| sql!(NEXT_DUE, model.as_str()))
        .collect();
    if change.outbox.is_touched() {
        asked.push(NEXT_TOLD.to_owned());
    }
    asked
}

/// What they gave.
fn note(change: &mut Change, answers: &[Answer]) -> Result<(), StoreError> {
    let mut rows = answers.iter().map(|answer| answer.rows.first());
    for model in change.due_wanted() {
        let due: Option<i64> = rows.next().flatten().map_or(Ok(None), |row| col(row, 0))?;
        change.due(&model, due.map(Timestamp::from_micros));
    }
    if change.outbox.is_touched()
        && let Some(Some(row)) = rows.next()
    {
        change.outbox.next(col(row, 0)?, col(row, 1)?);
    }
    Ok(())
}

/// Everything that is counted, as the tables have it at one moment, and what each server had told last at that.
pub(crate) async fn count(conn: &Conn) -> Result<(Change, HashMap<i64, i64>), StoreError> {
    let counts = [TOLD, COUNT_QUEUED, COUNT_CLIENTS, COUNT_OUTBOX];
    let asked = ONE_MOMENT.iter().chain(&counts).chain(&["COMMIT"]);
    let asked: Vec<String> = asked.map(|&text| text.to_owned()).collect();
    let mut answers = conn.all("cannot count what is queued", &asked).await?;
    answers.drain(..ONE_MOMENT.len());
    let rows = |at: usize| answers.get(at).map(|answer| &answer.rows[..]).unwrap_or_default();
    let (mut change, mut told) = (Change::default(), HashMap::new());
    for row in rows(0) {
        told.insert(col(row, 0)?, col(row, 1)?);
    }
    for row in rows(1) {
        let model = model_of(&col::<String>(row, 0)?)?;
        change.add_to_model(&model, col(row, 1)?, col(row, 2)?);
        change.delay(&model, col(row, 3)?);
        if let Some(due) = col::<Option<i64>>(row, 4)? {
            change.due(&model, Some(Timestamp::from_micros(due)));
        }
    }
    for row in rows(2) {
        if let Some(client) = client_of(Some(&col::<String>(row, 0)?))? {
            change.add_to_client(&client, col(row, 1)?, col(row, 2)?);
        }
    }
    for row in rows(3) {
        change.outbox.add(&col::<String>(row, 0)?, col(row, 1)?);
    }
    change.outbox.touch();
    look_up(conn, &mut change).await?;
    Ok((change, told))
}
