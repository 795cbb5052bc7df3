//! How leases end: outcomes, retries, releases; each for all of them at once.

use std::collections::HashMap;

use cresset_queue::kit::fleet::Tally;
use cresset_queue::kit::{as_number, owner_of, state_of};
use cresset_queue::{Finished, Release, Retry};
use cresset_task::{Attempt, Event, HISTORY_MAX, Redelivery, State, TaskId};
use mysql_async::Row;
use serde_json::{Value, json};

use super::letters;
use super::tell::{Callbacks, tell};
use crate::error::{StoreError, col, id, small};
use crate::payload::{Table, keep};
use crate::sql::{insert, row, sql};
use crate::submission::Ending;
use crate::tx::Tx;

/// Tasks that this server has leased. Nobody else ends them meanwhile.
const LEASED: &str = "\
SELECT id, attempts, seq, model, weight, client FROM tasks FORCE INDEX (tasks_by_id)
WHERE id IN (?) AND state = 1 AND holder = ? FOR UPDATE";

/// Ends that are alike but for their tasks, as those of a batch are.
const FINISH_ALIKE: &str = "\
UPDATE tasks FORCE INDEX (PRIMARY)
SET state = ?, finished_at = ?, version = ?, attempts = attempts + ?, cached = ?, holder = NULL WHERE seq IN (?)";

/// More kinds of them than this take a statement for all, which costs the database more for each.
const KINDS_MAX: usize = 16;

const FINISH: &str = "\
UPDATE JSON_TABLE(?, '$[*]' COLUMNS (
    seq BIGINT PATH '$[0]', state TINYINT PATH '$[1]', finished_at BIGINT PATH '$[2]', version TEXT PATH '$[3]',
    redeliveries BIGINT PATH '$[4]', cached TINYINT PATH '$[5]')) AS g
STRAIGHT_JOIN tasks AS t FORCE INDEX (PRIMARY) ON t.seq = g.seq
SET t.state = g.state, t.finished_at = g.finished_at, t.version = g.version, t.attempts = t.attempts + g.redeliveries,
    t.cached = g.cached, t.holder = NULL";

const RETRY: &str = "\
UPDATE JSON_TABLE(?, '$[*]' COLUMNS (seq BIGINT PATH '$[0]', due_at BIGINT PATH '$[1]', redeliveries BIGINT PATH '$[2]')) AS g
STRAIGHT_JOIN tasks AS t FORCE INDEX (PRIMARY) ON t.seq = g.seq
SET t.state = 2, t.due_at = g.due_at, t.retries = t.retries + 1, t.attempts = t.attempts + g.redeliveries,
    t.holder = NULL";

const RELEASE: &str = "UPDATE tasks SET state = 0, holder = NULL WHERE seq IN (?)";

pub(super) const HISTORY_ADD: &str = "INSERT INTO history (task, attempt, at, reason)";
pub(super) const HISTORY_KNOWN: &str = " ON DUPLICATE KEY UPDATE attempt = attempt";

/// Only the newest are kept.
const HISTORY_TRIM: &str = "\
DELETE h FROM history AS h FORCE INDEX (PRIMARY) JOIN (
    SELECT task, attempt, ROW_NUMBER() OVER (PARTITION BY task ORDER BY attempt DESC) AS place FROM history WHERE task IN (?)
) AS n ON n.task = h.task AND n.attempt = h.attempt WHERE n.place > ?";

/// The leases among these that are as their holders say, each once; and whom to tell of their tasks.
struct Leased {
    rows: HashMap<(TaskId, Attempt), Row>,
    callbacks: Callbacks,
}

impl Leased {
    async fn among(
        tx: &mut Tx<'_>,
        doing: &'static str,
        (ids, me): (&[TaskId], i64),
    ) -> Result<Self, StoreError> {
        let asked = [sql!(LEASED, ids, me), Callbacks::asked(ids)];
        let mut answers = tx.all(doing, &asked).await?.into_iter();
        let mut rows = HashMap::new();
        for row in answers.next().map(|answer| answer.rows).unwrap_or_default() {
            rows.insert((id(&row, 0)?, Attempt(small(&row, 1)?)), row);
        }
        Ok(Self {
            rows,
            callbacks: Callbacks::read(answers.next())?,
        })
    }

    /// Of two that speak of one lease the first gets it.
    fn take(&mut self, id: TaskId, attempt: Attempt) -> Option<Row> {
        self.rows.remove(&(id, attempt))
    }
}

/// What became of each, in their order.
pub(super) async fn finish(
    tx: &mut Tx<'_>,
    endings: &[&Ending],
    tally: &mut Tally,
) -> Result<Vec<Finished>, StoreError> {
    let mut answers = vec![Finished::Stale; endings.len()];
    if endings.is_empty() {
        return Ok(answers);
    }
    let doing = "cannot record outcomes";
    let ids: Vec<TaskId> = endings.iter().map(|ending| ending.id).collect();
    let mut leased = Leased::among(tx, doing, (&ids, tally.me)).await?;
    let (mut ended, mut told, mut histories) = (Vec::new(), Vec::new(), Vec::new());
    let (mut outcomes, mut dead) = (Vec::new(), Vec::new());
    for (ending, answer) in endings.iter().zip(&mut answers) {
        let Some(row) = leased.take(ending.id, ending.attempt) else {
            continue;
        };
        *answer = Finished::Recorded;
        let seq: i64 = col(&row, 2)?;
        ended.push((seq, *ending));
        outcomes.push((ending.id, &ending.outcome));
        histories.push((ending.id, &ending.history[..]));
        dead.extend(ending.evidence.as_deref().map(|evidence| (seq, evidence)));
        let (model, state): (String, _) = (col(&row, 3)?, state_of(ending.state)?);
        tally.note(ending.id, &model, (state, false))?;
        if let Some(event) = Event::of(state) {
            let whose = (ending.id, &*model);
            told.extend(leased.callbacks.news(whose, (event, 0), ending.finished_at)?);
        }
    }
    if ended.is_empty() {
        return Ok(answers);
    }
    let mut statements = finishing(&ended);
    statements.extend(
        dead.into_iter()
            .map(|(seq, evidence)| letters::add(seq, evidence)),
    );
    add_history(&mut statements, &histories);
    tx.later(doing, statements);
    keep(tx, Table::Outcomes, &outcomes).await?;
    tell(tx, &told, tally).await?;
    Ok(answers)
}

