//! Advisory locks of the database: that a schema is in use, and that a server is there. They go with the session.
//!
//! All servers of a schema share the first, and one that upgrades it has it alone; programs that know only schema 1 have it
//! alone as long as they run. The second is a server's own: who can take another's knows that that one has no session.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::connect::{Conn, Params};
use crate::error::{StoreError, col};

/// "CRST": the first half of the schema's lock; the second is the schema's own number in its database.
const LOCK_CLASS: i32 = 0x4352_5354;

/// A server that has just ended is still there for the database until it sees the end of its connection.
pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(3);
pub(crate) const LOCK_EVERY: Duration = Duration::from_millis(50);

/// A number of an object may be above what an int has: it is taken as its bits are.
macro_rules! schema_lock {
    ($function:literal) => {
        concat!(
            "SELECT ",
            $function,
            "($1, (($2::text::regnamespace::oid::bigint + 2147483648) % 4294967296 - 2147483648)::int)"
        )
    };
}

/// The lock of the server `$id` in the schema `$schema`.
macro_rules! server_lock {
    ($function:literal, $schema:literal, $id:literal) => {
        concat!(
            $function,
            "((",
            $schema,
            "::text::regnamespace::oid::bigint << 32) | ",
            $id,
            "::bigint)"
        )
    };
}
pub(crate) use server_lock;

const SHARE: &str = schema_lock!("pg_try_advisory_lock_shared");
const UNSHARE: &str = schema_lock!("pg_advisory_unlock_shared");
const ALONE: &str = schema_lock!("pg_try_advisory_lock");
const NOT_ALONE: &str = schema_lock!("pg_advisory_unlock");

const OWN: &str = concat!("SELECT ", server_lock!("pg_try_advisory_lock", "$1", "$2"));
const LET_GO: &str = concat!("SELECT ", server_lock!("pg_advisory_unlock", "$1", "$2"));

/// The database may not have noticed yet that our last connection is gone: what has the lock is our own session then.
const END_OWN_SESSION: &str = "\
SELECT pg_terminate_backend(s.pid) FROM servers AS s JOIN pg_locks AS l ON l.pid = s.pid
WHERE s.id = $1 AND s.number = $2 AND l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND l.classid = $3::text::regnamespace::oid AND l.objid = s.id::oid
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// The schema is in use: by this session too, as long as it lasts. False when somebody has it alone.
pub(crate) async fn share(conn: &Conn) -> Result<bool, StoreError> {
    taken(conn, SHARE, &[&LOCK_CLASS, &conn.schema()]).await
}

/// This session needs it no more.
pub(crate) async fn unshare(conn: &Conn) -> Result<(), StoreError> {
    let values: Params<'_> = &[&LOCK_CLASS, &conn.schema()];
    conn.rows("cannot let go of the store", UNSHARE, values)
        .await
        .map(drop)
}

/// The schema is in use by this session alone. False when others use it.
pub(crate) async fn alone(conn: &Conn) -> Result<bool, StoreError> {
    taken(conn, ALONE, &[&LOCK_CLASS, &conn.schema()]).await
}

/// Others may use it again.
pub(crate) async fn not_alone(conn: &Conn) -> Result<(), StoreError> {
    let values: Params<'_> = &[&LOCK_CLASS, &conn.schema()];
    conn.rows("cannot let go of the store", NOT_ALONE, values)
        .await
        .map(drop)
}

/// Takes the lock of a new server: nobody else knows its number.
pub(crate) async fn take_own(conn: &Conn, id: i64) -> Result<(), StoreError> {
    if taken(conn, OWN, &[&conn.schema(), &id]).await? {
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
        if taken(conn, OWN, &[&conn.schema(), &id]).await? {
            return Ok(true);
        }
        if Instant::now() >= until {
            return Ok(false);
        }
        let values: Params<'_> = &[&id, &number, &conn.schema()];
        conn.rows("cannot end the last session", END_OWN_SESSION, values)
            .await?;
        sleep(LOCK_EVERY).await;
    }
}

/// A server is there no more.
pub(crate) async fn let_go(conn: &Conn, id: i64) -> Result<(), StoreError> {
    conn.rows("cannot let go of a lock", LET_GO, &[&conn.schema(), &id])
        .await
        .map(drop)
}

async fn taken(conn: &Conn, sql: &'static str, values: Params<'_>) -> Result<bool, StoreError> {
    let row = conn.row("cannot lock the store", sql, values).await?;
    row.as_ref().map_or(Ok(false), |row| col(row, 0))
}
