//! Named locks of the database: of who comes onto the store, and of each server that is there. They go with the session.
//!
//! Who comes takes the first, and lets go of it once it is there: so an upgrade of the schema is alone with those who have a lock
//! of the second kind, and they are asked about. A server's own lock says that it has a session. Locks are known to one server of
//! the database alone, and not to the others of its cluster (`node`): there a server has gone that is silent for long. What makes
//! sure either way is the row in `servers`, without which nothing is written.

use std::time::Duration;

use cresset_queue::kit::fleet::SILENT_LIMIT;
use cresset_queue::kit::remote::Trouble as _;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::connect::Conn;
use crate::error::{StoreError, col};
use crate::sql::sql;

/// A server that has just ended is still there for the database until it sees the end of its connection.
const LOCK_WAIT: Duration = Duration::from_secs(3);
const LOCK_EVERY: Duration = Duration::from_millis(50);

/// Who comes waits for so many seconds for others who do.
const DOOR_WAIT_S: i64 = 10;

/// Names of locks are of the whole server, and have 64 characters at most.
macro_rules! door {
    () => {
        "CONCAT('cresset.', MD5(DATABASE()))"
    };
}

/// The lock of the server `$id`.
macro_rules! server_lock {
    ($id:literal) => {
        concat!("CONCAT('cresset.', MD5(DATABASE()), '.', ", $id, ")")
    };
}

/// Which server of the database this is.
macro_rules! node {
    () => {
        "CONCAT(@@hostname, ':', @@port)"
    };
}
pub(crate) use node;

/// Microseconds by the database's clock.
macro_rules! now_micros {
    () => {
        "CAST(UNIX_TIMESTAMP(NOW(6)) * 1000000 AS SIGNED)"
    };
}
pub(crate) use now_micros;

/// Whether a row of `servers` is of one that has no session, or has written nothing for so many microseconds.
macro_rules! is_gone {
    () => {
        concat!(
            "(node = ",
            crate::locks::node!(),
            " AND IS_FREE_LOCK(CONCAT('cresset.', MD5(DATABASE()), '.', id)) = 1 OR seen_at < ",
            crate::locks::now_micros!(),
            " - ?)"
        )
    };
}
pub(crate) use is_gone;

const ENTER: &str = concat!("SELECT GET_LOCK(", door!(), ", ?)");
const ENTERED: &str = concat!("DO RELEASE_LOCK(", door!(), ")");

const OWN: &str = concat!("SELECT GET_LOCK(", server_lock!("?"), ", 0)");
const LET_GO: &str = concat!("DO RELEASE_LOCK(", server_lock!("?"), ")");
pub(crate) const LET_GO_OF_ALL: &str = "DO RELEASE_ALL_LOCKS()";

/// Our session before this one, if it has the lock.
const OWN_SESSION: &str = concat!(
    "SELECT session FROM servers WHERE id = ? AND number = ? AND session = IS_USED_LOCK(",
    server_lock!("?"),
    ")"
);

const PRESENT: &str = concat!(
    "SELECT who FROM servers WHERE ended_at IS NULL AND NOT ",
    is_gone!(),
    " ORDER BY id"
);

/// What `is_gone!` is to be given.
pub(crate) fn silent_micros() -> i64 {
    i64::try_from(SILENT_LIMIT.as_micros()).unwrap_or(i64::MAX)
}

/// Nobody else comes onto the store until `entered`. False when others do so for too long.
pub(crate) async fn enter(conn: &Conn) -> Result<bool, StoreError> {
    taken(conn, sql!(ENTER, DOOR_WAIT_S)).await
}

/// The next may come.
pub(crate) async fn entered(conn: &Conn) -> Result<(), StoreError> {
    conn.batch("cannot let others onto the store", ENTERED).await
}

/// The servers that are there, for people.
pub(crate) async fn present(conn: &Conn) -> Result<Vec<String>, StoreError> {
    let rows = conn
        .rows("cannot read who is on the store", sql!(PRESENT, silent_micros()))
        .await?;
    rows.iter().map(|row| col(row, 0)).collect()
}

/// Takes the lock of a new server: nobody else knows its number.
pub(crate) async fn take_own(conn: &Conn, id: i64) -> Result<(), StoreError> {
    if taken(conn, sql!(OWN, id)).await? {
        return Ok(());
    }
    Err(StoreError::Damaged(format!(
        "the lock of the new server {id} is taken"
    )))
}

/// Takes a server's own lock again, from its own session before if that is still there. False when somebody else has it.
pub(crate) async fn take_back(conn: &Conn, id: i64, number: Uuid) -> Result<bool, StoreError> {
    let until = Instant::now() + LOCK_WAIT;
    loop {
        if taken(conn, sql!(OWN, id)).await? {
            return Ok(true);
        }
        if Instant::now() >= until {
            return Ok(false);
        }
        end_own_session(conn, id, number).await?;
        sleep(LOCK_EVERY).await;
    }
}

/// The database may not have noticed yet that our last connection is gone: what has the lock is our own session then.
async fn end_own_session(conn: &Conn, id: i64, number: Uuid) -> Result<(), StoreError> {
    let asked = sql!(OWN_SESSION, id, number, id);
    let Some(row) = conn.row("cannot look for the last session", asked).await? else {
        return Ok(());
    };
    let session: i64 = col(&row, 0)?;
    if let Err(error) = conn
        .batch("cannot end the last session", &sql!("KILL ?", session))
        .await
    {
        // It may have ended by itself.
        tracing::debug!(error = error.whole(), "the last session is not ended");
    }
    Ok(())
}

/// A server is there no more.
pub(crate) async fn let_go(conn: &Conn, id: i64) -> Result<(), StoreError> {
    conn.batch("cannot let go of a lock", &sql!(LET_GO, id)).await
}

async fn taken(conn: &Conn, asked: String) -> Result<bool, StoreError> {
    let row = conn.row("cannot lock the store", asked).await?;
    let taken: Option<i64> = row.as_ref().map_or(Ok(None), |row| col(row, 0))?;
    Ok(taken == Some(1))
}