/// The statements that end these.
fn finishing(ended: &[(i64, &Ending)]) -> Vec<String> {
    let mut kinds: HashMap<_, Vec<i64>> = HashMap::new();
    for (seq, e) in ended {
        let kind = (
            e.state,
            e.finished_at.as_micros(),
            e.version.as_deref(),
            e.redeliveries,
            e.cached,
        );
        kinds.entry(kind).or_default().push(*seq);
    }
    if kinds.len() <= KINDS_MAX {
        let each = kinds.into_iter();
        return each
            .map(|((state, at, version, redeliveries, cached), seqs)| {
                sql!(FINISH_ALIKE, state, at, version, redeliveries, cached, &seqs[..])
            })
            .collect();
    }
    let row = |(seq, e): &(i64, &Ending)| {
        let at = e.finished_at.as_micros();
        json!([seq, e.state, at, e.version, e.redeliveries, i64::from(e.cached)])
    };
    vec![sql!(
        FINISH,
        Value::Array(ended.iter().map(row).collect()).to_string()
    )]
}

/// What became of each, in their order.
pub(super) async fn retry(
    tx: &mut Tx<'_>,
    retries: &[Retry],
    tally: &mut Tally,
) -> Result<Vec<Finished>, StoreError> {
    let mut answers = vec![Finished::Stale; retries.len()];
    if retries.is_empty() {
        return Ok(answers);
    }
    let doing = "cannot queue tasks again";
    let ids: Vec<TaskId> = retries.iter().map(|retry| retry.id).collect();
    let mut leased = Leased::among(tx, doing, (&ids, tally.me)).await?;
    let (mut queued, mut told, mut histories) = (Vec::new(), Vec::new(), Vec::new());
    for (retry, answer) in retries.iter().zip(&mut answers) {
        let Some(row) = leased.take(retry.id, retry.attempt) else {
            continue;
        };
        *answer = Finished::Recorded;
        let seq: i64 = col(&row, 2)?;
        queued.push(json!([seq, retry.due_at.as_micros(), retry.redeliveries]));
        let owner = owner_of(
            &col::<String>(&row, 3)?,
            col::<Option<String>>(&row, 5)?.as_deref(),
        )?;
        tally.counts.add(&owner, 1, col(&row, 4)?);
        tally.counts.delay(&owner.model, 1);
        tally.note(retry.id, owner.model.as_str(), (State::Retry, false))?;
        histories.push((retry.id, &retry.history[..]));
        let when = retry.history.last().map_or(retry.due_at, |failure| failure.at);
        let what = (Event::Retried, retry.attempt.0);
        let whose = (retry.id, owner.model.as_str());
        told.extend(leased.callbacks.news(whose, what, when)?);
    }
    if queued.is_empty() {
        return Ok(answers);
    }
    let mut statements = vec![sql!(RETRY, Value::Array(queued).to_string())];
    add_history(&mut statements, &histories);
    tx.later(doing, statements);
    tell(tx, &told, tally).await?;
    Ok(answers)
}

/// Gives leases back. Stale ones are ignored.
pub(super) async fn release(
    tx: &mut Tx<'_>,
    leases: &[Release],
    tally: &mut Tally,
) -> Result<(), StoreError> {
    if leases.is_empty() {
        return Ok(());
    }
    let doing = "cannot release tasks";
    let ids: Vec<TaskId> = leases.iter().map(|lease| lease.id).collect();
    let mut leased = Leased::among(tx, doing, (&ids, tally.me)).await?;
    let mut released: Vec<i64> = Vec::new();
    for lease in leases {
        if let Some(row) = leased.take(lease.id, lease.attempt) {
            released.push(col(&row, 2)?);
            let owner = owner_of(
                &col::<String>(&row, 3)?,
                col::<Option<String>>(&row, 5)?.as_deref(),
            )?;
            tally.counts.add(&owner, 1, col(&row, 4)?);
        }
    }
    if released.is_empty() {
        return Ok(());
    }
    tx.later(doing, [sql!(RELEASE, &released[..])]);
    Ok(())
}

fn add_history(statements: &mut Vec<String>, histories: &[(TaskId, &[Redelivery])]) {
    let with = histories.iter().filter(|(_, history)| !history.is_empty());
    let tasks: Vec<TaskId> = with.clone().map(|(task, _)| *task).collect();
    if tasks.is_empty() {
        return;
    }
    let rows = with.flat_map(|(task, history)| {
        let newest = history.len().saturating_sub(HISTORY_MAX);
        let entries = history[newest..].iter();
        entries.map(|entry| row![*task, entry.attempt.0, entry.at.as_micros(), &entry.reason])
    });
    insert(statements, HISTORY_ADD, rows, HISTORY_KNOWN);
    statements.push(sql!(HISTORY_TRIM, &tasks[..], as_number(HISTORY_MAX)));
}
