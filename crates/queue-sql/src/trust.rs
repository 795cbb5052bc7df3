//! The writing connection, and whether what it wrote can be relied on.
//!
//! After the disk has failed a write or a flush nobody knows what of it is there, and the kernel forgets: the next flush
//! succeeds without what the failed one lost. So nothing more is written on top of it. The connection is given up, and a
//! new one first moves the whole log into the database, under flushes of its own, and cuts the log to nothing. What was
//! confirmed is then in the database; what was not is gone with the log. Until that has succeeded, all work is refused.
//!
//! The reading connections stay open meanwhile: while they are, SQLite does not read the log anew, and so does not find the
//! frames of a commit that was answered as an error. Should the process die before the log is cut, the next opening may
//! find them, which is why the files that such a commit names are kept until then.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::connect::{self, LogPages};
use crate::error::StoreError;
use crate::place::Kept;

/// The writer's connection.
#[derive(Debug)]
pub(crate) struct WriterConn {
    path: PathBuf,
    conn: Connection,
    log: LogPages,
    doubt: Option<Doubt>,
}

/// What made the connection doubtful.
#[derive(Debug)]
struct Doubt {
    /// Files of commits that were answered as errors, and that rows in the log may name. Removed when dropped.
    suspects: Vec<Kept>,
}

impl WriterConn {
    pub(crate) fn new(path: &Path, conn: Connection, log: LogPages) -> Self {
        Self {
            path: path.to_owned(),
            conn,
            log,
            doubt: None,
        }
    }

    pub(crate) fn get(&self) -> &Connection {
        &self.conn
    }

    /// The disk failed; `suspects` may be named by what it has all the same.
    pub(crate) fn doubt(&mut self, suspects: Vec<Kept>) {
        let doubt = self.doubt.get_or_insert_with(|| {
            tracing::warn!(
                "what was written last cannot be relied on: the store refuses work until its log is safe"
            );
            Doubt { suspects: Vec::new() }
        });
        // Nothing is written while in doubt, so these are one group's: bounded as groups are.
        doubt.suspects.extend(suspects);
    }

    /// True when a new connection was needed, and is there. An error when it cannot be trusted yet.
    pub(crate) fn settle(&mut self) -> Result<bool, StoreError> {
        if self.doubt.is_none() {
            return Ok(false);
        }
        let conn = connect::writer(&self.path, self.log.clone())?;
        // The old one goes: whatever lock it still holds would be in the way.
        self.conn = conn;
        self.empty_log()?;
        self.doubt = None;
        tracing::info!("the store's log is safe in the database, work is taken again");
        Ok(true)
    }

    fn empty_log(&self) -> Result<(), StoreError> {
        let emptied = self
            .conn
            .pragma_update(None, "synchronous", "full")
            .and_then(|()| {
                self.conn
                    .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, i64>(0))
            });
        match emptied {
            Ok(0) => {
                self.log.set(0);
                Ok(())
            }
            Ok(_) => Err(StoreError::InUse(
                "a long read keeps the log from being made safe after the disk failed".into(),
            )),
            Err(error) => Err(StoreError::sqlite(
                "cannot make the log safe after the disk failed",
            )(error)),
        }
    }

    /// Closes it. While in doubt the files of doubtful commits stay: the next opening knows which rows there are, and its
    /// sweep removes the files that none names.
    pub(crate) fn close(self) -> Result<(), rusqlite::Error> {
        let doubt = self.doubt;
        let closed = self.conn.close().map_err(|(_, error)| error);
        doubt
            .into_iter()
            .flat_map(|doubt| doubt.suspects)
            .for_each(Kept::keep);
        closed
    }
}
