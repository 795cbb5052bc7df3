//! What is looked up beside the writer, each in one statement and so as it was at one moment.

mod bulks;
mod deliveries;
mod inbox;
mod known;
mod letters;
mod listing;
mod task;

pub(crate) use self::bulks::{bulk, bulk_lines, bulk_open, bulk_owner, bulks};
pub(crate) use self::deliveries::deliveries;
pub(crate) use self::inbox::{inbox_has, inbox_load, inbox_record, inbox_row, inbox_rows};
pub(crate) use self::known::recall;
pub(crate) use self::letters::{letter, letter_input, letters};
pub(crate) use self::listing::tasks;
pub(crate) use self::task::{fetch, owner, position};

use cresset_task::TaskId;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::error::{StoreError, col};

/// An id in a row.
fn id(row: &Row, at: usize) -> Result<TaskId, StoreError> {
    Ok(TaskId::from_bytes(*col::<Uuid>(row, at)?.as_bytes()))
}

/// An id for a statement.
fn uuid(id: TaskId) -> Uuid {
    Uuid::from_bytes(*id.as_bytes())
}
