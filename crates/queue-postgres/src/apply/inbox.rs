//! Rows of the inbox, made tasks in the transaction that ends them.
//!
//! A row is locked first, and passed over where somebody else has it: no server and no application can make a group wait.

use cresset_queue::kit::fleet::Tally;
use std::collections::HashSet;

use cresset_queue::InboxTaken;
use cresset_queue::kit::{EndedUnrun, Entry, Taking, state_number, state_of};
use cresset_task::{Event, TaskId, Timestamp};
use uuid::Uuid;

use super::ends::{short, uuid};
use super::submit::{submit, taken};
use super::tell::{news, tell};
use crate::connect::{Conn, Params, text};
use crate::error::{StoreError, col};

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
    let ids: Vec<Uuid> = entries.iter().map(|entry| uuid(entry.id())).collect();
    let mut locked = HashSet::new();
    for row in conn.rows("cannot lock rows of the inbox", CLAIM, &[&ids]).await? {
        locked.insert(TaskId::from_bytes(*col::<Uuid>(&row, 0)?.as_bytes()));
    }
    let mut taking = Taking::of(entries, locked);
    let submitted = submit(conn, &taking.tasks(), tally).await?;
    taking.submitted(&submitted, |id| taken(id).to_string());
    let made: Vec<Uuid> = taking.made().iter().copied().map(uuid).collect();
    conn.run("cannot take rows out of the inbox", REMOVE, &[&made])
        .await?;
    let refused: Vec<Uuid> = taking.refused().iter().map(|(id, _)| uuid(*id)).collect();
    if !refused.is_empty() {
        let errors = taking.refused().iter().map(|(_, why)| text(why).into_owned());
        let values: Params<'_> = &[&refused, &errors.collect::<Vec<_>>()];
        conn.run("cannot note what is wrong in the inbox", REFUSE, values)
            .await?;
    }
    if !taking.ended().is_empty() {
        finish(conn, taking.ended(), now, tally).await?;
        taking.uncount_ended(&mut tally.counts);
    }
    Ok(taking.answers())
}

/// Ends tasks that were just made.
async fn finish(
    conn: &Conn,
    ended: &[EndedUnrun<'_>],
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
    tell(conn, &told, tally).await
}
