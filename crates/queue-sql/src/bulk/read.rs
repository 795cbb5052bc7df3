//! What readers look up of bulks.

use cresset_queue::kit::IntoQueueError as _;
use cresset_queue::kit::{model_of, place_of, state_of, tenant_of};
use cresset_queue::{
    BULK_PAGE_MAX, BULKS_MAX, Bulk, BulkCounts, BulkCursor, BulkFound, BulkPage, BulkQuery, QueueError,
};
use cresset_task::{BulkId, Ownership, TaskId, Tenant, Timestamp};
use rusqlite::{Connection, OptionalExtension, Row, params};
use tokio::sync::oneshot;

use crate::error::StoreError;
use crate::queries;

type Reply<T> = oneshot::Sender<Result<T, QueueError>>;

/// A question.
#[derive(Debug)]
pub(crate) enum BulkRead {
    One {
        id: BulkId,
        reply: Reply<Option<Bulk>>,
    },
    Owner {
        id: BulkId,
        reply: Reply<Ownership>,
    },
    Lines {
        id: BulkId,
        from: u64,
        limit: usize,
        reply: Reply<Vec<BulkFound>>,
    },
    Open {
        id: BulkId,
        limit: usize,
        reply: Reply<Vec<TaskId>>,
    },
    List {
        query: BulkQuery,
        reply: Reply<BulkPage>,
    },
}

/// Each answer is of one moment. A caller that has gone needs none.
pub(crate) fn answer(conn: &Connection, read: BulkRead) {
    // Rolled back when dropped: it reads only.
    let snapshot = conn
        .unchecked_transaction()
        .map_err(StoreError::sqlite("cannot begin to read a bulk"));
    match read {
        BulkRead::One { id, reply } => {
            let bulk = snapshot.and_then(|snapshot| one(&snapshot, id));
            let _gone = reply.send(bulk.map_err(|e| e.into_queue("bulk")));
        }
        BulkRead::Owner { id, reply } => {
            let owner = snapshot.and_then(|snapshot| owner(&snapshot, id));
            let _gone = reply.send(owner.map_err(|e| e.into_queue("bulk_owner")));
        }
        BulkRead::Lines {
            id,
            from,
            limit,
            reply,
        } => {
            let lines = snapshot.and_then(|snapshot| lines(&snapshot, id, from, limit));
            let _gone = reply.send(lines.map_err(|e| e.into_queue("bulk_lines")));
        }
        BulkRead::Open { id, limit, reply } => {
            let open = snapshot.and_then(|snapshot| {
                open(&snapshot, id, limit).map_err(StoreError::sqlite("cannot look for a bulk's open tasks"))
            });
            let _gone = reply.send(open.map_err(|e| e.into_queue("bulk_open")));
        }
        BulkRead::List { query, reply } => {
            let page = snapshot.and_then(|snapshot| list(&snapshot, &query));
            let _gone = reply.send(page.map_err(|e| e.into_queue("bulks")));
        }
    }
}

/// A bulk's row as SQLite gives it.
struct BulkRow {
    seq: i64,
    id: [u8; 16],
    model: String,
    tenant: Option<String>,
    metadata: Option<Vec<u8>>,
    created_at: i64,
    accepted: i64,
    wrong: i64,
    total: Option<i64>,
    cancelled_at: Option<i64>,
}

impl BulkRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: row.get(0)?,
            id: row.get(1)?,
            model: row.get(2)?,
            tenant: row.get(3)?,
            metadata: row.get(4)?,
            created_at: row.get(5)?,
            accepted: row.get(6)?,
            wrong: row.get(7)?,
            total: row.get(8)?,
            cancelled_at: row.get(9)?,
        })
    }

    fn whole(self, conn: &Connection) -> Result<Bulk, StoreError> {
        let accepted = self.accepted.cast_unsigned();
        let mut counts = BulkCounts {
            wrong: self.wrong.cast_unsigned(),
            ..BulkCounts::default()
        };
        let mut last = None;
        let states = states(conn, self.seq).map_err(StoreError::sqlite("cannot count a bulk's tasks"))?;
        for (state, tasks, ended) in states {
            *counts.of_state(state_of(state)?) = tasks.cast_unsigned();
            last = last.max(ended);
        }
        counts.forgotten = accepted.saturating_sub(counts.sum());
        Ok(Bulk {
            id: BulkId::from_bytes(self.id),
            model: model_of(&self.model)?,
            tenant: tenant_of(self.tenant.as_deref())?,
            metadata: self.metadata.map(Into::into),
            created_at: Timestamp::from_micros(self.created_at),
            accepted,
            total: self.total.map(i64::cast_unsigned),
            cancelled_at: self.cancelled_at.map(Timestamp::from_micros),
            finished_at: last.filter(|_| counts.open() == 0).map(Timestamp::from_micros),
            counts,
        })
    }
}

