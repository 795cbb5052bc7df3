//! Rows of the inbox, made tasks in the transaction that ends them.
//!
//! A row is locked first, and passed over where somebody else has it: no server and no application can make a group wait.

use std::collections::HashSet;

use cresset_queue::InboxTaken;
use cresset_queue::kit::{Stored, state_number, state_of};
use cresset_task::{Event, State, TaskId, Timestamp};
use uuid::Uuid;

use super::ends::{short, uuid};
use super::submit::{submit, taken};
use super::tell::{news, tell};
use crate::connect::{Conn, Params, text};
use crate::error::{StoreError, col};
use crate::submission::{End, Entry, Submission};
use crate::tally::Tally;

const CLAIM: &str = "SELECT id FROM inbox WHERE id = ANY ($1) AND error IS NULL FOR UPDATE SKIP LOCKED";

const REMOVE: &str = "DELETE FROM inbox WHERE id = ANY ($1)";

/// It is not taken again until somebody clears this.
const REFUSE: &str = "UPDATE inbox SET error = g.error FROM unnest($1::uuid[], $2::text[]) AS g (id, error) WHERE inbox.id = g.id";

const END: &str = "\
WITH given AS MATERIALIZED (
    SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::smallint[], $4::bytea[]) AS g (id, state, kind, bytes)
), ended AS (
    UPDATE tasks AS t SET state = g.state, finished_at = $5, due_at = NULL FROM given AS g WHERE t.id = g.id
    RETURNING t.seq, t.id, t.model, g.state, g.kind, g.bytes
), kept AS (
    INSERT INTO outcomes (seq, kind, bytes) SELECT seq, kind, bytes FROM ended
)
SELECT e.id, e.model, c.url, c.host, c.events, e.state FROM ended AS e LEFT JOIN callbacks AS c ON c.seq = e.seq ORDER BY e.seq";

/// What became of each, in their order.
pub(super) async fn take(
    conn: &Conn,
    entries: &[Entry],
    now: Timestamp,
    tally: &mut Tally,
) -> Result<Vec<InboxTaken>, StoreError> {
    let ids: Vec<Uuid> = entries.iter().map(|entry| uuid(entry.task.id)).collect();
    let mut claimed = HashSet::new();
    for row in conn.rows("cannot lock rows of the inbox", CLAIM, &[&ids]).await? {
        claimed.insert(TaskId::from_bytes(*col::<Uuid>(&row, 0)?.as_bytes()));
    }
    let mut answers = vec![InboxTaken::Gone; entries.len()];
    // Of two entries of one row the first.
    let held = (0..entries.len()).filter(|&at| claimed.remove(&entries[at].task.id));
    let (mut refused, mut errors) = (Vec::new(), Vec::new());
    let mut refuse = |at: usize, why: String| {
        refused.push(uuid(entries[at].task.id));
        errors.push(text(&why).into_owned());
        InboxTaken::Refused
    };
    let mut fit = Vec::new();
    for at in held {
        match &entries[at].end {
            End::Unfit(why) => answers[at] = refuse(at, why.clone()),
            End::Queued | End::Ended(..) => fit.push(at),
        }
    }
    let tasks: Vec<_> = fit.iter().map(|&at| &*entries[at].task).collect();
    let submitted = submit(conn, &tasks, tally).await?;
    let (mut made, mut ended) = (Vec::new(), Vec::new());
    for (at, submitted) in fit.into_iter().zip(submitted) {
        let Entry { task, end } = &entries[at];
        if submitted.is_none() {
            answers[at] = refuse(at, taken(task.id).to_string());
            continue;
        }
        answers[at] = InboxTaken::Taken;
        made.push(uuid(task.id));
        if let End::Ended(state, outcome) = end {
            ended.push((&**task, *state, outcome));
        }
    }
    conn.run("cannot take rows out of the inbox", REMOVE, &[&made])
        .await?;
    if !refused.is_empty() {
        let values: Params<'_> = &[&refused, &errors];
        conn.run("cannot note what is wrong in the inbox", REFUSE, values)
            .await?;
    }
    if !ended.is_empty() {
        finish(conn, &ended, now, tally).await?;
    }
    Ok(answers)
}

/// Ends tasks that were just made.
async fn finish(
    conn: &Conn,
    ended: &[(&Submission, State, &Stored)],
    now: Timestamp,
    tally: &mut Tally,
) -> Result<(), StoreError> {
    let ids: Vec<Uuid> = ended.iter().map(|(task, ..)| uuid(task.id)).collect();
    let states: Vec<i16> = ended
        .iter()
        .map(|(_, state, _)| short(state_number(*state)))
        .collect();
    let kinds: Vec<i16> = ended
        .iter()
        .map(|(.., outcome)| i16::from(outcome.kind))
        .collect();
    let bytes: Vec<&[u8]> = ended.iter().map(|(.., outcome)| &outcome.bytes[..]).collect();
    let mut told = Vec::new();
    let values: Params<'_> = &[&ids, &states, &kinds, &bytes, &now.as_micros()];
    for row in conn.rows("cannot end tasks of the inbox", END, values).await? {
        let state = state_of(i64::from(col::<i16>(&row, 5)?))?;
        if let Some(event) = Event::of(state) {
            told.extend(news(&row, 0, (event, 0), now)?);
        }
        let id = TaskId::from_bytes(*col::<Uuid>(&row, 0)?.as_bytes());
        tally.note(id, col(&row, 1)?, (state, false))?;
    }
    for (task, ..) in ended {
        tally.counts.add(&task.owner, -1, -task.weight);
        if task.due_at.is_some() {
            tally.counts.delay(&task.owner.model, -1);
        }
    }
    tell(conn, &told, tally).await
}
