//! The schema and its history: numbered up-scripts, each applied in a transaction of its own and noted in the table
//! `migrations`. A script that has been released is never edited; a change is one more script.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::connect::Conn;
use crate::error::{StoreError, col};
use crate::locks::{self, LOCK_EVERY, LOCK_WAIT};
use crate::target::Target;

/// Script n leads from version n to n + 1.
const MIGRATIONS: &[(&str, &str)] = &[
    ("0001_tasks", include_str!("../sql/migrations/0001_tasks.sql")),
    ("0002_servers", include_str!("../sql/migrations/0002_servers.sql")),
    ("0003_inbox", include_str!("../sql/migrations/0003_inbox.sql")),
    (
        "0004_letter_retry",
        include_str!("../sql/migrations/0004_letter_retry.sql"),
    ),
    ("0005_parcels", include_str!("../sql/migrations/0005_parcels.sql")),
];

/// Whoever upgrades the store, or makes it, is waited for so long.
const UPGRADE_WAIT: Duration = Duration::from_secs(60);

/// The version that this program writes.
pub(crate) const NEWEST: usize = MIGRATIONS.len();

/// Makes the schema and its table of versions, if they are not there. Two servers may do so at once.
pub(crate) async fn make(conn: &Conn, target: &Target) -> Result<(), StoreError> {
    if exists(conn, target).await? {
        return Ok(());
    }
    let doing = "cannot make the schema";
    let sql = format!(
        "BEGIN; SELECT pg_advisory_xact_lock(hashtext('cresset'), hashtext('schema')); \
         CREATE SCHEMA IF NOT EXISTS \"{0}\"; \
         CREATE TABLE IF NOT EXISTS \"{0}\".migrations (version integer PRIMARY KEY, name text NOT NULL, \
         applied_at timestamptz NOT NULL DEFAULT now()); COMMIT",
        target.schema
    );
    conn.batch(doing, &sql).await
}

/// Whether the schema is there, with a table of versions. One that has other tables and none of versions is not ours.
pub(crate) async fn exists(conn: &Conn, target: &Target) -> Result<bool, StoreError> {
    // Both from the statement's one snapshot: a name that is looked up (`to_regclass`) may be seen as of a moment before.
    let sql = "SELECT coalesce(bool_or(c.relname = 'migrations' AND c.relkind = 'r'), false), count(*) > 0 \
               FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = $1";
    let row = conn
        .row("cannot look for the schema", sql, &[&target.schema])
        .await?;
    let (ours, any) = match &row {
        Some(row) => (col(row, 0)?, col(row, 1)?),
        None => (false, false),
    };
    if any && !ours {
        return Err(StoreError::Unfit(format!(
            "the schema {0} is there and is not one of cresset's; choose another one with ?schema=NAME in the URL",
            target.schema
        )));
    }
    Ok(ours)
}

/// The version of a store that is not newer than this program.
pub(crate) async fn version(conn: &Conn) -> Result<usize, StoreError> {
    let sql = "SELECT coalesce(max(version), 0) FROM migrations";
    let row = conn.row("cannot read the schema's version", sql, &[]).await?;
    let version: i32 = row.as_ref().map_or(Ok(0), |row| col(row, 0))?;
    let version = usize::try_from(version).unwrap_or(usize::MAX);
    if version > NEWEST {
        return Err(StoreError::Unfit(format!(
            "the store has schema version {version}, this program knows versions up to {NEWEST}; \
             run the newer program that wrote it"
        )));
    }
    Ok(version)
}

/// Comes onto the store, as long as this session lasts; says how many scripts were applied for that. Nobody else may be on
/// it while it is upgraded, and nobody who knows an older version.
pub(crate) async fn enter(conn: &Conn, target: &Target) -> Result<usize, StoreError> {
    let began = Instant::now();
    loop {
        // Who finds an older version does not share it in passing: several who come at once would keep each other from having it alone.
        let found = version(conn).await?;
        if found == NEWEST {
            // A newer program may have upgraded it since: then this one refuses it, by its version.
            if locks::share(conn).await? && version(conn).await? == NEWEST {
                return Ok(0);
            }
        } else if locks::alone(conn).await? {
            let upgraded = upgrade(conn).await?;
            let _is_shared = locks::share(conn).await?; // we have it alone
            locks::not_alone(conn).await?;
            return Ok(upgraded);
        }
        let waited = began.elapsed();
        if waited >= LOCK_WAIT {
            if locks::share(conn).await? {
                // Nobody upgrades it, and nobody does as long as we look.
                let found = version(conn).await?;
                if found == NEWEST {
                    return Ok(0);
                }
                let who = who(conn, found).await?;
                locks::unshare(conn).await?;
                return Err(older(target, found, who));
            }
            // A program that knows only schema 1 has it alone, too, and has written that it is there.
            if found == 1
                && let Some(who) = old_server(conn).await?
            {
                return Err(older(target, found, Some(who)));
            }
            if waited >= UPGRADE_WAIT {
                return Err(StoreError::Fenced(format!(
                    "another server is upgrading the store {target}: try again in a moment"
                )));
            }
        }
        sleep(LOCK_EVERY).await;
    }
}

/// Who is on a store of this version.
async fn who(conn: &Conn, version: usize) -> Result<Option<String>, StoreError> {
    let sql = match version {
        // The table of servers is not there yet.
        0 => return Ok(None),
        1 => "SELECT string_agg(who, ', ') FROM server",
        _ => "SELECT string_agg(who, ', ') FROM servers WHERE ended_at IS NULL",
    };
    let row = conn.row("cannot read who is on the store", sql, &[]).await?;
    row.as_ref().map_or(Ok(None), |row| col(row, 0))
}

/// The one that is on a store of version 1, unless it is upgraded just now.
async fn old_server(conn: &Conn) -> Result<Option<String>, StoreError> {
    match who(conn, 1).await {
        // The table that was asked is gone with that version.
        Err(_) if version(conn).await? != 1 => Ok(None),
        who => who,
    }
}

fn older(target: &Target, version: usize, who: Option<String>) -> StoreError {
    let who = who.unwrap_or_else(|| "another server".into());
    StoreError::Fenced(format!(
        "the store {target} has schema version {version}, this program needs {NEWEST}, and {who} is on it: stop \
         every server on it, then start this one, which upgrades it; or choose another schema with ?schema=NAME in \
         the URL"
    ))
}

/// Applies the scripts that the store lacks; says how many. Its caller has the store alone.
async fn upgrade(conn: &Conn) -> Result<usize, StoreError> {
    let from = version(conn).await?;
    let lacking = MIGRATIONS.iter().enumerate().skip(from);
    for (number, (name, script)) in lacking.clone() {
        let sql = format!(
            "BEGIN; {script}; INSERT INTO migrations (version, name) VALUES ({}, '{name}'); COMMIT",
            number + 1
        );
        conn.batch("cannot upgrade the schema", &sql).await?;
    }
    if lacking.len() > 0 && from > 0 {
        tracing::info!(from, to = NEWEST, "store schema upgraded");
    }
    Ok(lacking.len())
}
