//! Moving the log's pages into the database, when nobody is waiting if possible.
//!
//! Left to itself SQLite does it inside whichever commit crosses a threshold, and that commit's callers wait. Here the
//! writer does it when its inbox has been empty for a moment; under load that never pauses, it does it between two groups
//! before the log grows too long.

use std::time::Duration;

use rusqlite::Connection;

use crate::connect::LogPages;
use crate::error::StoreError;

/// An inbox empty this long is idle.
pub(crate) const IDLE_AFTER: Duration = Duration::from_millis(20);

/// Below this a checkpoint is not worth its flush (4 KiB pages: 4 MiB).
const PAGES_WORTH_IT: u32 = 1_000;

/// The log is not let grow beyond this, whoever is waiting (8 MiB). Moving 32 MiB held submits up for 20 ms; the pages that a
/// longer log would move once instead of several times are too few to show in the rate.
const PAGES_MAX: u32 = 2_000;

/// When to do it.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    log: LogPages,
    // After one that a reader kept from finishing: not again before the log has grown to this.
    not_before: u32,
}

impl Checkpoints {
    pub(crate) fn new(log: LogPages) -> Self {
        Self { log, not_before: 0 }
    }

    /// True when an idle moment should be used.
    pub(crate) fn wanted(&self) -> bool {
        self.due(PAGES_WORTH_IT)
    }

    /// True when it cannot wait for an idle moment.
    pub(crate) fn needed(&self) -> bool {
        self.due(PAGES_MAX)
    }

    fn due(&self, pages: u32) -> bool {
        let now = self.log.get();
        now >= pages && now >= self.not_before
    }

    pub(crate) fn run(&mut self, conn: &Connection) -> Result<(), StoreError> {
        let done = conn.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |row| {
            Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?))
        });
        match done {
            Ok((pages, moved)) if pages == moved => {
                // The next commit starts the log anew and reports its length.
                self.log.set(0);
                self.not_before = 0;
                Ok(())
            }
            Ok((pages, moved)) => {
                self.not_before = self.log.get().saturating_add(PAGES_WORTH_IT);
                if self.log.get() >= 4 * PAGES_MAX {
                    tracing::warn!(
                        pages,
                        moved,
                        "a long read keeps the store's log from being emptied"
                    );
                }
                Ok(())
            }
            Err(error) => {
                self.not_before = self.log.get().saturating_add(PAGES_WORTH_IT);
                tracing::warn!(%error, "the store's log could not be moved into the database");
                Err(StoreError::sqlite("cannot move the log into the database")(error))
            }
        }
    }
}
