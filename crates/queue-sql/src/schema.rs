//! The schema and its history: numbered up-scripts, each applied in a transaction of its own, counted in
//! `PRAGMA user_version`. A script that has been released is never edited; a change is one more script.

use rusqlite::{Connection, TransactionBehavior};

use crate::error::StoreError;

/// "CRST": the mark, in the file's header, of a database that is ours.
const APPLICATION_ID: i32 = 0x4352_5354;

/// Script n leads from version n to n + 1.
const MIGRATIONS: &[&str] = &[
    include_str!("../sql/migrations/0001_tasks.sql"),
    include_str!("../sql/migrations/0002_idempotency.sql"),
    include_str!("../sql/migrations/0003_turn.sql"),
    include_str!("../sql/migrations/0004_time_and_ends.sql"),
    include_str!("../sql/migrations/0005_files.sql"),
    include_str!("../sql/migrations/0006_client.sql"),
    include_str!("../sql/migrations/0007_dead_letters.sql"),
    include_str!("../sql/migrations/0008_deadline.sql"),
    include_str!("../sql/migrations/0009_cache.sql"),
    include_str!("../sql/migrations/0010_retry.sql"),
    include_str!("../sql/migrations/0011_tenant.sql"),
    include_str!("../sql/migrations/0012_outbox.sql"),
    include_str!("../sql/migrations/0013_bulks.sql"),
    include_str!("../sql/migrations/0014_trace.sql"),
    include_str!("../sql/migrations/0015_letter_retry.sql"),
];

/// Lays the schema into a new, empty database.
pub(crate) fn create(conn: &mut Connection) -> Result<(), StoreError> {
    conn.pragma_update(None, "application_id", APPLICATION_ID)
        .map_err(StoreError::sqlite("cannot mark the database"))?;
    migrate(conn, MIGRATIONS)?;
    Ok(())
}

/// Brings a database that exists up to date; refuses one that is not ours or that is newer than this program.
pub(crate) fn upgrade(conn: &mut Connection) -> Result<(), StoreError> {
    let from = known(conn)?;
    if migrate(conn, MIGRATIONS)? > 0 {
        tracing::info!(from, to = MIGRATIONS.len(), "store schema upgraded");
    }
    Ok(())
}

/// The version that this program writes.
pub(crate) fn newest() -> u32 {
    MIGRATIONS.len() as u32
}

/// The version of a database that is ours and not newer than this program.
pub(crate) fn known(conn: &Connection) -> Result<u32, StoreError> {
    let mark: i32 = pragma(conn, "application_id")?;
    let version = version(conn)?;
    if mark != APPLICATION_ID || version == 0 {
        return Err(StoreError::Damaged(
            "this is a SQLite database, but not one of cresset's; choose another path, or move the file away"
                .into(),
        ));
    }
    if version > MIGRATIONS.len() {
        return Err(StoreError::Damaged(format!(
            "the database has schema version {version}, this program knows versions up to {}; \
             run the newer program that wrote it",
            MIGRATIONS.len()
        )));
    }
    Ok(version as u32)
}

/// Applies the scripts that the database lacks; says how many.
fn migrate(conn: &mut Connection, scripts: &[&str]) -> Result<usize, StoreError> {
    let from = version(conn)?;
    let lacking = scripts.iter().enumerate().skip(from);
    for (number, script) in lacking.clone() {
        let apply = |conn: &mut Connection| {
            let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            tx.execute_batch(script)?;
            tx.pragma_update(None, "user_version", number as i64 + 1)?;
            tx.commit()
        };
        apply(conn).map_err(StoreError::sqlite("cannot upgrade the schema"))?;
    }
    Ok(lacking.count())
}

fn version(conn: &Connection) -> Result<usize, StoreError> {
    let version: i64 = pragma(conn, "user_version")?;
    usize::try_from(version).map_err(|_| StoreError::Damaged(format!("the schema version is {version}")))
}

/// Writes what is there already: the smallest change that goes the whole way to the disk. For probes.
pub(crate) fn rewrite_version(conn: &Connection) -> Result<(), StoreError> {
    let version: i64 = pragma(conn, "user_version")?;
    conn.pragma_update(None, "user_version", version)
        .map_err(StoreError::sqlite("cannot write a probe"))
}

fn pragma<T: rusqlite::types::FromSql>(conn: &Connection, name: &str) -> Result<T, StoreError> {
    conn.pragma_query_value(None, name, |row| row.get(0))
        .map_err(StoreError::sqlite("cannot read the file's header"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_lacking_scripts_are_applied() {
        let mut conn = Connection::open_in_memory().unwrap();
        let one = "CREATE TABLE one (x)";
        assert_eq!(migrate(&mut conn, &[one]).unwrap(), 1);
        assert_eq!(migrate(&mut conn, &[one]).unwrap(), 0);
        assert_eq!(migrate(&mut conn, &[one, "CREATE TABLE two (x)"]).unwrap(), 1);
        assert_eq!(version(&conn).unwrap(), 2);
    }

    #[test]
    fn a_script_that_fails_half_way_leaves_the_version_before_it() {
        let mut conn = Connection::open_in_memory().unwrap();
        let bad = "CREATE TABLE half (x); CREATE TABLE one (x)";
        assert!(migrate(&mut conn, &["CREATE TABLE one (x)", bad]).is_err());
        assert_eq!(version(&conn).unwrap(), 1);
        let tables: i64 = conn
            .query_row("SELECT count(*) FROM sqlite_schema", [], |r| r.get(0))
            .unwrap();
        assert_eq!(tables, 1, "the half-applied script must be rolled back");
    }
}
