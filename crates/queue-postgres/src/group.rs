//! Many operations in one transaction, and what is counted.
//!
//! What a lease can do without is the flush: a group in which no answer promises stable storage is committed without waiting
//! for one.
//!
//! Where other servers are on the store, the transaction tells them what it comes to. A server that has just come waits for
//! the groups under way before it counts (see `member`), and every later one sees it: so none falls between.

use cresset_queue::kit::fleet::Tally;
use std::collections::HashMap;

use cresset_queue::kit::{Change, Ttl};
use cresset_task::Timestamp;
use futures_util::future::join3;

use crate::apply::apply;
use crate::connect::{Conn, Params};
use crate::error::{StoreError, col};
use crate::member::Member;
use crate::notes;
use crate::op::Op;
use crate::options::Durability;

/// Every group counts itself, in the row of its server as long as that has not ended.
const FENCE: &str = "\
UPDATE servers SET commits = $1, seen_at = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
WHERE id = $2 AND number = $3 AND ended_at IS NULL";

/// Looked at once the row above is ours.
const IS_HEARD: &str = "SELECT EXISTS (SELECT 1 FROM servers WHERE ended_at IS NULL AND id <> $1)";

const COMMITS: &str = "SELECT id, commits FROM servers";

const NEXT_DUE: &str = "\
SELECT m.model, (SELECT min(t.due_at) FROM tasks AS t WHERE t.model = m.model AND t.due_at IS NOT NULL)
FROM unnest($1::text[]) AS m (model)";

const NEXT_TOLD: &str = "\
SELECT (SELECT min(due_at) FROM outbox WHERE due_at IS NOT NULL), (SELECT min(at) FROM outbox WHERE settled_at IS NULL)";

const COUNT_QUEUED: &str = "\
SELECT model, count(*), sum(weight)::bigint, count(due_at), min(due_at) FROM tasks WHERE state IN (0, 2) GROUP BY model";

const COUNT_CLIENTS: &str = "\
SELECT client, count(*), sum(weight)::bigint FROM tasks WHERE client IS NOT NULL AND state IN (0, 2) GROUP BY client";

const COUNT_OUTBOX: &str = "SELECT host, count(*) FROM outbox WHERE settled_at IS NULL GROUP BY host";

/// Everything but the commit; what it does to the counts.
pub(crate) async fn work(
    conn: &Conn,
    (member, number): (Member, i64),
    (durability, ttl): (Durability, Ttl),
    ops: &mut [Op],
) -> Result<Change, StoreError> {
    let flushed = durability == Durability::Fsync && ops.iter().any(Op::promises_durability);
    let begin = if flushed {
        "BEGIN"
    } else {
        "BEGIN; SET LOCAL synchronous_commit = off"
    };
    // Sent together, and carried out one after the other: the first begins the transaction.
    conn.prepare(&[FENCE, IS_HEARD]).await?;
    let begun = conn.batch("cannot begin a transaction", begin);
    let values: Params<'_> = &[&number, &member.id, &member.number];
    let fenced = conn.run("cannot write under the server's number", FENCE, values);
    let values: Params<'_> = &[&member.id];
    let heard = conn.row("cannot look for other servers", IS_HEARD, values);
    let (begun, fenced, heard) = join3(begun, fenced, heard).await;
    begun?;
    if fenced? == 0 {
        return Err(StoreError::Fenced(
            "other servers took this one for ended and have given its leases back: nothing was written"
                .into(),
        ));
    }
    let is_heard = heard?.as_ref().map_or(Ok(false), |row| col(row, 0))?;
    let mut tally = Tally::of(member.id, is_heard);
    apply(conn, ops, ttl, &mut tally).await?;
    if is_heard {
        notes::send(conn, number, &tally).await?;
    }
    look_up(conn, &mut tally.counts).await?;
    Ok(tally.counts)
}

/// What may have changed and is no sum of the operations: first due times.
pub(crate) async fn look_up(conn: &Conn, change: &mut Change) -> Result<(), StoreError> {
    let models = change.due_wanted();
    if !models.is_empty() {
        let names: Vec<&str> = models.iter().map(|model| model.as_str()).collect();
        for row in conn
            .rows("cannot look up when the next task is due", NEXT_DUE, &[&names])
            .await?
        {
            let name: &str = col(&row, 0)?;
            if let Some(model) = models.iter().find(|model| model.as_str() == name) {
                change.due(model, col::<Option<i64>>(&row, 1)?.map(Timestamp::from_micros));
            }
        }
    }
    if change.outbox.is_touched()
        && let Some(row) = conn
            .row("cannot look up what is told next", NEXT_TOLD, &[])
            .await?
    {
        change.outbox.next(col(&row, 0)?, col(&row, 1)?);
    }
    Ok(())
}

/// Everything that is counted, as the tables have it at one moment, and which group of each server was its last at that.
pub(crate) async fn count(conn: &Conn) -> Result<(Change, HashMap<i64, i64>), StoreError> {
    let doing = "cannot count what is queued";
    conn.batch(doing, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        .await?;
    let mut commits = HashMap::new();
    for row in conn.rows(doing, COMMITS, &[]).await? {
        commits.insert(col(&row, 0)?, col(&row, 1)?);
    }
    let change = counts(conn, doing).await?;
    conn.batch(doing, "COMMIT").await?;
    Ok((change, commits))
}

async fn counts(conn: &Conn, doing: &'static str) -> Result<Change, StoreError> {
    let mut change = Change::default();
    for row in conn.rows(doing, COUNT_QUEUED, &[]).await? {
        let model = cresset_queue::kit::model_of(col(&row, 0)?)?;
        change.add_to_model(&model, col(&row, 1)?, col(&row, 2)?);
        change.delay(&model, col(&row, 3)?);
        if let Some(due) = col::<Option<i64>>(&row, 4)? {
            change.due(&model, Some(Timestamp::from_micros(due)));
        }
    }
    for row in conn.rows(doing, COUNT_CLIENTS, &[]).await? {
        if let Some(client) = cresset_queue::kit::client_of(col(&row, 0)?)? {
            change.add_to_client(&client, col(&row, 1)?, col(&row, 2)?);
        }
    }
    for row in conn.rows(doing, COUNT_OUTBOX, &[]).await? {
        change.outbox.add(col(&row, 0)?, col(&row, 1)?);
    }
    change.outbox.touch();
    look_up(conn, &mut change).await?;
    Ok(change)
}
