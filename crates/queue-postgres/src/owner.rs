//! Who owns the store: an advisory lock on one connection, and the row `server`, under whose epoch alone is written.

use std::sync::Arc;
use std::time::Duration;

use cresset_queue::kit::SERVER_ENDED;
use cresset_task::Timestamp;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::connect::{Conn, Dialer};
use crate::error::{StoreError, col, small};
use crate::schema;
use crate::target::Target;

/// "CRST": the first half of the lock's key; the second is the schema's own number in its database.
const LOCK_CLASS: i32 = 0x4352_5354;

/// A server that has just been killed is still there for the database until it sees the end of its connection.
const LOCK_WAIT: Duration = Duration::from_secs(3);
const LOCK_EVERY: Duration = Duration::from_millis(50);

/// What a task's history says of a lease that ended because of that.
const FORGOTTEN: &str = "the database forgot part of what it had confirmed while it ran";

/// An ownership of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// This server's number, by chance, as long as it runs.
    pub(crate) number: Uuid,
    /// What it may write under.
    pub(crate) epoch: i64,
    /// Groups that were committed under it, as far as is known.
    pub(crate) commits: i64,
}

/// A connection that holds the lock, and what was found.
pub(crate) struct Held {
    pub(crate) conn: Arc<Conn>,
    pub(crate) owner: Owner,
    /// Scripts that were applied; all of them made a new store.
    pub(crate) upgraded: usize,
    /// Tasks whose leases ended with another server, or an earlier run of this one.
    pub(crate) requeued: u64,
    /// It is the same ownership as before.
    pub(crate) is_same: bool,
}

/// Takes the store; from whoever had it last, unless that was `before`.
pub(crate) async fn take(dialer: &Dialer, number: Uuid, before: Option<Owner>) -> Result<Held, StoreError> {
    let target = &dialer.target;
    let conn = Conn::open(dialer).await?;
    schema::make(&conn, target).await?;
    lock(&conn, target, before).await?;
    let upgraded = schema::upgrade(&conn).await?;
    if let Some(before) = before
        && let Some(commits) = commits_of(&conn, before).await?
    {
        let owner = Owner { commits, ..before };
        note_process(&conn, owner).await?;
        return Ok(Held {
            conn,
            owner,
            upgraded,
            requeued: 0,
            is_same: true,
        });
    }
    let (epoch, requeued) = begin(&conn, number).await?;
    let owner = Owner {
        number,
        epoch,
        commits: 0,
    };
    Ok(Held {
        conn,
        owner,
        upgraded,
        requeued,
        is_same: false,
    })
}

async fn lock(conn: &Conn, target: &Target, before: Option<Owner>) -> Result<(), StoreError> {
    // A number of an object may be above what an int has: it is taken as its bits are.
    let sql = "SELECT pg_try_advisory_lock($1, (($2::text::regnamespace::oid::bigint + 2147483648) % 4294967296 \
               - 2147483648)::int)";
    let until = Instant::now() + LOCK_WAIT;
    loop {
        let row = conn
            .row("cannot lock the store", sql, &[&LOCK_CLASS, &target.schema])
            .await?;
        if row.as_ref().is_some_and(|row| row.get(0)) {
            return Ok(());
        }
        if let Some(before) = before {
            end_own_session(conn, target, before).await?;
        }
        if Instant::now() >= until {
            return Err(StoreError::Fenced(who_has_it(conn, target).await));
        }
        sleep(LOCK_EVERY).await;
    }
}

/// The database may not have noticed yet that our last connection is gone: what holds the lock is our own session then.
async fn end_own_session(conn: &Conn, target: &Target, before: Owner) -> Result<(), StoreError> {
    let sql = "SELECT pg_terminate_backend(s.pid) FROM server AS s JOIN pg_locks AS l ON l.pid = s.pid \
               WHERE s.owner = $1 AND s.epoch = $2 AND l.locktype = 'advisory' AND l.classid = $3::int::oid AND l.granted \
               AND l.objid = $4::text::regnamespace::oid AND l.database = \
               (SELECT oid FROM pg_database WHERE datname = current_database())";
    conn.rows(
        "cannot end the last session",
        sql,
        &[&before.number, &before.epoch, &LOCK_CLASS, &target.schema],
    )
    .await
    .map(drop)
}

