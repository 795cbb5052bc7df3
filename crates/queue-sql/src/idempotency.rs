//! Known idempotency keys: what a submit under one is answered.
//!
//! The writer asks within the transaction that would insert the task, so of two submits with one key the second sees the
//! first, in the same group too. Readers ask for callers that only want to know.

use cresset_queue::kit::state_of;
use cresset_queue::{Idempotency, Submitted};
use cresset_task::{ModelName, TaskId, Timestamp};
use rusqlite::{Connection, OptionalExtension};

use crate::error::StoreError;
use crate::queries;

/// `None` when the key is free.
pub(crate) fn recall(
    conn: &Connection,
    model: &ModelName,
    idempotency: &Idempotency,
) -> Result<Option<Submitted>, StoreError> {
    let row = conn
        .prepare_cached(queries::RECALL_KEY)
        .and_then(|mut query| {
            query
                .query_row([model.as_str(), idempotency.key.as_str()], |row| {
                    Ok((
                        row.get::<_, [u8; 32]>(0)?,
                        row.get::<_, [u8; 16]>(1)?,
                        row.get::<_, i64>(2)?,
                        row.get::<_, i64>(3)?,
                    ))
                })
                .optional()
        })
        .map_err(StoreError::sqlite("cannot look up an idempotency key"))?;
    let Some((digest, id, state, created_at)) = row else {
        return Ok(None);
    };
    if digest != idempotency.digest {
        return Ok(Some(Submitted::KeyReused));
    }
    Ok(Some(Submitted::Replayed {
        id: TaskId::from_bytes(id),
        state: state_of(state)?,
        created_at: Timestamp::from_micros(created_at),
    }))
}
