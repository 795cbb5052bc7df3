//! Dead letters.

use cresset_queue::kit::{as_number, model_of, place_of, retry_of, tenant_of};
use cresset_queue::{LETTERS_MAX, LetterCursor, LetterPage, LetterQuery};
use cresset_task::{DeadLetter, Payload, TaskId, Tenant, Timestamp};
use mysql_async::Row;

use super::at_once;
use crate::connect::Conn;
use crate::error::{StoreError, col, id, id_or_none, small};
use crate::payload::{Table, asked, parts};
use crate::sql::sql;

/// All of a letter.
macro_rules! columns {
    ($of:literal) => {
        concat!(
            "SELECT seq, id, model, version, created_at, died_at, priority, replayed_as, metadata, evidence, size, tenant, retry ",
            $of
        )
    };
}

/// Newest first. The two forms are for two indexes.
const LIST: &str = columns!(
    "FROM letters FORCE INDEX (PRIMARY) WHERE seq < ? AND (? IS NULL OR tenant = ?) ORDER BY seq DESC LIMIT ?"
);
const LIST_MODEL: &str = columns!(
    "FROM letters FORCE INDEX (letters_by_model) \
     WHERE seq < ? AND (? IS NULL OR tenant = ?) AND model = ? ORDER BY seq DESC LIMIT ?"
);
const ONE: &str = columns!("FROM letters WHERE id = ?");

const IS_THERE: &str = "SELECT 1 FROM letters WHERE id = ?";

pub(crate) async fn letters(conn: &Conn, query: &LetterQuery) -> Result<LetterPage, StoreError> {
    let limit = query.limit.clamp(1, LETTERS_MAX);
    let after = place_of(query.after.map(|LetterCursor(place)| place));
    let tenant = query.tenant.as_ref().map(Tenant::as_str);
    // One more than asked for tells whether there is another page.
    let most = as_number(limit + 1);
    let asked = match &query.model {
        Some(model) => sql!(LIST_MODEL, after, tenant, tenant, model.as_str(), most),
        None => sql!(LIST, after, tenant, tenant, most),
    };
    let rows = conn.rows("cannot list dead letters", asked).await?;
    let more = rows.len() > limit;
    let mut page = LetterPage::default();
    let mut last = None;
    for row in rows.iter().take(limit) {
        last = u64::try_from(col::<i64>(row, 0)?).ok();
        page.letters.push(read(row)?);
    }
    page.next = last.filter(|_| more).map(LetterCursor);
    Ok(page)
}

pub(crate) async fn letter(conn: &Conn, id: TaskId) -> Result<Option<DeadLetter>, StoreError> {
    let row = conn.row("cannot read a dead letter", sql!(ONE, id)).await?;
    row.as_ref().map(read).transpose()
}

pub(crate) async fn letter_input(conn: &Conn, id: TaskId) -> Result<Option<Payload>, StoreError> {
    let statements = [sql!(IS_THERE, id), asked(Table::Inputs, &[id])];
    let [letter, input] = at_once(conn, "cannot read the input of a dead letter", statements).await?;
    if letter.rows.is_empty() {
        return Ok(None);
    }
    let input = parts(input)?.remove(&id);
    let input =
        input.ok_or_else(|| StoreError::Damaged(format!("the input of the dead letter {id} is missing")))?;
    Ok(Some(input.as_payload()?))
}

fn read(row: &Row) -> Result<DeadLetter, StoreError> {
    let evidence = serde_json::from_str(&col::<String>(row, 9)?)
        .map_err(|e| StoreError::Damaged(format!("the evidence of a dead letter: {e}")))?;
    Ok(DeadLetter {
        id: id(row, 1)?,
        model: model_of(&col::<String>(row, 2)?)?,
        version: col(row, 3)?,
        created_at: Timestamp::from_micros(col(row, 4)?),
        died_at: Timestamp::from_micros(col(row, 5)?),
        evidence,
        priority: small(row, 6)?,
        metadata: col::<Option<Vec<u8>>>(row, 8)?.map(Into::into),
        input_bytes: col::<i64>(row, 10)?.cast_unsigned(),
        replayed_as: id_or_none(row, 7)?,
        tenant: tenant_of(col::<Option<String>>(row, 11)?.as_deref())?,
        retry: retry_of(col::<Option<String>>(row, 12)?.as_deref())?,
    })
}
