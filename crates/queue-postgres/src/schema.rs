//! The schema and its history: numbered up-scripts, each applied in a transaction of its own and noted in the table
//! `migrations`. A script that has been released is never edited; a change is one more script.

use crate::connect::Conn;
use crate::error::{StoreError, col};
use crate::target::Target;

/// Script n leads from version n to n + 1.
const MIGRATIONS: &[(&str, &str)] = &[("0001_tasks", include_str!("../sql/migrations/0001_tasks.sql"))];

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
    let sql = "SELECT to_regclass($1) IS NOT NULL, \
               EXISTS (SELECT 1 FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace WHERE n.nspname = $2)";
    let table = format!("\"{}\".migrations", target.schema);
    let row = conn
        .row("cannot look for the schema", sql, &[&table, &target.schema])
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

/// Applies the scripts that the store lacks; says how many. Its caller has the store's lock.
pub(crate) async fn upgrade(conn: &Conn) -> Result<usize, StoreError> {
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
