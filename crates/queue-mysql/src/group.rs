//! Many operations in one transaction, and what is counted.
//!
//! Where other servers are on the store, the transaction tells them what it comes to. A server that has just come waits for
//! the groups under way before it counts (see `member`), and every later one sees it: so none falls between.

use std::collections::HashMap;

use cresset_queue::kit::fleet::Tally;
use cresset_queue::kit::{Change, Ttl, client_of, model_of};
use cresset_task::Timestamp;

use crate::apply::apply;
use crate::connect::Conn;
use crate::error::{StoreError, col};
use crate::locks::now_micros;
use crate::member::Member;
use crate::notes;
use crate::op::Op;
use crate::sql::sql;

/// Every group counts itself, in the row of its server as long as that has not ended.
const FENCE: &str = concat!(
    "UPDATE servers SET commits = ?, seen_at = ",
    now_micros!(),
    " WHERE id = ? AND number = ? AND ended_at IS NULL"
);

/// Looked at once the row above is ours.
const IS_HEARD: &str = "SELECT 1 FROM servers WHERE ended_at IS NULL AND id <> ? LIMIT 1";

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

/// Everything but the commit; what it does to the counts.
pub(crate) async fn work(
    conn: &Conn,
    (member, number): (Member, i64),
    ttl: Ttl,
    ops: &mut [Op],
) -> Result<Change, StoreError> {
    let begin = [
        "START TRANSACTION".to_owned(),
        sql!(FENCE, number, member.id, member.number),
        sql!(IS_HEARD, member.id),
    ];
    let begun = conn.all("cannot write under the server's number", &begin).await?;
    if begun.get(1).is_none_or(|fenced| fenced.found == 0) {
        return Err(StoreError::Fenced(
            "other servers took this one for ended and have given its leases back: nothing was written"
                .into(),
        ));
    }
    let is_heard = begun.get(2).is_some_and(|others| !others.rows.is_empty());
    let mut tally = Tally::of(member.id, is_heard);
    apply(conn, ops, ttl, &mut tally).await?;
    let told = if is_heard {
        notes::of_group(&tally)
    } else {
        Vec::new()
    };
    look_up_and(conn, &mut tally.counts, told).await?;
    Ok(tally.counts)
}

/// What may have changed and is no sum of the operations: first due times.
pub(crate) async fn look_up(conn: &Conn, change: &mut Change) -> Result<(), StoreError> {
    look_up_and(conn, change, Vec::new()).await
}

/// The same, and these statements with it.
async fn look_up_and(conn: &Conn, change: &mut Change, more: Vec<String>) -> Result<(), StoreError> {
    let models = change.due_wanted();
    let mut asked: Vec<String> = models
        .iter()
        .map(|model| sql!(NEXT_DUE, model.as_str()))
        .collect();
    if change.outbox.is_touched() {
        asked.push(NEXT_TOLD.to_owned());
    }
    asked.extend(more);
    if asked.is_empty() {
        return Ok(());
    }
    let answers = conn.all("cannot look up what is due next", &asked).await?;
    let mut rows = answers.iter().map(|answer| answer.rows.first());
    for model in &models {
        let due: Option<i64> = rows.next().flatten().map_or(Ok(None), |row| col(row, 0))?;
        change.due(model, due.map(Timestamp::from_micros));
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
