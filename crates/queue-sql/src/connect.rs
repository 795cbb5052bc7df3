//! Connections, and what each is told about the database.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use crate::error::StoreError;
use crate::queries::CACHED_MAX;

/// An operator's `sqlite3` may hold the write lock for a moment; longer than this is an outage.
const BUSY_LIMIT: Duration = Duration::from_secs(5);
/// Negative: KiB. Holds the tops of all indexes and the tail that is being written.
const WRITER_CACHE_KIB: i64 = -8192;
/// A fetch touches a handful of pages.
const READER_CACHE_KIB: i64 = -1024;
/// The log file is cut to this after a burst, once a checkpoint has emptied it.
const LOG_KEPT_BYTES: i64 = 64 * 1024 * 1024;

/// How many pages the write-ahead log holds, as of the last commit.
#[derive(Clone, Debug, Default)]
pub(crate) struct LogPages(Arc<AtomicU32>);

impl LogPages {
    pub(crate) fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, pages: u32) {
        self.0.store(pages, Ordering::Relaxed);
    }
}

/// The one connection that writes. The file must exist.
pub(crate) fn writer(path: &Path, pages: LogPages) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn =
        Connection::open_with_flags(path, flags).map_err(StoreError::sqlite("cannot open the database"))?;
    prepare_writer(&mut conn, pages).map_err(StoreError::sqlite("cannot set up the writing connection"))?;
    Ok(conn)
}

fn prepare_writer(conn: &mut Connection, pages: LogPages) -> rusqlite::Result<()> {
    prepare_any(conn)?;
    conn.pragma_update(None, "cache_size", WRITER_CACHE_KIB)?;
    conn.pragma_update(None, "temp_store", "memory")?;
    conn.query_row(
        &format!("PRAGMA journal_size_limit = {LOG_KEPT_BYTES}"),
        [],
        |_| Ok(()),
    )?;
    // Checkpoints are the writer's own business (see `checkpoint`). This also clears the hook, so it goes first.
    conn.query_row("PRAGMA wal_autocheckpoint = 0", [], |_| Ok(()))?;
    conn.wal_hook(Some(move |_: &mut rusqlite::hooks::Wal, n| {
        pages.set(u32::try_from(n).unwrap_or(0));
        Ok(())
    }))
}

/// A connection that only reads.
pub(crate) fn reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)
        .map_err(StoreError::sqlite("cannot open the database to read"))?;
    prepare_reader(&conn).map_err(StoreError::sqlite("cannot set up a reading connection"))?;
    Ok(conn)
}

fn prepare_reader(conn: &Connection) -> rusqlite::Result<()> {
    prepare_any(conn)?;
    conn.pragma_update(None, "cache_size", READER_CACHE_KIB)
}

fn prepare_any(conn: &Connection) -> rusqlite::Result<()> {
    conn.busy_timeout(BUSY_LIMIT)?;
    conn.set_prepared_statement_cache_capacity(CACHED_MAX);
    // Plans depend on the SQL alone. Without this SQLite compiles a statement anew whenever a parameter changes that it
    // once compared with the condition of a partial index: that is, every time.
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)
        .map(drop)
}
