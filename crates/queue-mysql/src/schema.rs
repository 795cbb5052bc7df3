//! The schema and its history: numbered up-scripts, each noted in the table `cresset_migrations` when all of it is there. A
//! script that has been released is never edited; a change is one more script.
//!
//! Neither MySQL nor MariaDB undoes a change of a table: a script must be such that what was applied of it does no harm when
//! all of it is applied again.

use crate::connect::Conn;
use crate::error::{StoreError, col};
use crate::sql::sql;

/// Script n leads from version n to n + 1.
const MIGRATIONS: &[(&str, &str)] = &[("0001_tasks", include_str!("../sql/migrations/0001_tasks.sql"))];

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

/// Applies the scripts that the store lacks; says how many. Its caller has the store's lock.
pub(crate) async fn upgrade(conn: &Conn) -> Result<usize, StoreError> {
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
