//! What servers had in hand that are there no more goes back to the queue.

use cresset_queue::kit::fleet::Tally;
use cresset_queue::kit::{SERVER_ENDED, owner_of};
use cresset_task::Timestamp;

use crate::connect::{Conn, Params};
use crate::error::{StoreError, col};
use crate::locks::server_lock;

/// Those of them whose lock is free, and that nobody else ends at this moment.
const END: &str = concat!(
    "UPDATE servers SET ended_at = $2 WHERE id IN (SELECT id FROM servers WHERE id = ANY ($1) AND ended_at IS NULL AND ",
    server_lock!("pg_try_advisory_xact_lock", "$3", "id"),
    " FOR UPDATE SKIP LOCKED) RETURNING id, who"
);

const END_OWN: &str = "UPDATE servers SET ended_at = $2 WHERE id = $1";

const TASKS: &str = "\
WITH freed AS (
    UPDATE tasks SET state = 0, holder = NULL WHERE holder = ANY ($1) AND state = 1
    RETURNING seq, attempts, model, client, weight
), noted AS (
    INSERT INTO history (seq, attempt, at, reason) SELECT seq, attempts, $2, $3 FROM freed
    ON CONFLICT (seq, attempt) DO NOTHING
)
SELECT model, client, count(*), sum(weight)::bigint FROM freed GROUP BY model, client";

const SENDINGS: &str = "\
UPDATE outbox SET state = 0, due_at = $2, holder = NULL WHERE holder = ANY ($1) AND state = 1";

/// Ends servers that have no session; says how many tasks are queued again.
pub(super) async fn reap(conn: &Conn, ids: &[i64], tally: &mut Tally) -> Result<u64, StoreError> {
    let now = Timestamp::now();
    let values: Params<'_> = &[&ids, &now.as_micros(), &conn.schema()];
    let (mut ended, mut who) = (Vec::new(), Vec::<String>::new());
    for row in conn.rows("cannot end a server", END, values).await? {
        ended.push(col(&row, 0)?);
        who.push(col(&row, 1)?);
    }
    if ended.is_empty() {
        return Ok(0);
    }
    let requeued = end_leases(conn, &ended, (now, SERVER_ENDED), tally).await?;
    tracing::info!(
        servers = who.join(", "),
        requeued,
        "servers have ended without a word"
    );
    tally.is_gone = true;
    Ok(requeued)
}

/// This server is there no more.
pub(super) async fn leave(conn: &Conn, tally: &mut Tally) -> Result<(), StoreError> {
    let now = Timestamp::now();
    end_leases(conn, &[tally.me], (now, SERVER_ENDED), tally).await?;
    let values: Params<'_> = &[&tally.me, &now.as_micros()];
    conn.run("cannot leave the store", END_OWN, values).await?;
    tally.is_gone = true;
    Ok(())
}

/// Whatever these servers have leased is queued again; how many tasks.
pub(crate) async fn end_leases(
    conn: &Conn,
    ids: &[i64],
    (now, reason): (Timestamp, &str),
    tally: &mut Tally,
) -> Result<u64, StoreError> {
    let doing = "cannot end the leases of a server";
    let mut requeued = 0;
    for row in conn
        .rows(doing, TASKS, &[&ids, &now.as_micros(), &reason])
        .await?
    {
        let count: i64 = col(&row, 2)?;
        tally
            .counts
            .add(&owner_of(col(&row, 0)?, col(&row, 1)?)?, count, col(&row, 3)?);
        requeued += count.unsigned_abs();
    }
    if conn.run(doing, SENDINGS, &[&ids, &now.as_micros()]).await? > 0 {
        tally.counts.outbox.touch();
    }
    Ok(requeued)
}
