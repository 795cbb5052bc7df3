//! What servers had in hand that are there no more goes back to the queue.

use std::collections::HashMap;

use cresset_queue::kit::fleet::Tally;
use cresset_queue::kit::{SERVER_ENDED, owner_of};
use cresset_task::Timestamp;

use super::ends::{HISTORY_ADD, HISTORY_KNOWN};
use crate::error::{StoreError, col, id};
use crate::locks::{is_gone, silent_micros};
use crate::sql::{insert, row, sql};
use crate::tx::Tx;

/// Those that nobody else ends at this moment, and that do not write.
const CLAIM: &str = "SELECT id FROM servers WHERE id IN (?) AND ended_at IS NULL FOR UPDATE SKIP LOCKED";

/// Those of them that are gone.
const GONE: &str = concat!("SELECT id, who FROM servers WHERE id IN (?) AND ", is_gone!());

const END: &str = "UPDATE servers SET ended_at = ? WHERE id IN (?)";

const HELD: &str = "\
SELECT seq, id, attempts, model, client, weight FROM tasks FORCE INDEX (tasks_held) WHERE holder IN (?) AND state = 1 FOR UPDATE";

const FREE: &str = "UPDATE tasks SET state = 0, holder = NULL WHERE seq IN (?)";

const SENDINGS: &str = "\
UPDATE outbox FORCE INDEX (outbox_held) SET state = 0, due_at = ?, holder = NULL WHERE holder IN (?) AND state = 1";

/// Ends servers that have no session; says how many tasks are queued again.
pub(super) async fn reap(tx: &mut Tx<'_>, ids: &[i64], tally: &mut Tally) -> Result<u64, StoreError> {
    let doing = "cannot end a server";
    if ids.is_empty() {
        return Ok(0);
    }
    let claimed = tx.rows(doing, sql!(CLAIM, ids)).await?;
    let claimed: Vec<i64> = claimed.iter().map(|row| col(row, 0)).collect::<Result<_, _>>()?;
    let gone = tx.rows(doing, sql!(GONE, &claimed[..], silent_micros())).await?;
    if gone.is_empty() {
        return Ok(0);
    }
    let ended: Vec<i64> = gone.iter().map(|row| col(row, 0)).collect::<Result<_, _>>()?;
    let who: Vec<String> = gone.iter().map(|row| col(row, 1)).collect::<Result<_, _>>()?;
    let requeued = end(tx, &ended, tally).await?;
    tracing::info!(
        servers = who.join(", "),
        requeued,
        "servers have ended without a word"
    );
    Ok(requeued)
}

/// This server is there no more.
pub(super) async fn leave(tx: &mut Tx<'_>, tally: &mut Tally) -> Result<(), StoreError> {
    let me = [tally.me];
    end(tx, &me, tally).await.map(drop)
}

async fn end(tx: &mut Tx<'_>, ids: &[i64], tally: &mut Tally) -> Result<u64, StoreError> {
    let now = Timestamp::now();
    tx.run("cannot end a server", sql!(END, now.as_micros(), ids))
        .await?;
    tally.is_gone = true;
    end_leases(tx, ids, (now, SERVER_ENDED), tally).await
}

/// Whatever these servers have leased is queued again; how many tasks.
pub(crate) async fn end_leases(
    tx: &mut Tx<'_>,
    ids: &[i64],
    (now, reason): (Timestamp, &str),
    tally: &mut Tally,
) -> Result<u64, StoreError> {
    let doing = "cannot end the leases of a server";
    let held = tx.rows(doing, sql!(HELD, ids)).await?;
    let (mut seqs, mut notes, mut counts) = (Vec::<i64>::new(), Vec::new(), HashMap::new());
    for row in &held {
        let (task, attempt): (_, i64) = (id(row, 1)?, col(row, 2)?);
        seqs.push(col(row, 0)?);
        notes.push(row![task, attempt, now.as_micros(), reason]);
        let whose: (String, Option<String>) = (col(row, 3)?, col(row, 4)?);
        let (count, weight): &mut (i64, i64) = counts.entry(whose).or_default();
        *count += 1;
        *weight += col::<i64>(row, 5)?;
    }
    for ((model, client), (count, weight)) in counts {
        tally
            .counts
            .add(&owner_of(&model, client.as_deref())?, count, weight);
    }
    let mut statements = vec![sql!(SENDINGS, now.as_micros(), ids), sql!(FREE, &seqs[..])];
    insert(&mut statements, HISTORY_ADD, notes, HISTORY_KNOWN);
    let answers = tx.all(doing, &statements).await?;
    if answers.first().is_some_and(|answer| answer.found > 0) {
        tally.counts.outbox.touch();
    }
    Ok(u64::try_from(held.len()).unwrap_or(u64::MAX))
}
