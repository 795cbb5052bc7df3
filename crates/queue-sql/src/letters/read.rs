//! Questions about dead letters, answered by the readers.

use cresset_queue::kit::IntoQueueError as _;
use cresset_queue::kit::{model_of, place_of, retry_of, tenant_of};
use cresset_queue::{LETTERS_MAX, LetterCursor, LetterPage, LetterQuery, QueueError};
use cresset_task::{DeadLetter, Payload, TaskId, Tenant, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};
use tokio::sync::oneshot;

use crate::error::StoreError;
use crate::files::{Files, Part};
use crate::place::Found;
use crate::queries;

/// A question.
#[derive(Debug)]
pub(crate) enum LetterRead {
    List {
        query: LetterQuery,
        reply: oneshot::Sender<Result<LetterPage, QueueError>>,
    },
    One {
        id: TaskId,
        reply: oneshot::Sender<Result<Option<DeadLetter>, QueueError>>,
    },
    Input {
        id: TaskId,
        reply: oneshot::Sender<Result<Option<Payload>, QueueError>>,
    },
}

pub(crate) fn answer(conn: &Connection, files: &Files, read: LetterRead) {
    // A caller that has gone needs no answer.
    match read {
        LetterRead::List { query, reply } => {
            let _gone = reply.send(list(conn, &query).map_err(|e| e.into_queue("letters")));
        }
        LetterRead::One { id, reply } => {
            let _gone = reply.send(one(conn, id).map_err(|e| e.into_queue("letter")));
        }
        LetterRead::Input { id, reply } => {
            let _gone = reply.send(input(conn, files, id).map_err(|e| e.into_queue("letter_input")));
        }
    }
}

fn list(conn: &Connection, query: &LetterQuery) -> Result<LetterPage, StoreError> {
    let limit = query.limit.clamp(1, LETTERS_MAX);
    let after = place_of(query.after.map(|LetterCursor(place)| place));
    // One more than asked for tells whether there is another page.
    let rows =
        list_rows(conn, query, after, limit + 1).map_err(StoreError::sqlite("cannot list dead letters"))?;
    let more = rows.len() > limit;
    let mut page = LetterPage::default();
    let mut last = None;
    for row in rows.into_iter().take(limit) {
        last = u64::try_from(row.seq).ok();
        page.letters.push(row.into_letter()?);
    }
    page.next = last.filter(|_| more).map(LetterCursor);
    Ok(page)
}

fn list_rows(
    conn: &Connection,
    query: &LetterQuery,
    after: i64,
    limit: usize,
) -> rusqlite::Result<Vec<LetterRow>> {
    let limit = limit as i64;
    let tenant = query.tenant.as_ref().map(Tenant::as_str);
    match &query.model {
        Some(model) => conn
            .prepare_cached(queries::LETTER_LIST_MODEL)?
            .query_map(params![after, limit, model.as_str(), tenant], LetterRow::read)?
            .collect(),
        None => conn
            .prepare_cached(queries::LETTER_LIST)?
            .query_map(params![after, limit, tenant], LetterRow::read)?
            .collect(),
    }
}

fn one(conn: &Connection, id: TaskId) -> Result<Option<DeadLetter>, StoreError> {
    let row = conn
        .prepare_cached(queries::LETTER_ONE)
        .and_then(|mut query| query.query_row([id.as_bytes()], LetterRow::read).optional())
        .map_err(StoreError::sqlite("cannot read a dead letter"))?;
    row.map(LetterRow::into_letter).transpose()
}

fn input(conn: &Connection, files: &Files, id: TaskId) -> Result<Option<Payload>, StoreError> {
    let Some(found) = input_row(conn, id)? else {
        return Ok(None);
    };
    match found.load(files) {
        Ok(stored) => Ok(Some(stored.as_payload()?)),
        // Between the row and its file, both may have been removed.
        Err(_) if input_row(conn, id)?.is_none() => Ok(None),
        Err(error) => Err(error),
    }
}

fn input_row(conn: &Connection, id: TaskId) -> Result<Option<Found>, StoreError> {
    conn.prepare_cached(queries::LETTER_INPUT)
        .and_then(|mut query| {
            query
                .query_row([id.as_bytes()], |row| Found::read(row, 0, id, Part::Input))
                .optional()
        })
        .map(Option::flatten)
        .map_err(StoreError::sqlite("cannot read the input of a dead letter"))
}

/// A letter's row as SQLite gives it.
struct LetterRow {
    seq: i64,
    id: [u8; 16],
    model: String,
    version: Option<String>,
    created_at: i64,
    died_at: i64,
    priority: i8,
    replayed_as: Option<[u8; 16]>,
    metadata: Option<Vec<u8>>,
    evidence: String,
    input_bytes: i64,
    tenant: Option<String>,
    retry: Option<String>,
}

impl LetterRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: row.get(0)?,
            id: row.get(1)?,
            model: row.get(2)?,
            version: row.get(3)?,
            created_at: row.get(4)?,
            died_at: row.get(5)?,
            priority: row.get(6)?,
            replayed_as: row.get(7)?,
            metadata: row.get(8)?,
            evidence: row.get(9)?,
            input_bytes: row.get(10)?,
            tenant: row.get(11)?,
            retry: row.get(12)?,
        })
    }

    fn into_letter(self) -> Result<DeadLetter, StoreError> {
        let evidence = serde_json::from_str(&self.evidence)
            .map_err(|e| StoreError::Damaged(format!("the evidence of a dead letter: {e}")))?;
        Ok(DeadLetter {
            id: TaskId::from_bytes(self.id),
            model: model_of(&self.model)?,
            version: self.version,
            created_at: Timestamp::from_micros(self.created_at),
            died_at: Timestamp::from_micros(self.died_at),
            evidence,
            priority: self.priority,
            metadata: self.metadata.map(Into::into),
            retry: retry_of(self.retry.as_deref())?,
            input_bytes: self.input_bytes.cast_unsigned(),
            replayed_as: self.replayed_as.map(TaskId::from_bytes),
            tenant: tenant_of(self.tenant.as_deref())?,
        })
    }
}