/// States with their tasks and the last end among them.
fn states(conn: &Connection, seq: i64) -> rusqlite::Result<Vec<(i64, i64, Option<i64>)>> {
    conn.prepare_cached(queries::BULK_COUNTS)?
        .query_map([seq], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect()
}

fn row_of(conn: &Connection, id: BulkId) -> Result<Option<BulkRow>, StoreError> {
    conn.prepare_cached(queries::BULK_ONE)
        .and_then(|mut query| query.query_row([id.as_bytes()], BulkRow::read).optional())
        .map_err(StoreError::sqlite("cannot read a bulk"))
}

fn one(conn: &Connection, id: BulkId) -> Result<Option<Bulk>, StoreError> {
    row_of(conn, id)?.map(|row| row.whole(conn)).transpose()
}

fn owner(conn: &Connection, id: BulkId) -> Result<Ownership, StoreError> {
    let Some(row) = row_of(conn, id)? else {
        return Ok(Ownership::Unknown);
    };
    Ok(Ownership::Of(tenant_of(row.tenant.as_deref())?))
}

fn lines(conn: &Connection, id: BulkId, from: u64, limit: usize) -> Result<Vec<BulkFound>, StoreError> {
    let Some(row) = row_of(conn, id)? else {
        return Ok(Vec::new());
    };
    let from = i64::try_from(from).unwrap_or(i64::MAX).min(row.accepted);
    let end = from
        .saturating_add(limit.clamp(1, BULK_PAGE_MAX) as i64)
        .min(row.accepted);
    let mut found = vec![BulkFound::Forgotten; usize::try_from(end - from).unwrap_or(0)];
    let numbered = numbered(conn, (row.seq, from, end))
        .map_err(StoreError::sqlite("cannot read the lines of a bulk"))?;
    for (line, what) in numbered {
        let place = usize::try_from(line - from).ok();
        if let Some(place) = place.and_then(|place| found.get_mut(place)) {
            *place = what;
        }
    }
    Ok(found)
}

fn numbered(conn: &Connection, (seq, from, end): (i64, i64, i64)) -> rusqlite::Result<Vec<(i64, BulkFound)>> {
    let range = params![seq, from, end];
    let mut tasks = conn.prepare_cached(queries::BULK_LINES_TASKS)?;
    let tasks = tasks.query_map(range, |row| {
        Ok((row.get(0)?, BulkFound::Task(TaskId::from_bytes(row.get(1)?))))
    })?;
    let mut found: Vec<_> = tasks.collect::<rusqlite::Result<_>>()?;
    let mut wrong = conn.prepare_cached(queries::BULK_LINES_WRONG)?;
    for line in wrong.query_map(range, |row| Ok((row.get(0)?, BulkFound::Wrong(row.get(1)?))))? {
        found.push(line?);
    }
    Ok(found)
}

fn open(conn: &Connection, id: BulkId, limit: usize) -> rusqlite::Result<Vec<TaskId>> {
    conn.prepare_cached(queries::BULK_OPEN)?
        .query_map(
            params![id.as_bytes(), limit.clamp(1, BULK_PAGE_MAX) as i64],
            |row| Ok(TaskId::from_bytes(row.get(0)?)),
        )?
        .collect()
}

fn list(conn: &Connection, query: &BulkQuery) -> Result<BulkPage, StoreError> {
    let limit = query.limit.clamp(1, BULKS_MAX);
    let before = place_of(query.after.map(|BulkCursor(place)| place));
    let rows = || {
        conn.prepare_cached(queries::BULK_LIST)?
            .query_map(
                // One more than asked for tells whether there is another page.
                params![
                    before,
                    query.tenant.as_ref().map(Tenant::as_str),
                    (limit + 1) as i64
                ],
                BulkRow::read,
            )?
            .collect::<rusqlite::Result<Vec<_>>>()
    };
    let mut rows = rows().map_err(StoreError::sqlite("cannot list bulks"))?;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let last = rows.last().and_then(|row| u64::try_from(row.seq).ok());
    let bulks = rows.into_iter().map(|row| row.whole(conn));
    Ok(BulkPage {
        bulks: bulks.collect::<Result<_, _>>()?,
        next: last.filter(|_| more).map(BulkCursor),
    })
}
