//! The list of deliveries, answered by the readers.

use cresset_queue::kit::IntoQueueError as _;
use cresset_queue::kit::{LOOK_MAX, event_id, model_of, next_place, place_of, url_of};
use cresset_queue::{
    DELIVERIES_MAX, Delivery, DeliveryCursor, DeliveryPage, DeliveryQuery, DeliveryState, QueueError,
};
use cresset_task::{TaskId, Timestamp};
use rusqlite::{Connection, Row, params};
use tokio::sync::oneshot;

use crate::error::StoreError;
use crate::queries;

/// A question.
#[derive(Debug)]
pub(crate) struct OutboxRead {
    pub(super) query: DeliveryQuery,
    pub(super) reply: oneshot::Sender<Result<DeliveryPage, QueueError>>,
}

pub(crate) fn answer(conn: &Connection, OutboxRead { query, reply }: OutboxRead) {
    // A caller that has gone needs no answer.
    let _gone = reply.send(page(conn, &query).map_err(|e| e.into_queue("deliveries")));
}

fn page(conn: &Connection, query: &DeliveryQuery) -> Result<DeliveryPage, StoreError> {
    let limit = query.limit.clamp(1, DELIVERIES_MAX);
    let before = place_of(query.after.map(|DeliveryCursor(place)| place));
    let cannot = || StoreError::sqlite("cannot list deliveries");
    let mut page = DeliveryPage::default();
    let Some((newest, oldest)) = ends(conn, before).map_err(cannot())? else {
        return Ok(page);
    };
    // Of one task there are few.
    let floor = match query.task {
        Some(_) => oldest,
        None => newest.saturating_sub(LOOK_MAX - 1),
    };
    // One more than asked for tells whether there is another page.
    let rows = rows(conn, query, before, floor, limit + 1).map_err(cannot())?;
    let more = rows.len() > limit;
    let mut last = None;
    for row in rows.into_iter().take(limit) {
        last = more.then_some(row.seq);
        page.deliveries.push(row.into_delivery()?);
    }
    page.next = next_place(last, floor, oldest).map(DeliveryCursor);
    Ok(page)
}

/// The newest before this place, and the oldest of all.
fn ends(conn: &Connection, before: i64) -> rusqlite::Result<Option<(i64, i64)>> {
    conn.prepare_cached(queries::OUTBOX_ENDS)?
        .query_row([before], |row| {
            let (newest, oldest): (Option<i64>, Option<i64>) = (row.get(0)?, row.get(1)?);
            Ok(newest.zip(oldest))
        })
}

fn rows(
    conn: &Connection,
    query: &DeliveryQuery,
    before: i64,
    floor: i64,
    limit: usize,
) -> rusqlite::Result<Vec<DeliveryRow>> {
    let state = query.state.map(DeliveryState::code);
    let (host, limit) = (query.host.as_deref(), limit as i64);
    match query.task {
        Some(task) => conn
            .prepare_cached(queries::OUTBOX_LIST_TASK)?
            .query_map(
                params![before, task.as_bytes(), state, host, limit],
                DeliveryRow::read,
            )?
            .collect(),
        None => conn
            .prepare_cached(queries::OUTBOX_LIST)?
            .query_map(params![before, floor, state, host, limit], DeliveryRow::read)?
            .collect(),
    }
}

/// A row as SQLite gives it.
struct DeliveryRow {
    seq: i64,
    task: [u8; 16],
    event: u8,
    attempt: u32,
    model: String,
    url: String,
    at: i64,
    state: u8,
    tries: u32,
    due_at: Option<i64>,
    settled_at: Option<i64>,
    status: Option<u16>,
    note: Option<String>,
}

impl DeliveryRow {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            seq: row.get(0)?,
            task: row.get(1)?,
            event: row.get(2)?,
            attempt: row.get(3)?,
            model: row.get(4)?,
            url: row.get(5)?,
            at: row.get(6)?,
            state: row.get(7)?,
            tries: row.get(8)?,
            due_at: row.get(9)?,
            settled_at: row.get(10)?,
            status: row.get(11)?,
            note: row.get(12)?,
        })
    }

    fn into_delivery(self) -> Result<Delivery, StoreError> {
        let state = DeliveryState::from_code(self.state)
            .ok_or_else(|| StoreError::Damaged(format!("a delivery is in state {}", self.state)))?;
        Ok(Delivery {
            id: event_id(TaskId::from_bytes(self.task), self.event, self.attempt)?,
            model: model_of(&self.model)?,
            url: url_of(&self.url)?,
            at: Timestamp::from_micros(self.at),
            state,
            tries: self.tries,
            due_at: self.due_at.map(Timestamp::from_micros),
            settled_at: self.settled_at.map(Timestamp::from_micros),
            status: self.status,
            note: self.note,
        })
    }
}
