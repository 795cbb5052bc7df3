//! Many operations in one transaction, and what is counted.

use cresset_queue::kit::{Change, Ttl, client_of, model_of};
use cresset_task::Timestamp;

use crate::apply::apply;
use crate::connect::Conn;
use crate::error::{StoreError, col};
use crate::op::Op;
use crate::owner::Owner;
use crate::sql::sql;

/// Every group counts itself, under the epoch that it may be written in.
const FENCE: &str = "UPDATE server SET commits = ? WHERE epoch = ? AND owner = ?";

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
    (owner, number): (Owner, i64),
    ttl: Ttl,
    ops: &mut [Op],
) -> Result<Change, StoreError> {
    let begin = [
        "START TRANSACTION".to_owned(),
        sql!(FENCE, number, owner.epoch, owner.number),
    ];
    let begun = conn.all("cannot write under the server's epoch", &begin).await?;
    if begun.last().is_none_or(|fenced| fenced.found == 0) {
        return Err(StoreError::Fenced(
            "another server has taken over the store since: nothing was written".into(),
        ));
    }
    let mut change = Change::default();
    apply(conn, ops, ttl, &mut change).await?;
    look_up(conn, &mut change).await?;
    Ok(change)
}

/// What may have changed and is no sum of the operations: first due times.
async fn look_up(conn: &Conn, change: &mut Change) -> Result<(), StoreError> {
    let models = change.due_wanted();
    let mut asked: Vec<String> = models
        .iter()
        .map(|model| sql!(NEXT_DUE, model.as_str()))
        .collect();
    if change.outbox.is_touched() {
        asked.push(NEXT_TOLD.to_owned());
    }
    if asked.is_empty() {
        return Ok(());
    }
    let answers = conn.all("cannot look up what is due next", &asked).await?;
    let mut rows = answers.iter().map(|answer| answer.rows.first());
    for model in &models {
        let due: Option<i64> = rows.next().flatten().map_or(Ok(None), |row| col(row, 0))?;
        change.due(model, due.map(Timestamp::from_micros));
    }
    if let Some(Some(row)) = rows.next() {
        change.outbox.next(col(row, 0)?, col(row, 1)?);
    }
    Ok(())
}

/// Everything that is counted, as the tables have it now. Only the owner changes it.
pub(crate) async fn count(conn: &Conn) -> Result<Change, StoreError> {
    let asked = [COUNT_QUEUED, COUNT_CLIENTS, COUNT_OUTBOX].map(str::to_owned);
    let answers = conn.all("cannot count what is queued", &asked).await?;
    let rows = |at: usize| answers.get(at).map(|answer| &answer.rows[..]).unwrap_or_default();
    let mut change = Change::default();
    for row in rows(0) {
        let model = model_of(&col::<String>(row, 0)?)?;
        change.add_to_model(&model, col(row, 1)?, col(row, 2)?);
        change.delay(&model, col(row, 3)?);
        if let Some(due) = col::<Option<i64>>(row, 4)? {
            change.due(&model, Some(Timestamp::from_micros(due)));
        }
    }
    for row in rows(1) {
        if let Some(client) = client_of(Some(&col::<String>(row, 0)?))? {
            change.add_to_client(&client, col(row, 1)?, col(row, 2)?);
        }
    }
    for row in rows(2) {
        change.outbox.add(&col::<String>(row, 0)?, col(row, 1)?);
    }
    change.outbox.touch();
    look_up(conn, &mut change).await?;
    Ok(change)
}
