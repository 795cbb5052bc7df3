//! One task.

use std::collections::HashMap;

use cresset_queue::kit::{Stored, model_of, retry_of, state_of, tenant_of, trace_of};
use cresset_queue::{Lookup, POSITION_MAX};
use cresset_task::{Attempt, Ownership, Redelivery, TaskId, TaskRecord, Timestamp};
use mysql_async::Row;

use super::{SNAPSHOT, at_once, instant};
use crate::connect::Conn;
use crate::error::{StoreError, col, id, id_or_none, small, take};
use crate::payload::{Table, asked, parts};
use crate::sql::sql;

macro_rules! columns {
    () => {
        "t.model, t.state, t.priority, t.attempts, t.created_at, t.started_at, t.finished_at, t.version, t.metadata, t.due_at, \
         t.expires_at, t.retries, t.replay_of, t.deadline_at, t.cached, t.retry, t.trace"
    };
}

const FETCH: &str = concat!("SELECT ", columns!(), " FROM tasks AS t WHERE t.id = ?");

/// All that there is of most tasks, in one statement, which is of one moment by itself; and whether there is more.
const FETCH_MOST: &str = concat!(
    "SELECT ",
    columns!(),
    ", o.kind, CASE WHEN o.size <= ? THEN o.bytes END, o.size > ? \
     OR EXISTS (SELECT 1 FROM outcomes AS p WHERE p.id = t.id AND p.part = 1) \
     OR EXISTS (SELECT 1 FROM history AS h WHERE h.task = t.id), t.id \
     FROM tasks AS t FORCE INDEX (tasks_by_id) LEFT JOIN outcomes AS o ON o.id = t.id AND o.part = 0 WHERE t.id IN (?)"
);
const KIND: usize = 17;
const BYTES: usize = 18;
const HAS_MORE: usize = 19;
const ID: usize = 20;

/// Where several are asked for, an outcome of more bytes is not read: each is fetched by itself.
const TOGETHER_MAX: i64 = 64 * 1024;

const HISTORY: &str = "SELECT attempt, at, reason FROM history WHERE task = ? ORDER BY attempt";

const TOMBSTONE: &str = "SELECT 1 FROM tombstones WHERE id = ?";

/// Whose the task is, or was before it was purged.
const OWNER: &str = "\
SELECT tenant FROM tasks WHERE id = ? UNION ALL SELECT tenant FROM tombstones WHERE id = ? LIMIT 1";

/// How many go before a queued task, counted no further than is asked.
const POSITION: &str = "\
SELECT COUNT(*) FROM (
    SELECT 1 FROM tasks AS t FORCE INDEX (tasks_queued)
    WHERE t.model = ? AND (t.place < ? OR (t.place = ? AND t.seq < ?)) LIMIT ?
) AS ahead";

/// The same for several of a model, each with its number from 1: of as many as go before the last of them, no further than is
/// asked.
const POSITIONS: &str = "\
SELECT r.seq, r.number FROM (
    SELECT h.seq, ROW_NUMBER() OVER (ORDER BY h.place, h.seq) AS number FROM (
        SELECT t.place, t.seq FROM tasks AS t FORCE INDEX (tasks_queued)
        WHERE t.model = ? AND t.place <= ? ORDER BY t.place, t.seq LIMIT ?
    ) AS h
) AS r WHERE r.seq IN (?)";

const PLACES: &str =
    "SELECT id, model, place, seq FROM tasks FORCE INDEX (tasks_by_id) WHERE id IN (?) AND place IS NOT NULL";

/// What one question says of a task.
#[derive(Debug)]
pub(crate) enum Glimpse {
    /// All of it.
    Whole(Box<TaskRecord>),
    /// Something, but there is more; or it is not there.
    Part,
    /// It cannot be read.
    Damaged(StoreError),
}

/// What is known of these, each as far as one statement tells, in their order.
pub(crate) async fn glimpses(conn: &Conn, ids: &[TaskId]) -> Result<Vec<Glimpse>, StoreError> {
    let largest = if ids.len() == 1 { i64::MAX } else { TOGETHER_MAX };
    let asked = sql!(FETCH_MOST, largest, largest, ids);
    let mut found = HashMap::new();
    for mut row in conn.rows("cannot read a task", asked).await? {
        if !col::<Option<bool>>(&row, HAS_MORE)?.unwrap_or(false) {
            let id = id(&row, ID)?;
            found.insert(id, whole(&mut row, id));
        }
    }
    let glimpse = |id| match found.get(id) {
        Some(Ok(record)) => Glimpse::Whole(Box::clone(record)),
        Some(Err(error)) => Glimpse::Damaged(error.clone()),
        None => Glimpse::Part,
    };
    Ok(ids.iter().map(glimpse).collect())
}

fn whole(row: &mut Row, id: TaskId) -> Result<Box<TaskRecord>, StoreError> {
    let kind = col::<Option<i64>>(row, KIND)?.map(|_| small(row, KIND));
    let outcome = kind.transpose()?.map(|kind| Stored {
        kind,
        bytes: take(row, BYTES).unwrap_or_default(),
    });
    Ok(Box::new(record(row, id, outcome, &[])?))
}

