//! The list of deliveries.

use cresset_queue::kit::{LOOK_MAX, as_number, event_id, model_of, next_place, place_of, url_of};
use cresset_queue::{DELIVERIES_MAX, Delivery, DeliveryCursor, DeliveryPage, DeliveryQuery, DeliveryState};
use cresset_task::Timestamp;
use mysql_async::Row;

use super::instant;
use super::listing::ends;
use crate::connect::Conn;
use crate::error::{StoreError, col, id, small};
use crate::sql::sql;

const ENDS: &str = "SELECT (SELECT MAX(seq) FROM outbox WHERE seq < ?), (SELECT MIN(seq) FROM outbox)";

/// All of a delivery. The two forms are for two indexes.
macro_rules! page {
    ($index:literal, $more:literal) => {
        concat!(
            "SELECT seq, task, event, attempt, model, url, at, state, tries, due_at, settled_at, status, note \
             FROM outbox FORCE INDEX (",
            $index,
            ") WHERE seq < ? AND seq >= ? AND (? IS NULL OR state = ?) AND (? IS NULL OR host = ?)",
            $more,
            " ORDER BY seq DESC LIMIT ?"
        )
    };
}

const PAGE: &str = page!("PRIMARY", "");
const PAGE_TASK: &str = page!("outbox_by_name", " AND task = ?");

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
    let state = query.state.map(|state| state.code());
    let host = query.host.as_deref();
    // One more than asked for tells whether there is another page.
    let most = as_number(limit + 1);
    let asked = match query.task {
        Some(task) => sql!(PAGE_TASK, before, floor, state, state, host, host, task, most),
        None => sql!(PAGE, before, floor, state, state, host, host, most),
    };
    let rows = conn.rows(doing, asked).await?;
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
    let code: u8 = small(row, 7)?;
    let state = DeliveryState::from_code(code)
        .ok_or_else(|| StoreError::Damaged(format!("a delivery is in state {code}")))?;
    let status = col::<Option<i64>>(row, 11)?.map(u16::try_from).transpose();
    Ok(Delivery {
        id: event_id(id(row, 1)?, small(row, 2)?, small(row, 3)?)?,
        model: model_of(&col::<String>(row, 4)?)?,
        url: url_of(&col::<String>(row, 5)?)?,
        at: Timestamp::from_micros(col(row, 6)?),
        state,
        tries: small(row, 8)?,
        due_at: instant(row, 9)?,
        settled_at: instant(row, 10)?,
        status: status.map_err(|_| StoreError::Damaged("a delivery has no status of HTTP".into()))?,
        note: col(row, 12)?,
    })
}
