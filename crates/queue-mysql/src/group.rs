//! Many operations, one transaction, one commit, then all answers. Every answer is sent after the commit, a lease's too.

use std::time::Duration;

use cresset_queue::kit::remote::Trouble as _;
use cresset_queue::kit::{Change, Ttl, client_of, model_of};
use cresset_task::Timestamp;
use tokio::time::timeout;

use crate::apply::apply;
use crate::connect::Conn;
use crate::error::{StoreError, col};
use crate::op::Op;
use crate::owner::Owner;
use crate::sql::sql;

/// What takes longer is given up, with its connection.
const GROUP_LIMIT: Duration = Duration::from_secs(60);

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

/// Why a group was not committed.
pub(crate) enum Failed {
    /// It was rolled back, and the connection is as good as before.
    RolledBack(StoreError),
    /// The connection is gone; it may have been committed if `maybe`.
    Lost { error: StoreError, maybe: bool },
}

/// All of it or nothing of it; what it does to the counts if all.
pub(crate) async fn commit(
    conn: &Conn,
    owner: &mut Owner,
    ttl: Ttl,
    ops: &mut [Op],
) -> Result<Change, Failed> {
    let number = owner.commits + 1;
    let change = match answered(work(conn, (*owner, number), ttl, ops)).await {
        Ok(change) => change,
        Err(error) if !error.is_of_the_connection() => return Err(roll_back(conn, error).await),
        Err(error) => return Err(Failed::Lost { error, maybe: false }),
    };
    match answered(conn.batch("cannot commit", "COMMIT")).await {
        Ok(()) => {
            owner.commits = number;
            Ok(change)
        }
        // A cluster says so of what it will not take.
        Err(error) if error.is_deadlock() => Err(roll_back(conn, error).await),
        // Whatever else is said of a commit: what became of it is looked up on another connection.
        Err(error) => Err(Failed::Lost { error, maybe: true }),
    }
}

/// The answer of the database, unless it takes too long.
pub(crate) async fn answered<T>(what: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let late = || format!("the database did not answer within {GROUP_LIMIT:?}");
    let answer = timeout(GROUP_LIMIT, what).await;
    answer.unwrap_or_else(|_| Err(StoreError::Away(late())))
}

async fn work(
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

async fn roll_back(conn: &Conn, error: StoreError) -> Failed {
    match answered(conn.batch("cannot roll back", "ROLLBACK")).await {
        Ok(()) => Failed::RolledBack(error),
        // The first error is the one to report; the connection is given up.
        _ => Failed::Lost { error, maybe: false },
    }
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