/// All that is known of one of which there is more, or that is not there.
pub(crate) async fn fetch(conn: &Conn, id: TaskId) -> Result<Lookup, StoreError> {
    let statements = [
        sql!(FETCH, id),
        asked(Table::Outcomes, &[id]),
        sql!(HISTORY, id),
        sql!(TOMBSTONE, id),
    ];
    let [task, outcome, history, purged] = at_once(conn, "cannot read a task", statements).await?;
    let outcome = parts(outcome)?.remove(&id);
    Ok(match task.rows.first() {
        Some(row) => Lookup::Found(Box::new(record(row, id, outcome, &history.rows)?)),
        None if purged.rows.is_empty() => Lookup::Unknown,
        None => Lookup::Expired,
    })
}

fn record(row: &Row, id: TaskId, outcome: Option<Stored>, history: &[Row]) -> Result<TaskRecord, StoreError> {
    let state = state_of(col(row, 1)?)?;
    let outcome = match outcome {
        Some(stored) => stored.as_outcome(state)?,
        None => None,
    };
    if state.is_terminal() != outcome.is_some() {
        return Err(StoreError::Damaged(format!(
            "task {id} is {state}, which does not go with its outcome"
        )));
    }
    Ok(TaskRecord {
        id,
        model: model_of(&col::<String>(row, 0)?)?,
        state,
        created_at: Timestamp::from_micros(col(row, 4)?),
        started_at: instant(row, 5)?,
        finished_at: instant(row, 6)?,
        due_at: instant(row, 9)?,
        expires_at: instant(row, 10)?,
        deadline_at: instant(row, 13)?,
        attempts: Attempt(small(row, 3)?),
        retries: small(row, 11)?,
        history: history.iter().map(entry).collect::<Result<_, _>>()?,
        priority: small(row, 2)?,
        metadata: col::<Option<Vec<u8>>>(row, 8)?.map(Into::into),
        version: col(row, 7)?,
        replay_of: id_or_none(row, 12)?,
        outcome,
        cached: col(row, 14)?,
        retry: retry_of(col::<Option<String>>(row, 15)?.as_deref())?,
        trace: trace_of(id, col::<Option<String>>(row, 16)?.as_deref()),
    })
}

fn entry(row: &Row) -> Result<Redelivery, StoreError> {
    Ok(Redelivery {
        attempt: Attempt(small(row, 0)?),
        at: Timestamp::from_micros(col(row, 1)?),
        reason: col(row, 2)?,
    })
}

/// How many go before each, in their order, all of one moment; `None` of one that is not queued.
pub(crate) async fn positions(conn: &Conn, ids: &[TaskId]) -> Result<Vec<Option<u64>>, StoreError> {
    let doing = "cannot count the tasks ahead";
    let mut asked = vec![sql!(PLACES, ids)];
    // One alone may have moved on meanwhile, and is told where it was.
    let is_alone = ids.len() == 1;
    if !is_alone {
        asked.insert(0, SNAPSHOT.to_owned());
    }
    let places = conn.all(doing, &asked).await?.pop().unwrap_or_default();
    let mut models: HashMap<String, Vec<(TaskId, i64, i64)>> = HashMap::new();
    for row in places.rows {
        let queued = (id(&row, 0)?, col(&row, 2)?, col(&row, 3)?);
        models.entry(col(&row, 1)?).or_default().push(queued);
    }
    let most = i64::try_from(POSITION_MAX).unwrap_or(i64::MAX);
    let asked = models.iter().map(|(model, queued)| match queued[..] {
        [(_, place, seq)] => sql!(POSITION, model, place, place, seq, most),
        _ => {
            let last = queued.iter().map(|(_, place, _)| *place).max();
            let seqs: Vec<i64> = queued.iter().map(|(.., seq)| *seq).collect();
            sql!(POSITIONS, model, last, most, &seqs[..])
        }
    });
    let asked: Vec<String> = asked.chain((!is_alone).then(|| "COMMIT".to_owned())).collect();
    let answers = conn.all(doing, &asked).await?;
    let mut found = HashMap::new();
    for (queued, answer) in models.values().zip(answers) {
        if let ([(id, ..)], [row]) = (&queued[..], &answer.rows[..]) {
            found.insert(*id, small(row, 0)?);
            continue;
        }
        let mut ahead: HashMap<i64, u64> = HashMap::new();
        for row in &answer.rows {
            ahead.insert(col(row, 0)?, small::<u64>(row, 1)?.saturating_sub(1));
        }
        let each = queued.iter();
        found.extend(each.map(|(id, _, seq)| (*id, ahead.get(seq).copied().unwrap_or(POSITION_MAX))));
    }
    Ok(ids.iter().map(|id| found.get(id).copied()).collect())
}

pub(crate) async fn owner(conn: &Conn, id: TaskId) -> Result<Ownership, StoreError> {
    let row = conn
        .row("cannot look up whose a task is", sql!(OWNER, id, id))
        .await?;
    Ok(match row {
        None => Ownership::Unknown,
        Some(row) => Ownership::Of(tenant_of(col::<Option<String>>(&row, 0)?.as_deref())?),
    })
}
