//! Tasks that come in, all of a group at once.

use std::collections::HashSet;

use cresset_queue::Submitted;
use cresset_queue::kit::fleet::Tally;
use cresset_task::{ClientKey, ModelName, State, TaskId, Tenant, Timestamp};

use super::tell::{begun, tell};
use crate::error::{StoreError, id};
use crate::payload::{Table, keep};
use crate::read::{recalled, recalling};
use crate::sql::{insert, row, sql};
use crate::submission::Submission;
use crate::tx::Tx;

const TAKEN: &str =
    "SELECT id FROM tasks WHERE id IN (?) UNION ALL SELECT id FROM tombstones WHERE id IN (?)";

const TASKS: &str = "\
INSERT INTO tasks (id, model, state, priority, turn, weight, created_at, due_at, expires_at, deadline_at, cache, client, tenant,
                   retry, metadata, trace, attempts, started_at, holder, bulk, line)";

const CALLBACKS: &str = "INSERT INTO callbacks (task, url, host, events)";

/// In one order, so that servers which meet at a key do not wait for each other in a circle. Who finds that another has just
/// taken one begins its group again.
const KEYS: &str = "INSERT INTO idempotency (model, word, task, digest)";

pub(crate) fn taken(id: TaskId) -> StoreError {
    StoreError::Misuse(format!("the id {id} is taken; every task needs a fresh one"))
}

/// The answers in the order of the tasks; `None` where the id is taken. Of two with one id, or one key of one model, the
/// first is looked at first.
pub(crate) async fn submit(
    tx: &mut Tx<'_>,
    tasks: &[&Submission],
    tally: &mut Tally,
) -> Result<Vec<Option<Submitted>>, StoreError> {
    submit_into(tx, tasks, None, tally).await
}

/// The same for lines of a bulk: its row, and the number of each line.
pub(super) async fn submit_into(
    tx: &mut Tx<'_>,
    tasks: &[&Submission],
    bulk: Option<(i64, &[i64])>,
    tally: &mut Tally,
) -> Result<Vec<Option<Submitted>>, StoreError> {
    let (mut answers, mut told) = (vec![None; tasks.len()], Vec::new());
    let mut left: Vec<usize> = (0..tasks.len()).collect();
    while !left.is_empty() {
        let taken = look(tx, tasks, &mut left, &mut answers).await?;
        let (mut ids, mut keys) = (HashSet::new(), HashSet::new());
        let (round, rest): (Vec<usize>, Vec<usize>) = left.iter().partition(|&&at| {
            let task = tasks[at];
            let key = task.idempotency.as_ref();
            let key = key.map(|i| (&task.owner.model, i.key.as_str()));
            ids.insert(task.id) && key.is_none_or(|key| keys.insert(key))
        });
        let round: Vec<usize> = round
            .into_iter()
            .filter(|&at| !taken.contains(&tasks[at].id))
            .collect();
        let fresh: Vec<(&Submission, Option<(i64, i64)>)> = round
            .iter()
            .map(|&at| (tasks[at], bulk.map(|(bulk, lines)| (bulk, lines[at]))))
            .collect();
        make(tx, &fresh, tally.me).await?;
        for at in round {
            let task = tasks[at];
            answers[at] = Some(Submitted::New);
            if let Some(started) = task.started_at {
                // Born leased: it is not queued.
                tally.note(task.id, task.owner.model.as_str(), (State::Started, false))?;
                told.extend(begun(task, started));
                continue;
            }
            tally.counts.add(&task.owner, 1, task.weight);
            if task.due_at.is_some() {
                tally.counts.delay(&task.owner.model, 1);
            }
        }
        // What has the id of another one and no key is answered by that alone.
        left = rest;
        left.retain(|&at| tasks[at].idempotency.is_some());
    }
    tell(tx, &told, tally).await?;
    Ok(answers)
}

/// Answers those whose keys are known, and takes them out; which ids of the others are taken.
async fn look(
    tx: &mut Tx<'_>,
    tasks: &[&Submission],
    left: &mut Vec<usize>,
    answers: &mut [Option<Submitted>],
) -> Result<HashSet<TaskId>, StoreError> {
    let asked: Vec<(usize, &ModelName, _)> = left
        .iter()
        .filter_map(|&at| Some((at, &tasks[at].owner.model, tasks[at].idempotency.as_ref()?)))
        .collect();
    let questions: Vec<_> = asked
        .iter()
        .map(|(_, model, idempotency)| (*model, *idempotency))
        .collect();
    let ids: Vec<TaskId> = left.iter().map(|&at| tasks[at].id).collect();
    let mut statements = vec![sql!(TAKEN, &ids[..], &ids[..])];
    statements.extend(recalling(&questions));
    let mut found = tx
        .all("cannot look up ids and idempotency keys", &statements)
        .await?;
    let known = found.split_off(1);
    for ((at, ..), answer) in asked.iter().zip(recalled(known, &questions)?) {
        answers[*at] = answer;
    }
    left.retain(|&at| answers[at].is_none());
    let rows = found.iter().flat_map(|answer| &answer.rows);
    rows.map(|row| id(row, 0)).collect()
}

async fn make(
    tx: &mut Tx<'_>,
    fresh: &[(&Submission, Option<(i64, i64)>)],
    me: i64,
) -> Result<(), StoreError> {
    if fresh.is_empty() {
        return Ok(());
    }
    let each = || fresh.iter().map(|(task, _)| *task);
    let mut statements = Vec::new();
    let rows = fresh.iter().map(|(task, place)| {
        row![
            task.id,
            task.owner.model.as_str(),
            i64::from(task.started_at.is_some()),
            task.priority,
            task.turn.as_micros(),
            task.weight,
            task.created_at.as_micros(),
            task.due_at.map(Timestamp::as_micros),
            task.expires_at.map(Timestamp::as_micros),
            task.deadline_at.map(Timestamp::as_micros),
            task.cache.code(),
            task.owner.client.as_ref().map(ClientKey::as_str),
            task.tenant.as_ref().map(Tenant::as_str),
            task.retry.as_deref(),
            task.metadata.as_deref(),
            task.trace.as_deref(),
            i64::from(task.started_at.is_some()),
            task.started_at.map(Timestamp::as_micros),
            task.started_at.map(|_| me),
            place.map(|(bulk, _)| bulk),
            place.map(|(_, line)| line),
        ]
    });
    insert(&mut statements, TASKS, rows, "");
    let callbacks = each().filter_map(|task| Some((task.id, task.callback.as_ref()?)));
    let callbacks =
        callbacks.map(|(id, to)| row![id, to.url.as_str(), to.url.host().to_string(), to.events.code()]);
    insert(&mut statements, CALLBACKS, callbacks, "");
    let keys = each().filter_map(|task| Some((task, task.idempotency.as_ref()?)));
    let mut keys: Vec<_> = keys.collect();
    keys.sort_unstable_by_key(|(task, i)| (task.owner.model.as_str(), i.key.as_str()));
    let keys = keys
        .into_iter()
        .map(|(task, i)| row![task.owner.model.as_str(), i.key.as_str(), task.id, &i.digest[..]]);
    insert(&mut statements, KEYS, keys, "");
    tx.later("cannot insert tasks", statements);
    let inputs: Vec<_> = each().map(|task| (task.id, &task.input)).collect();
    keep(tx, Table::Inputs, &inputs).await
}
