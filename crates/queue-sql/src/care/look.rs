//! Reading a database from outside: one moment of it, beside a server or without one, and without changing it.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};

use super::error::CareError;
use crate::connect;
use crate::error::StoreError;
use crate::schema;

/// A connection that sees the database as it was at one moment, until it is dropped. While it is there, the log of a running
/// server cannot be emptied.
#[derive(Debug)]
pub(super) struct Snapshot {
    conn: Connection,
}

impl Snapshot {
    /// As it is now.
    pub(super) fn take(database: &Path) -> Result<Self, StoreError> {
        Self::of(connect::reader(database)?)
    }

    /// Of a database that nobody else can have open. Nothing is made beside it, as another connection would.
    pub(super) fn of_own(database: &Path) -> Result<Self, StoreError> {
        let flags =
            OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        let conn = Connection::open_with_flags(uri(database), flags)
            .map_err(StoreError::sqlite("cannot open the database to read"))?;
        Self::of(conn)
    }

    fn of(conn: Connection) -> Result<Self, StoreError> {
        // The moment is that of the first read.
        conn.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema;")
            .map_err(StoreError::sqlite("cannot begin to read the database"))?;
        Ok(Self { conn })
    }

    pub(super) fn conn(&self) -> &Connection {
        &self.conn
    }

    /// The version of the schema, when this is a database of ours that this program knows.
    pub(super) fn schema(&self) -> Result<u32, StoreError> {
        schema::known(&self.conn)
    }
}

/// The path as SQLite's URI for a file that nobody changes.
fn uri(path: &Path) -> String {
    let mut text = String::from("file:");
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'/' | b'.' | b'-' | b'_' => {
                text.push(char::from(*byte))
            }
            other => text.push_str(&format!("%{other:02x}")),
        }
    }
    text + "?immutable=1"
}

/// Ends a command early when the database is not there at all.
pub(super) fn must_exist(database: &Path) -> Result<(), CareError> {
    std::fs::metadata(database)
        .map(drop)
        .map_err(CareError::io("there is no task store at", database))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_path_can_be_said_as_a_uri() {
        assert_eq!(
            uri(Path::new("/a b/ü?#%.db")),
            "file:/a%20b/%c3%bc%3f%23%25.db?immutable=1"
        );
    }
}
