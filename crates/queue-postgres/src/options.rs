//! What can be chosen about the store.

use std::time::Duration;

use cresset_queue::kit::{InboxOptions, Ttl};

use crate::target::Target;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Connections for reading unless told otherwise; each takes many questions at once.
const READERS_DEFAULT: usize = 2;

/// When an accepted task is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// On the database's stable storage before `submit` or `finish` answers, as its `synchronous_commit` has it.
    #[default]
    Fsync,
    /// Handed to the database before they answer (`synchronous_commit = off`): survives the death of this process, not of the
    /// database's machine.
    Os,
}

/// Where the store is, and how it behaves.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Which database and schema.
    pub target: Target,
    /// When an accepted task is safe.
    pub durability: Durability,
    /// How long things are kept.
    pub ttl: Ttl,
    /// Connections for reading, at least one.
    pub readers: usize,
    /// How tasks are taken out of the inbox; `None` when they are not.
    pub inbox: Option<InboxOptions>,
}

impl PostgresOptions {
    /// The defaults: results kept for a day, dead letters for 30, deliveries for three, purged ids remembered for seven.
    #[must_use]
    pub fn at(target: Target) -> Self {
        Self {
            target,
            durability: Durability::default(),
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
