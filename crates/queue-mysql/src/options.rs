//! What can be chosen about the store.

use std::time::Duration;

use cresset_queue::kit::{InboxOptions, Ttl};

use crate::target::Target;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Connections for reading unless told otherwise; each takes one question at a time.
const READERS_DEFAULT: usize = 4;

/// Where the store is, and how it behaves.
#[derive(Clone, Debug)]
pub struct MysqlOptions {
    /// Which database.
    pub target: Target,
    /// How long things are kept.
    pub ttl: Ttl,
    /// Connections for reading, at least one.
    pub readers: usize,
    /// How tasks are taken out of the inbox; `None` when they are not.
    pub inbox: Option<InboxOptions>,
}

impl MysqlOptions {
    /// The defaults: results kept for a day, dead letters for 30, deliveries for three, purged ids remembered for seven.
    #[must_use]
    pub fn at(target: Target) -> Self {
        Self {
            target,
            ttl: Ttl {
                results: DAY,
                tombstones: 7 * DAY,
                letters: 30 * DAY,
                deliveries: 3 * DAY,
            },
            readers: READERS_DEFAULT,
            inbox: Some(InboxOptions::default()),
        }
    }
}
