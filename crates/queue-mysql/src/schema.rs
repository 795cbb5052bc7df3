//! The schema and its history: numbered up-scripts, each noted in the table `cresset_migrations` when all of it is there. A
//! script that has been released is never edited; a change is one more script.
//!
//! Neither MySQL nor MariaDB undoes a change of a table: a script must be such that what was applied of it does no harm when
//! all of it is applied again.

use cresset_queue::kit::remote::Trouble as _;

use crate::connect::Conn;
use crate::error::{StoreError, col};
use crate::locks;
use crate::sql::sql;
use crate::target::Target;

/// Script n leads from version n to n + 1.
const MIGRATIONS: &[(&str, &str)] = &[("0001_tasks", include_str!("../sql/migrations/0001_tasks.sql"))];

/// What refuses rows of the inbox that make no sense. A script that changes one drops it: the next start makes it anew.
const GUARDS: &[(&str, &str)] = &[
    ("inbox_insert", include_str!("../sql/inbox/inbox_insert.sql")),
    ("inbox_update", include_str!("../sql/inbox/inbox_update.sql")),
];

/// Where it is missing and rows come nevertheless, their transactions are waited for so many seconds.
const GUARD_WAIT_S: u32 = 15;

const GUARDED: &str = "\
SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = DATABASE() AND event_object_table = 'inbox'";

/// The version that this program writes.
pub(crate) const NEWEST: usize = MIGRATIONS.len();

const VERSIONS: &str = "\
CREATE TABLE IF NOT EXISTS cresset_migrations (
    version INT NOT NULL PRIMARY KEY, name VARCHAR(128) NOT NULL, applied_at DATETIME NOT NULL DEFAULT CURRENT_TIMESTAMP
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_bin";

const TABLES: &str = "\
SELECT COUNT(*), COALESCE(SUM(table_name = 'cresset_migrations'), 0) FROM information_schema.tables
WHERE table_schema = DATABASE()";

/// Whether the tables are there. A database that has others and none of ours is somebody else's.
pub(crate) async fn exists(conn: &Conn) -> Result<bool, StoreError> {
    let row = conn.row("cannot look for the tables", TABLES.into()).await?;
    let (any, ours): (i64, i64) = match &row {
        Some(row) => (col(row, 0)?, col(row, 1)?),
        None => (0, 0),
    };
    if any > 0 && ours == 0 {
        return Err(StoreError::Unfit(
            "the database has tables, and they are not cresset's; give it a database of its own: CREATE DATABASE cresset"
                .into(),
        ));
    }
    Ok(ours > 0)
}

/// The version of a store that is not newer than this program.
pub(crate) async fn version(conn: &Conn) -> Result<usize, StoreError> {
    let asked = "SELECT COALESCE(MAX(version), 0) FROM cresset_migrations";
    let row = conn.row("cannot read the schema's version", asked.into()).await?;
    let version: i64 = row.as_ref().map_or(Ok(0), |row| col(row, 0))?;
    let version = usize::try_from(version).unwrap_or(usize::MAX);
    if version > NEWEST {
        return Err(StoreError::Unfit(format!(
            "the store has schema version {version}, this program knows versions up to {NEWEST}; \
             run the newer program that wrote it"
        )));
    }
    Ok(version)
}

/// Comes onto the store; says how many scripts were applied for that. Nobody may be on it while it is upgraded. Nobody else comes
/// onto it until `locks::entered`.
pub(crate) async fn enter(conn: &Conn, target: &Target) -> Result<usize, StoreError> {
    // Before anything is made in it.
    exists(conn).await?;
    if !locks::enter(conn).await? {
        return Err(StoreError::Fenced(format!(
            "another server is coming onto the store {target} or upgrades it: try again in a moment"
        )));
    }
    let version = if exists(conn).await? {
        version(conn).await?
    } else {
        0
    };
    if version == NEWEST {
        return Ok(0);
    }
    if version > 0 {
        let there = locks::present(conn).await?;
        if !there.is_empty() {
            return Err(StoreError::Fenced(format!(
                "the store {target} has schema version {version}, this program needs {NEWEST}, and {} is on it: stop every \
                 server on it, then start this one, which upgrades it; or choose another database",
                there.join(", ")
            )));
        }
    }
    upgrade(conn).await
}

/// Applies the scripts that the store lacks; says how many. Its caller has the store alone.
async fn upgrade(conn: &Conn) -> Result<usize, StoreError> {
    let doing = "cannot upgrade the schema";
    if !exists(conn).await? {
        conn.batch(doing, VERSIONS).await?;
    }
    let from = version(conn).await?;
    let lacking = MIGRATIONS.iter().enumerate().skip(from);
    for (number, (name, script)) in lacking.clone() {
        conn.batch(doing, script).await?;
        let version = i64::try_from(number + 1).unwrap_or(i64::MAX);
        let note = sql!(
            "INSERT INTO cresset_migrations (version, name) VALUES (?, ?)",
            version,
            *name
        );
        conn.run(doing, note).await?;
    }
    if lacking.len() > 0 && from > 0 {
        tracing::info!(from, to = NEWEST, "store schema upgraded");
    }
    Ok(lacking.len())
}

/// Which triggers of the inbox are there.
async fn guards(conn: &Conn) -> Result<Vec<String>, StoreError> {
    let found = conn
        .rows("cannot look for the inbox's triggers", GUARDED.into())
        .await?;
    found.iter().map(|row| col(row, 0)).collect()
}

/// Whether what applications write into the inbox is looked at when they do.
pub(crate) async fn is_inbox_guarded(conn: &Conn) -> Result<bool, StoreError> {
    let found = guards(conn).await?;
    Ok(GUARDS
        .iter()
        .all(|(name, _)| found.iter().any(|found| found == name)))
}

/// Makes the triggers that the inbox lacks; says whether all are there. A database may refuse them to a user who may do all
/// else that a store needs: it has no inbox then. Its caller is coming onto the store.
pub(crate) async fn guard_inbox(conn: &Conn) -> Result<bool, StoreError> {
    let found = guards(conn).await?;
    for (name, script) in GUARDS
        .iter()
        .filter(|(name, _)| !found.iter().any(|found| found == name))
    {
        let made = format!("SET SESSION lock_wait_timeout = {GUARD_WAIT_S}; {script}");
        match conn.batch("cannot make a trigger", &made).await {
            Err(error) if !error.is_of_the_connection() => {
                tracing::warn!(
                    trigger = name,
                    error = error.whole(),
                    remedy = TRIGGERS_NEED,
                    "nothing is taken out of the inbox, as the database refuses the triggers that it needs"
                );
                return Ok(false);
            }
            made => made?,
        }
    }
    Ok(true)
}

/// What to do about it.
pub(crate) const TRIGGERS_NEED: &str = "give the store's user the right TRIGGER on its database and, where there is a binary \
log, SET GLOBAL log_bin_trust_function_creators = 1 for one start of the server; or set store.inbox = false";
