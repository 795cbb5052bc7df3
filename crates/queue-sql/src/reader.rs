//! Reading threads: `fetch`, `position`, `recall`, the lists of tasks and deliveries and what is asked of dead letters, each query one snapshot of
//! what is committed.

use cresset_queue::kit::IntoQueueError as _;
use std::sync::{Arc, Mutex, PoisonError};

use cresset_queue::kit::{model_of, retry_of, state_of, tenant_of, trace_of};
use cresset_queue::{Idempotency, Lookup, POSITION_MAX, QueueError, Submitted, TaskPage, TaskQuery};
use cresset_task::{Attempt, ModelName, Ownership, Redelivery, TaskId, TaskRecord, Timestamp};
use rusqlite::{Connection, OptionalExtension, params};
use tokio::sync::oneshot;

use crate::bulk::{self, BulkRead};
use crate::error::StoreError;
use crate::files::{Files, Part};
use crate::idempotency::recall;
use crate::inbox::{Outlet, Received};
use crate::letters::{self, LetterRead};
use crate::listing;
use crate::outbox::{self, OutboxRead};
use crate::place::Found;
use crate::queries;

/// Places in the readers' inbox; a read takes some 10 us, so this is a few milliseconds of them.
pub(crate) const READS_MAX: usize = 512;

/// A question.
#[derive(Debug)]
pub(crate) enum Read {
    Fetch {
        id: TaskId,
        reply: oneshot::Sender<Result<Lookup, QueueError>>,
    },
    Position {
        id: TaskId,
        reply: oneshot::Sender<Result<Option<u64>, QueueError>>,
    },
    Owner {
        id: TaskId,
        reply: oneshot::Sender<Result<Ownership, QueueError>>,
    },
    Letters(LetterRead),
    Outbox(OutboxRead),
    Bulk(BulkRead),
    Tasks {
        query: TaskQuery,
        reply: oneshot::Sender<Result<TaskPage, QueueError>>,
    },
    Recall {
        model: ModelName,
        idempotency: Idempotency,
        reply: oneshot::Sender<Result<Option<Submitted>, QueueError>>,
    },
}

/// Answers questions until the inbox, shared with the other readers, is closed and empty.
pub(crate) fn run(conn: &Connection, files: &Files, inbox: &Arc<Mutex<Outlet<Read>>>) {
    loop {
        // Whoever holds the lock waits for the next question, the others wait for the lock.
        let received = inbox.lock().unwrap_or_else(PoisonError::into_inner).recv();
        // A caller that has gone needs no answer.
        match received {
            Received::Work(Read::Fetch { id, reply }) => {
                let _gone = reply.send(fetch(conn, files, id).map_err(|e| e.into_queue("fetch")));
            }
            Received::Work(Read::Position { id, reply }) => {
                let _gone = reply.send(position(conn, id).map_err(|e| e.into_queue("position")));
            }
            Received::Work(Read::Owner { id, reply }) => {
                let _gone = reply.send(owner(conn, id).map_err(|e| e.into_queue("owner")));
            }
            Received::Work(Read::Letters(read)) => letters::answer(conn, files, read),
            Received::Work(Read::Outbox(read)) => outbox::answer(conn, read),
            Received::Work(Read::Bulk(read)) => bulk::answer(conn, read),
            Received::Work(Read::Tasks { query, reply }) => {
                let _gone = reply.send(listing::page(conn, &query).map_err(|e| e.into_queue("tasks")));
            }
            Received::Work(Read::Recall {
                model,
                idempotency,
                reply,
            }) => {
                let known = recall(conn, &model, &idempotency).map_err(|e| e.into_queue("recall"));
                let _gone = reply.send(known);
            }
            Received::Nudge | Received::Nothing => {}
            Received::End => return,
        }
    }
}

