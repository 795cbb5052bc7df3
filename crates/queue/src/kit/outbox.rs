//! How much is to be told, in all and for each host, in memory: asked on every submit that has a callback.
//!
//! As with `depth`, the writer is the only one that changes the numbers, after the commit that makes them true, and the
//! sums have a sign.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{PoisonError, RwLock};

use cresset_task::Timestamp;
use tokio::sync::watch;

use crate::OutboxLoad;

/// The numbers. A host for which nothing is open has no entry.
#[derive(Debug, Default)]
pub struct OutboxCounts {
    hosts: RwLock<HashMap<String, i64>>,
    open: AtomicI64,
    load: watch::Sender<OutboxLoad>,
}

/// What a group does to them.
#[derive(Debug, Default)]
pub struct OutboxChange {
    hosts: HashMap<String, i64>,
    touched: bool,
    /// When the next one is due and the oldest happened; looked up once a group.
    next: (Option<Timestamp>, Option<Timestamp>),
}

impl OutboxChange {
    /// Deliveries for a host that came or went.
    pub fn add(&mut self, host: &str, count: i64) {
        self.touched = true;
        if count != 0 {
            *self.hosts.entry(host.to_owned()).or_default() += count;
        }
    }

    /// Something has changed that is not a count.
    pub fn touch(&mut self) {
        self.touched = true;
    }

    /// What it does to each host.
    pub(super) fn hosts(&self) -> impl Iterator<Item = (&str, i64)> {
        self.hosts.iter().map(|(host, count)| (&**host, *count))
    }

    /// Whether the times are to be looked up, once a group.
    #[must_use]
    pub fn is_touched(&self) -> bool {
        self.touched
    }

    /// When the next one is due and the oldest happened, in microseconds, as it was looked up.
    pub fn next(&mut self, due: Option<i64>, oldest: Option<i64>) {
        self.next = (
            due.map(Timestamp::from_micros),
            oldest.map(Timestamp::from_micros),
        );
    }
}

impl OutboxCounts {
    /// The load, as it is now and whenever it changes.
    #[must_use]
    pub fn load(&self) -> watch::Receiver<OutboxLoad> {
        self.load.subscribe()
    }

    /// What is open for a host.
    #[must_use]
    pub fn of(&self, host: &str) -> u64 {
        let hosts = self.hosts.read().unwrap_or_else(PoisonError::into_inner);
        hosts
            .get(host)
            .map_or(0, |count| u64::try_from(*count).unwrap_or(0))
    }

    /// Forgets what it knows, but tells nobody yet: what is counted anew comes next.
    pub(super) fn clear(&self) {
        self.hosts.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.open.store(0, Ordering::Relaxed);
    }

    /// A group is committed.
    pub fn apply(&self, change: OutboxChange) {
        if !change.touched {
            return;
        }
        let mut open = self.open.load(Ordering::Relaxed);
        {
            let mut hosts = self.hosts.write().unwrap_or_else(PoisonError::into_inner);
            for (host, count) in change.hosts {
                open += count;
                let of = hosts.entry(host.clone()).or_default();
                *of += count;
                if *of == 0 {
                    hosts.remove(&host);
                }
            }
        }
        // The writer is the only one that changes it.
        self.open.store(open, Ordering::Relaxed);
        let (next_due, oldest) = change.next;
        self.load.send_replace(OutboxLoad {
            open: u64::try_from(open).unwrap_or(0),
            next_due,
            oldest,
        });
    }
}
