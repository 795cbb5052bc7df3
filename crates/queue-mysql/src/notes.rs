//! What this server tells the others: a row of `news`, within the transaction that makes it true.

use cresset_queue::kit::fleet::{self, Tally};

use crate::connect::Conn;
use crate::error::StoreError;
use crate::sql::sql;

/// A group tells this much at most; what is more is quicker to look up.
const NOTE_BYTES_MAX: usize = 128 * 1024;

const COUNT: &str = "UPDATE servers SET told = told + 1 WHERE id = ?";
const TELL: &str = "INSERT INTO news (server, number, note) SELECT id, told, ? FROM servers WHERE id = ?";

/// The statements that tell what a group comes to, once it is committed; none where there is nothing to tell.
pub(crate) fn of_group(tally: &Tally) -> Vec<String> {
    let pieces = fleet::pieces(tally, NOTE_BYTES_MAX, 1);
    let statements = |note: String| [sql!(COUNT, tally.me), sql!(TELL, &note, tally.me)];
    pieces.into_iter().flat_map(statements).collect()
}

/// Tells this by itself, whether anybody is there or not.
pub(crate) async fn tell(conn: &Conn, me: i64, note: &str) -> Result<(), StoreError> {
    let statements = [
        "START TRANSACTION".to_owned(),
        sql!(COUNT, me),
        sql!(TELL, note, me),
        "COMMIT".to_owned(),
    ];
    conn.all("cannot tell the other servers", &statements)
        .await
        .map(drop)
}