fn fetch(conn: &Connection, files: &Files, id: TaskId) -> Result<Lookup, StoreError> {
    if let Some((row, history)) = fetch_whole(conn, id)? {
        match row.into_record(id, history, files) {
            Ok(record) => return Ok(Lookup::Found(Box::new(record))),
            // Between the row and its file, a purge may have removed both.
            Err(_) if fetch_row(conn, id)?.is_none() => {}
            Err(error) => return Err(error),
        }
    }
    // The task first, its tombstone second: a purge in between is seen as the purge it is.
    let purged = conn
        .prepare_cached(queries::FETCH_TOMBSTONE)
        .and_then(|mut query| query.exists([id.as_bytes()]))
        .map_err(StoreError::sqlite("cannot read a purged id"))?;
    Ok(if purged { Lookup::Expired } else { Lookup::Unknown })
}

fn position(conn: &Connection, id: TaskId) -> Result<Option<u64>, StoreError> {
    conn.prepare_cached(queries::POSITION)
        .and_then(|mut query| {
            query
                .query_row(params![id.as_bytes(), POSITION_MAX as i64], |row| {
                    row.get::<_, i64>(0)
                })
                .optional()
        })
        .map(|ahead| ahead.map(|n| u64::try_from(n).unwrap_or(0)))
        .map_err(StoreError::sqlite("cannot count the tasks ahead"))
}

fn owner(conn: &Connection, id: TaskId) -> Result<Ownership, StoreError> {
    let row: Option<Option<String>> = conn
        .prepare_cached(queries::OWNER)
        .and_then(|mut query| query.query_row([id.as_bytes()], |row| row.get(0)).optional())
        .map_err(StoreError::sqlite("cannot look up whose a task is"))?;
    match row {
        None => Ok(Ownership::Unknown),
        Some(tenant) => Ok(Ownership::Of(tenant_of(tenant.as_deref())?)),
    }
}

/// A task's row as SQLite gives it.
struct Row {
    model: String,
    state: i64,
    priority: i8,
    attempts: u32,
    created_at: i64,
    started_at: Option<i64>,
    finished_at: Option<i64>,
    version: Option<String>,
    metadata: Option<Vec<u8>>,
    outcome: Option<Found>,
    due_at: Option<i64>,
    expires_at: Option<i64>,
    deadline_at: Option<i64>,
    retries: u32,
    seq: i64,
    replay_of: Option<[u8; 16]>,
    cached: bool,
    retry: Option<String>,
    trace: Option<String>,
}

/// A row and its history as they were at one moment: a task that ends between the two reads would else be shown as one that
/// still runs and has the history of its end.
fn fetch_whole(conn: &Connection, id: TaskId) -> Result<Option<(Row, Vec<Redelivery>)>, StoreError> {
    // Rolled back when dropped: it reads only.
    let _snapshot = conn
        .unchecked_transaction()
        .map_err(StoreError::sqlite("cannot begin to read a task"))?;
    let Some(row) = fetch_row(conn, id)? else {
        return Ok(None);
    };
    let history = match row.attempts {
        0 => Vec::new(),
        _ => fetch_history(conn, row.seq).map_err(StoreError::sqlite("cannot read a history"))?,
    };
    Ok(Some((row, history)))
}

fn fetch_row(conn: &Connection, id: TaskId) -> Result<Option<Row>, StoreError> {
    query_row(conn, id).map_err(StoreError::sqlite("cannot read a task"))
}

fn query_row(conn: &Connection, id: TaskId) -> rusqlite::Result<Option<Row>> {
    conn.prepare_cached(queries::FETCH_TASK)?
        .query_row([id.as_bytes()], |row| {
            Ok(Row {
                model: row.get(0)?,
                state: row.get(1)?,
                priority: row.get(2)?,
                attempts: row.get(3)?,
                created_at: row.get(4)?,
                started_at: row.get(5)?,
                finished_at: row.get(6)?,
                version: row.get(7)?,
                metadata: row.get(8)?,
                outcome: Found::read(row, 9, id, Part::Outcome)?,
                due_at: row.get(14)?,
                expires_at: row.get(15)?,
                retries: row.get(16)?,
                seq: row.get(17)?,
                replay_of: row.get(18)?,
                deadline_at: row.get(19)?,
                cached: row.get(20)?,
                retry: row.get(21)?,
                trace: row.get(22)?,
            })
        })
        .optional()
}

