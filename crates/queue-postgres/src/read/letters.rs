//! Dead letters.

use bytes::Bytes;
use cresset_queue::kit::{Stored, as_number, model_of, place_of, retry_of, tenant_of};
use cresset_queue::{LETTERS_MAX, LetterCursor, LetterPage, LetterQuery};
use cresset_task::{DeadLetter, Payload, TaskId, Tenant, Timestamp};
use tokio_postgres::Row;
use uuid::Uuid;

use super::{id, uuid};
use crate::connect::Conn;
use crate::error::{StoreError, col, tiny};

/// Newest first. The two forms are for two indexes.
const LIST: &str = "\
SELECT seq, id, model, version, created_at, died_at, priority, replayed_as, metadata, evidence, length(bytes)::bigint, tenant,
       retry
FROM letters WHERE seq < $1 AND ($2::text IS NULL OR tenant = $2) ORDER BY seq DESC LIMIT $3";

const LIST_MODEL: &str = "\
SELECT seq, id, model, version, created_at, died_at, priority, replayed_as, metadata, evidence, length(bytes)::bigint, tenant,
       retry
FROM letters WHERE seq < $1 AND ($2::text IS NULL OR tenant = $2) AND model = $4 ORDER BY seq DESC LIMIT $3";

const ONE: &str = "\
SELECT seq, id, model, version, created_at, died_at, priority, replayed_as, metadata, evidence, length(bytes)::bigint, tenant,
       retry
FROM letters WHERE id = $1";

const INPUT: &str = "SELECT kind, bytes FROM letters WHERE id = $1";

pub(crate) async fn letters(conn: &Conn, query: &LetterQuery) -> Result<LetterPage, StoreError> {
    let doing = "cannot list dead letters";
    let limit = query.limit.clamp(1, LETTERS_MAX);
    let after = place_of(query.after.map(|LetterCursor(place)| place));
    let tenant = query.tenant.as_ref().map(Tenant::as_str);
    // One more than asked for tells whether there is another page.
    let most = as_number(limit + 1);
    let rows = match &query.model {
        Some(model) => {
            conn.rows(doing, LIST_MODEL, &[&after, &tenant, &most, &model.as_str()])
                .await?
        }
        None => conn.rows(doing, LIST, &[&after, &tenant, &most]).await?,
    };
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
    let row = conn.row("cannot read a dead letter", ONE, &[&uuid(id)]).await?;
    row.as_ref().map(read).transpose()
}

pub(crate) async fn letter_input(conn: &Conn, id: TaskId) -> Result<Option<Payload>, StoreError> {
    let row = conn
        .row("cannot read the input of a dead letter", INPUT, &[&uuid(id)])
        .await?;
    let Some(row) = row else { return Ok(None) };
    let stored = Stored {
        kind: tiny(&row, 0)?,
        bytes: Bytes::copy_from_slice(col(&row, 1)?),
    };
    Ok(Some(stored.as_payload()?))
}

fn read(row: &Row) -> Result<DeadLetter, StoreError> {
    let evidence = serde_json::from_str(col(row, 9)?)
        .map_err(|e| StoreError::Damaged(format!("the evidence of a dead letter: {e}")))?;
    Ok(DeadLetter {
        id: id(row, 1)?,
        model: model_of(col(row, 2)?)?,
        version: col(row, 3)?,
        created_at: Timestamp::from_micros(col(row, 4)?),
        died_at: Timestamp::from_micros(col(row, 5)?),
        evidence,
        priority: tiny(row, 6)?,
        metadata: col::<Option<Vec<u8>>>(row, 8)?.map(Into::into),
        retry: retry_of(col(row, 12)?)?,
        input_bytes: col::<i64>(row, 10)?.cast_unsigned(),
        replayed_as: col::<Option<Uuid>>(row, 7)?.map(|id| TaskId::from_bytes(*id.as_bytes())),
        tenant: tenant_of(col(row, 11)?)?,
    })
}
