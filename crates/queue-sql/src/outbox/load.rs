//! How much is to be told, in all and for each host, in memory: asked on every submit that has a callback.
//!
//! As with `depth`, the writer is the only one that changes the numbers, after the commit that makes them true.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use cresset_queue::OutboxLoad;
use cresset_task::Timestamp;
use rusqlite::Connection;
use tokio::sync::watch;

use crate::queries;

/// The numbers. A host for which nothing is open has no entry.
#[derive(Debug)]
pub(crate) struct OutboxCounts {
    hosts: RwLock<HashMap<String, u64>>,
    load: watch::Sender<OutboxLoad>,
}

/// What a group does to them.
#[derive(Debug, Default)]
pub(crate) struct OutboxChange {
    hosts: HashMap<String, i64>,
    touched: bool,
    /// When the next one is due and the oldest happened; looked up once a group.
    next: (Option<Timestamp>, Option<Timestamp>),
}

impl OutboxChange {
    /// Deliveries for a host that came or went.
    pub(crate) fn add(&mut self, host: &str, count: i64) {
        self.touched = true;
        if count != 0 {
            *self.hosts.entry(host.to_owned()).or_default() += count;
        }
    }

    /// Something has changed that is not a count.
    pub(crate) fn touch(&mut self) {
        self.touched = true;
    }

    pub(crate) fn look_up(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        if self.touched {
            let micros: (Option<i64>, Option<i64>) = conn
                .prepare_cached(queries::OUTBOX_NEXT)?
                .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))?;
            self.next = (
                micros.0.map(Timestamp::from_micros),
                micros.1.map(Timestamp::from_micros),
            );
        }
        Ok(())
    }
}

impl OutboxCounts {
    /// As a store has them that has just been opened.
    pub(crate) fn count(conn: &Connection) -> rusqlite::Result<Self> {
        let mut change = OutboxChange::default();
        let mut query = conn.prepare(queries::COUNT_OUTBOX)?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            change.add(row.get_ref(0)?.as_str()?, row.get(1)?);
        }
        change.look_up(conn)?;
        let counts = Self {
            hosts: RwLock::default(),
            load: watch::Sender::new(OutboxLoad::default()),
        };
        counts.apply(change);
        Ok(counts)
    }

    pub(crate) fn load(&self) -> watch::Receiver<OutboxLoad> {
        self.load.subscribe()
    }

    pub(crate) fn of(&self, host: &str) -> u64 {
        let hosts = self.hosts.read().unwrap_or_else(PoisonError::into_inner);
        hosts.get(host).copied().unwrap_or(0)
    }

    pub(crate) fn apply(&self, change: OutboxChange) {
        if !change.touched {
            return;
        }
        let mut open = self.load.borrow().open;
        {
            let mut hosts = self.hosts.write().unwrap_or_else(PoisonError::into_inner);
            for (host, count) in change.hosts {
                open = open.saturating_add_signed(count);
                let of = hosts.entry(host.clone()).or_default();
                *of = of.saturating_add_signed(count);
                if *of == 0 {
                    hosts.remove(&host);
                }
            }
        }
        let (next_due, oldest) = change.next;
        self.load.send_replace(OutboxLoad {
            open,
            next_due,
            oldest,
        });
    }
}