fn fetch_history(conn: &Connection, seq: i64) -> rusqlite::Result<Vec<Redelivery>> {
    let mut query = conn.prepare_cached(queries::FETCH_HISTORY)?;
    let rows = query.query_map([seq], |row| {
        Ok(Redelivery {
            attempt: Attempt(row.get(0)?),
            at: Timestamp::from_micros(row.get(1)?),
            reason: row.get(2)?,
        })
    })?;
    rows.collect()
}

impl Row {
    fn into_record(
        self,
        id: TaskId,
        history: Vec<Redelivery>,
        files: &Files,
    ) -> Result<TaskRecord, StoreError> {
        let state = state_of(self.state)?;
        let outcome = match self.outcome {
            Some(found) => found.load(files)?.as_outcome(state)?,
            None => None,
        };
        if state.is_terminal() != outcome.is_some() {
            return Err(StoreError::Damaged(format!(
                "task {id} is {state}, which does not go with its outcome"
            )));
        }
        Ok(TaskRecord {
            id,
            model: model_of(&self.model)?,
            state,
            created_at: Timestamp::from_micros(self.created_at),
            started_at: self.started_at.map(Timestamp::from_micros),
            finished_at: self.finished_at.map(Timestamp::from_micros),
            due_at: self.due_at.map(Timestamp::from_micros),
            expires_at: self.expires_at.map(Timestamp::from_micros),
            deadline_at: self.deadline_at.map(Timestamp::from_micros),
            attempts: Attempt(self.attempts),
            retries: self.retries,
            history,
            priority: self.priority,
            metadata: self.metadata.map(Into::into),
            version: self.version,
            replay_of: self.replay_of.map(TaskId::from_bytes),
            outcome,
            cached: self.cached,
            retry: retry_of(self.retry.as_deref())?,
            trace: trace_of(id, self.trace.as_deref()),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::connect;

    /// More steps of SQLite's machine than a read of a task takes.
    const STEPS: u32 = 400;

    /// A commit by the writer at each step of a read in turn: the row and the history that are read belong together.
    #[test]
    fn a_task_that_changes_while_it_is_read_is_read_as_it_was_at_one_moment() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tasks.db");
        let database = crate::open::open(&path).unwrap();
        let mut reader = connect::reader(&path).unwrap();
        let writer = Arc::new(Mutex::new(database.conn));
        let mut before = 0;
        for step in 1..=STEPS {
            let id = TaskId::fresh();
            let insert = "INSERT INTO tasks (id, model, state, priority, weight, attempts, created_at) \
                          VALUES (?1, 'digits', 1, 0, 1, 1, 1)";
            writer.lock().unwrap().execute(insert, [id.as_bytes()]).unwrap();
            let (handle, steps) = (Arc::clone(&writer), AtomicU32::new(0));
            let change = move || {
                if steps.fetch_add(1, Ordering::Relaxed) + 1 == step {
                    let given_back = "BEGIN; \
                        INSERT INTO history SELECT seq, 1, 1, 'died' FROM tasks WHERE state = 1; \
                        UPDATE tasks SET state = 0, attempts = 2 WHERE state = 1; COMMIT";
                    handle.lock().unwrap().execute_batch(given_back).unwrap();
                }
                false
            };
            reader.progress_handler(1, Some(change)).unwrap();
            let (row, history) = fetch_whole(&reader, id).unwrap().unwrap();
            reader.progress_handler(0, None::<fn() -> bool>).unwrap();
            assert_eq!(history.len() as u32, row.attempts - 1, "at step {step}");
            before += u32::from(row.attempts == 1);
            // What the read was too short for is not left for the next one.
            writer
                .lock()
                .unwrap()
                .execute("UPDATE tasks SET state = 5 WHERE state < 2", [])
                .unwrap();
        }
        assert!(
            before > 0 && before < STEPS,
            "the commits fell before, within and after the read"
        );
    }
}
