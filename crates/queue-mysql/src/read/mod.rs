//! What is looked up beside the writer, each as it was at one moment: in one statement, or in a transaction that reads one
//! snapshot.

mod bulks;
mod deliveries;
mod inbox;
mod known;
mod letters;
mod listing;
mod task;

pub(crate) use self::bulks::{bulk, bulk_lines, bulk_open, bulk_owner, bulks};
pub(crate) use self::deliveries::deliveries;
pub(crate) use self::inbox::{
    Glance, inbox_glance, inbox_has, inbox_id, inbox_load, inbox_record, inbox_row, inbox_rows,
};
pub(crate) use self::known::{recall, recalled, recalling};
pub(crate) use self::letters::{letter, letter_input, letters};
pub(crate) use self::listing::tasks;
pub(crate) use self::task::{Glimpse, fetch, glimpses, owner, positions};

use cresset_task::Timestamp;
use mysql_async::Row;

use crate::connect::{Answer, Conn};
use crate::error::{StoreError, col};

const SNAPSHOT: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";

/// What these give, all of one moment. One that fails leaves its transaction open: the connection is given up then.
async fn at_once<const N: usize>(
    conn: &Conn,
    doing: &'static str,
    statements: [String; N],
) -> Result<[Answer; N], StoreError> {
    let begin = std::iter::once(SNAPSHOT.to_owned());
    let all: Vec<String> = begin.chain(statements).chain(["COMMIT".to_owned()]).collect();
    let answers = conn.all(doing, &all).await?;
    let answers: Vec<Answer> = answers.into_iter().skip(1).take(N).collect();
    answers
        .try_into()
        .map_err(|_| StoreError::Damaged("the database answered less than it was asked".into()))
}

/// An instant in a row.
fn instant(row: &Row, at: usize) -> Result<Option<Timestamp>, StoreError> {
    Ok(col::<Option<i64>>(row, at)?.map(Timestamp::from_micros))
}