async fn who_has_it(conn: &Conn, target: &Target) -> String {
    let sql = "SELECT who FROM server";
    let who = conn
        .row("cannot read who has the store", sql, &[])
        .await
        .ok()
        .flatten();
    let who: String = who
        .and_then(|row| row.try_get(0).ok())
        .unwrap_or_else(|| "another server".into());
    format!(
        "{who} has the store {target}; one server at a time owns a schema: stop that one, or choose another schema with \
         ?schema=NAME in the URL"
    )
}

/// How many groups this owner has committed; `None` when it owns the store no more.
async fn commits_of(conn: &Conn, owner: Owner) -> Result<Option<i64>, StoreError> {
    let sql = "SELECT commits FROM server WHERE owner = $1 AND epoch = $2";
    let row = conn
        .row(
            "cannot read who owns the store",
            sql,
            &[&owner.number, &owner.epoch],
        )
        .await?;
    row.as_ref().map(|row| col(row, 0)).transpose()
}

async fn note_process(conn: &Conn, owner: Owner) -> Result<(), StoreError> {
    let sql = "UPDATE server SET pid = pg_backend_pid() WHERE epoch = $1";
    conn.run("cannot note the connection", sql, &[&owner.epoch])
        .await
        .map(drop)
}

/// Begins an epoch: the leases of whoever was before end. Waits for a group of that one that is just being committed.
async fn begin(conn: &Conn, number: Uuid) -> Result<(i64, u64), StoreError> {
    let doing = "cannot take over the store";
    conn.batch(doing, "BEGIN").await?;
    let now = Timestamp::now().as_micros();
    let who = format!(
        "the server with process {} on {}",
        std::process::id(),
        host_name()
    );
    let sql = "INSERT INTO server (epoch, commits, owner, pid, who, since) VALUES (1, 0, $1, pg_backend_pid(), $2, $3) \
               ON CONFLICT (one) DO UPDATE SET epoch = server.epoch + 1, commits = 0, owner = excluded.owner, \
               pid = excluded.pid, who = excluded.who, since = excluded.since RETURNING epoch";
    let row = conn.row(doing, sql, &[&number, &who, &now]).await?;
    let row = row.ok_or_else(|| StoreError::Damaged("the store has no owner's row".into()))?;
    let epoch = small(&row, 0)?;
    let requeued = end_leases(conn, doing, (now, SERVER_ENDED)).await?;
    conn.batch(doing, "COMMIT").await?;
    Ok((epoch, requeued))
}

fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_or_else(|_| "an unnamed machine".into(), |name| name.trim().to_owned())
}

/// Whatever is leased is queued again; how many tasks.
async fn end_leases(conn: &Conn, doing: &'static str, (now, reason): (i64, &str)) -> Result<u64, StoreError> {
    let note = "INSERT INTO history (seq, attempt, at, reason) SELECT seq, attempts, $1, $2 FROM tasks WHERE state = 1 \
                ON CONFLICT (seq, attempt) DO NOTHING";
    conn.run(doing, note, &[&now, &reason]).await?;
    let requeued = conn
        .run(doing, "UPDATE tasks SET state = 0 WHERE state = 1", &[])
        .await?;
    let outbox = "UPDATE outbox SET state = 0, due_at = $1 WHERE settled_at IS NULL AND state = 1";
    conn.run(doing, outbox, &[&now]).await?;
    Ok(requeued)
}

/// The database has forgotten groups that it had confirmed: it was told not to flush, or another one took its place that had
/// not got them yet. Leases may be among them, so no number that was given may be given again; and so may the news that one
/// was given back, so what it takes to be leased is queued again.
pub(crate) async fn skip_fences(conn: &Conn, lost: i64) -> Result<(), StoreError> {
    let doing = "cannot skip the numbers of leases that the database has forgotten";
    conn.batch(doing, "BEGIN").await?;
    let now = Timestamp::now().as_micros();
    end_leases(conn, doing, (now, FORGOTTEN)).await?;
    let tasks = "UPDATE tasks SET attempts = attempts + $1 WHERE finished_at IS NULL";
    conn.run(doing, tasks, &[&lost]).await?;
    let outbox = "UPDATE outbox SET fence = fence + $1 WHERE settled_at IS NULL";
    conn.run(doing, outbox, &[&lost]).await?;
    conn.batch(doing, "COMMIT").await
}
