//! The list of deliveries.

use cresset_queue::kit::{LOOK_MAX, as_number, event_id, model_of, next_place, place_of, url_of};
use cresset_queue::{DELIVERIES_MAX, Delivery, DeliveryCursor, DeliveryPage, DeliveryQuery, DeliveryState};
use cresset_task::Timestamp;
use tokio_postgres::Row;

use super::listing::ends;
use super::{id, uuid};
use crate::connect::{Conn, Params};
use crate::error::{StoreError, col, small, tiny};

const ENDS: &str = "SELECT (SELECT max(seq) FROM outbox WHERE seq < $1), (SELECT min(seq) FROM outbox)";

const PAGE: &str = "\
SELECT seq, task, event, attempt, model, url, at, state, tries, due_at, settled_at, status, note FROM outbox
WHERE seq < $1 AND seq >= $2 AND ($3::smallint IS NULL OR state = $3) AND ($4::text IS NULL OR host = $4)
ORDER BY seq DESC LIMIT $5";

const PAGE_TASK: &str = "\
SELECT seq, task, event, attempt, model, url, at, state, tries, due_at, settled_at, status, note FROM outbox
WHERE seq < $1 AND seq >= $2 AND ($3::smallint IS NULL OR state = $3) AND ($4::text IS NULL OR host = $4) AND task = $6
ORDER BY seq DESC LIMIT $5";

pub(crate) async fn deliveries(conn: &Conn, query: &DeliveryQuery) -> Result<DeliveryPage, StoreError> {
    let doing = "cannot list deliveries";
    let limit = query.limit.clamp(1, DELIVERIES_MAX);
    let before = place_of(query.after.map(|DeliveryCursor(place)| place));
    let mut page = DeliveryPage::default();
    let Some((newest, oldest)) = ends(conn, doing, ENDS, before).await? else {
        return Ok(page);
    };
    // Of one task there are few.
    let floor = match query.task {
        Some(_) => oldest,
        None => newest.saturating_sub(LOOK_MAX - 1),
    };
    let state = query.state.map(|state| i16::from(state.code()));
    let host = query.host.as_deref();
    // One more than asked for tells whether there is another page.
    let most = as_number(limit + 1);
    let rows = match query.task {
        Some(task) => {
            let values: Params<'_> = &[&before, &floor, &state, &host, &most, &uuid(task)];
            conn.rows(doing, PAGE_TASK, values).await?
        }
        None => {
            conn.rows(doing, PAGE, &[&before, &floor, &state, &host, &most])
                .await?
        }
    };
    let more = rows.len() > limit;
    let mut last = None;
    for row in rows.iter().take(limit) {
        last = more.then_some(col(row, 0)?);
        page.deliveries.push(read(row)?);
    }
    page.next = next_place(last, floor, oldest).map(DeliveryCursor);
    Ok(page)
}

fn read(row: &Row) -> Result<Delivery, StoreError> {
    let code: u8 = tiny(row, 7)?;
    let state = DeliveryState::from_code(code)
        .ok_or_else(|| StoreError::Damaged(format!("a delivery is in state {code}")))?;
    let instant = |at: usize| Ok::<_, StoreError>(col::<Option<i64>>(row, at)?.map(Timestamp::from_micros));
    let status = col::<Option<i32>>(row, 11)?.map(u16::try_from).transpose();
    Ok(Delivery {
        id: event_id(id(row, 1)?, tiny(row, 2)?, small(row, 3)?)?,
        model: model_of(col(row, 4)?)?,
        url: url_of(col(row, 5)?)?,
        at: Timestamp::from_micros(col(row, 6)?),
        state,
        tries: small(row, 8)?,
        due_at: instant(9)?,
        settled_at: instant(10)?,
        status: status.map_err(|_| StoreError::Damaged("a delivery has no status of HTTP".into()))?,
        note: col(row, 12)?,
    })
}
