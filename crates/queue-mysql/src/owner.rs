//! Who owns the store: a named lock on one connection, and the row `server`, under whose epoch alone is written.
//!
//! The lock says early that somebody else is there. What makes sure is the row: names of locks are known to one server of a
//! database alone, and not to the others of its cluster.

use std::sync::Arc;
use std::time::Duration;

use cresset_queue::kit::SERVER_ENDED;
use cresset_queue::kit::remote::Trouble as _;
use cresset_task::Timestamp;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::connect::{Conn, Dialer, Role};
use crate::error::{StoreError, col};
use crate::schema;
use crate::sql::sql;
use crate::target::Target;

/// A server that has just been killed is still there for the database until it sees the end of its connection.
const LOCK_WAIT: Duration = Duration::from_secs(3);
const LOCK_EVERY: Duration = Duration::from_millis(50);

/// What a task's history says of a lease that ended because of that.
const FORGOTTEN: &str = "the database forgot part of what it had confirmed while it ran";

/// Names of locks are of the whole server, and have 64 characters at most.
macro_rules! lock_name {
    () => {
        "CONCAT('cresset.', MD5(DATABASE()))"
    };
}

const LOCK: &str = concat!("SELECT GET_LOCK(", lock_name!(), ", 0)");
pub(crate) const UNLOCK: &str = concat!("DO RELEASE_LOCK(", lock_name!(), ")");

/// Who has the store, and whether it has a session.
pub(crate) const WHO: &str = concat!(
    "SELECT who, COALESCE(session = IS_USED_LOCK(",
    lock_name!(),
    "), 0) FROM server"
);

/// Our session before this one, if it has the lock.
const OWN_SESSION: &str = concat!(
    "SELECT session FROM server WHERE owner = ? AND epoch = ? AND session = IS_USED_LOCK(",
    lock_name!(),
    ")"
);

const BEGIN: &str = "\
INSERT INTO server (one, epoch, commits, owner, session, who, since) VALUES (1, 1, 0, ?, ?, ?, ?)
ON DUPLICATE KEY UPDATE epoch = epoch + 1, commits = 0, owner = VALUES(owner), session = VALUES(session),
                        who = VALUES(who), since = VALUES(since)";

const NOTE_LEASES: &str = "\
INSERT INTO history (task, attempt, at, reason)
SELECT t.id, t.attempts, ?, ? FROM tasks AS t WHERE t.finished_at IS NULL AND t.state = 1
ON DUPLICATE KEY UPDATE history.attempt = history.attempt";

const END_LEASES: &str = "UPDATE tasks SET state = 0 WHERE finished_at IS NULL AND state = 1";

const END_SENDINGS: &str = "UPDATE outbox SET state = 0, due_at = ? WHERE settled_at IS NULL AND state = 1";

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
    let conn = Conn::open(dialer, Role::Writer).await?;
    // Before anything is made in it.
    schema::exists(&conn).await?;
    lock(&conn, &dialer.target, before).await?;
    let upgraded = schema::upgrade(&conn).await?;
    if let Some(before) = before
        && let Some(commits) = commits_of(&conn, before).await?
    {
        return Ok(Held {
            conn,
            owner: Owner { commits, ..before },
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
    let until = Instant::now() + LOCK_WAIT;
    loop {
        let row = conn.row("cannot lock the store", LOCK.into()).await?;
        let taken: Option<i64> = row.as_ref().map_or(Ok(None), |row| col(row, 0))?;
        if taken == Some(1) {
            return Ok(());
        }
        if let Some(before) = before {
            end_own_session(conn, before).await?;
        }
        if Instant::now() >= until {
            return Err(StoreError::Fenced(who_has_it(conn, target).await));
        }
        sleep(LOCK_EVERY).await;
    }
}

/// The database may not have noticed yet that our last connection is gone: what holds the lock is our own session then.
async fn end_own_session(conn: &Conn, before: Owner) -> Result<(), StoreError> {
    let asked = sql!(OWN_SESSION, before.number, before.epoch);
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

async fn who_has_it(conn: &Conn, target: &Target) -> String {
    let row = conn.row("cannot read who has the store", WHO.into()).await;
    let who: Option<String> = row.ok().flatten().and_then(|row| col(&row, 0).ok());
    let who = who.unwrap_or_else(|| "another server".into());
    format!(
        "{who} has the store {target}; one server at a time owns a database of MySQL or MariaDB: stop that one, or choose \
         another database. Several servers share a store in PostgreSQL"
    )
}

/// How many groups this owner has committed, whose connection this is from now on; `None` when it owns the store no more.
async fn commits_of(conn: &Conn, owner: Owner) -> Result<Option<i64>, StoreError> {
    let doing = "cannot read who owns the store";
    let note = "UPDATE server SET session = ? WHERE owner = ? AND epoch = ?";
    let asked = "SELECT commits FROM server WHERE owner = ? AND epoch = ?";
    let statements = [
        sql!(note, conn.session, owner.number, owner.epoch),
        sql!(asked, owner.number, owner.epoch),
    ];
    let answers = conn.all(doing, &statements).await?;
    let row = answers.last().and_then(|answer| answer.rows.first());
    row.map(|row| col(row, 0)).transpose()
}

/// Begins an epoch: the leases of whoever was before end. Waits for a group of that one that is just being committed.
async fn begin(conn: &Conn, number: Uuid) -> Result<(i64, u64), StoreError> {
    let doing = "cannot take over the store";
    let now = Timestamp::now().as_micros();
    let who = format!(
        "the server with process {} on {}",
        std::process::id(),
        host_name()
    );
    conn.batch(doing, "START TRANSACTION").await?;
    conn.run(doing, sql!(BEGIN, number, conn.session, who, now))
        .await?;
    let row = conn.row(doing, "SELECT epoch FROM server".into()).await?;
    let row = row.ok_or_else(|| StoreError::Damaged("the store has no owner's row".into()))?;
    let epoch = col(&row, 0)?;
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
    let statements = [
        sql!(NOTE_LEASES, now, reason),
        END_LEASES.to_owned(),
        sql!(END_SENDINGS, now),
    ];
    let answers = conn.all(doing, &statements).await?;
    Ok(answers.get(1).map_or(0, |answer| answer.found))
}

/// The database has forgotten groups that it had confirmed: it was told not to flush, or another one took its place that had
/// not got them yet. Leases may be among them, so no number that was given may be given again; and so may the news that one
/// was given back, so what it takes to be leased is queued again.
pub(crate) async fn skip_fences(conn: &Conn, lost: i64) -> Result<(), StoreError> {
    let doing = "cannot skip the numbers of leases that the database has forgotten";
    conn.batch(doing, "START TRANSACTION").await?;
    let now = Timestamp::now().as_micros();
    end_leases(conn, doing, (now, FORGOTTEN)).await?;
    let statements = [
        sql!(
            "UPDATE tasks SET attempts = attempts + ? WHERE finished_at IS NULL",
            lost
        ),
        sql!(
            "UPDATE outbox SET fence = fence + ? WHERE settled_at IS NULL",
            lost
        ),
        "COMMIT".to_owned(),
    ];
    conn.all(doing, &statements).await.map(drop)
}
