//! Rows of the inbox, made tasks in the transaction that ends them.
//!
//! A row is locked first, and passed over where somebody else has it: no server and no application can make a group wait.

use std::collections::{HashMap, HashSet};

use cresset_queue::InboxTaken;
use cresset_queue::kit::fleet::Tally;
use cresset_queue::kit::{EndedUnrun, Entry, Taking, state_number};
use cresset_task::{Event, State, TaskId, Timestamp};

use super::submit::{submit, taken};
use super::tell::{Callbacks, tell};
use crate::error::{StoreError, col};
use crate::payload::{Table, keep};
use crate::read::inbox_id;
use crate::sql::{Lit, fill, sql};
use crate::tx::Tx;

const CLAIM: &str = "SELECT id, seq FROM inbox FORCE INDEX (inbox_by_id) WHERE id IN (";
const CLAIM_TAIL: &str = ") AND error IS NULL FOR UPDATE SKIP LOCKED";

/// Without a word about the index a small table is read from end to end, and rows of transactions that are open are waited for.
const REMOVE: &str = "DELETE i FROM inbox AS i FORCE INDEX (PRIMARY) WHERE i.seq IN (?)";

/// It is not taken again until somebody clears this.
const REFUSE: &str = "UPDATE inbox SET error = ? WHERE seq = ?";

const END: &str = "UPDATE tasks SET state = ?, finished_at = ?, due_at = NULL WHERE id IN (?)";

/// What became of each, in their order.
pub(super) async fn take(
    tx: &mut Tx<'_>,
    entries: &[Entry],
    now: Timestamp,
    tally: &mut Tally,
) -> Result<Vec<InboxTaken>, StoreError> {
    let seqs = claim(tx, entries).await?;
    let mut taking = Taking::of(entries, seqs.keys().copied().collect());
    let submitted = submit(tx, &taking.tasks(), tally).await?;
    taking.submitted(&submitted, |id| taken(id).to_string());
    let made: Vec<i64> = taking
        .made()
        .iter()
        .filter_map(|id| seqs.get(id).copied())
        .collect();
    let mut statements = vec![sql!(REMOVE, &made[..])];
    let refused = taking.refused().iter();
    statements.extend(refused.filter_map(|(id, why)| Some(sql!(REFUSE, why, *seqs.get(id)?))));
    tx.later("cannot take rows out of the inbox", statements);
    if !taking.ended().is_empty() {
        finish(tx, taking.ended(), now, tally).await?;
        taking.uncount_ended(&mut tally.counts);
    }
    Ok(taking.answers())
}

/// Locks the rows that can be had, and gives their places.
async fn claim(tx: &mut Tx<'_>, entries: &[Entry]) -> Result<HashMap<TaskId, i64>, StoreError> {
    if entries.is_empty() {
        return Ok(HashMap::new());
    }
    let ids: Vec<String> = entries.iter().map(|entry| entry.id().to_string()).collect();
    let ids: Vec<Lit<'_>> = ids.iter().map(Lit::from).collect();
    let places = vec!["?"; ids.len()].join(",");
    let asked = fill(&format!("{CLAIM}{places}{CLAIM_TAIL}"), &ids);
    let mut seqs = HashMap::new();
    for row in tx.rows("cannot lock rows of the inbox", asked).await? {
        seqs.insert(inbox_id(&row, 0)?, col(&row, 1)?);
    }
    Ok(seqs)
}

/// Ends tasks that were just made.
async fn finish(
    tx: &mut Tx<'_>,
    ended: &[EndedUnrun<'_>],
    now: Timestamp,
    tally: &mut Tally,
) -> Result<(), StoreError> {
    let ids: Vec<TaskId> = ended.iter().map(|(task, ..)| task.id).collect();
    let outcomes: Vec<_> = ended
        .iter()
        .map(|(task, _, outcome)| (task.id, *outcome))
        .collect();
    let doing = "cannot end tasks of the inbox";
    let mut statements = Vec::new();
    let states: HashSet<State> = ended.iter().map(|(_, state, _)| *state).collect();
    for state in states {
        let so = ended.iter().filter(|(_, other, _)| *other == state);
        let ids: Vec<TaskId> = so.map(|(task, ..)| task.id).collect();
        statements.push(sql!(END, state_number(state), now.as_micros(), &ids[..]));
    }
    tx.later(doing, statements);
    keep(tx, Table::Outcomes, &outcomes).await?;
    let answers = tx.all(doing, &[Callbacks::asked(&ids)]).await?;
    let callbacks = Callbacks::read(answers.into_iter().next())?;
    let mut told = Vec::new();
    for (task, state, _) in ended {
        let whose = (task.id, task.owner.model.as_str());
        tally.note(whose.0, whose.1, (*state, false))?;
        if let Some(event) = Event::of(*state) {
            told.extend(callbacks.news(whose, (event, 0), now)?);
        }
    }
    tell(tx, &told, tally).await
}
