//! How long the store in memory keeps what is over.

use std::time::Duration;

/// How long things are kept.
#[derive(Clone, Copy, Debug)]
pub struct Ttl {
    /// Finished tasks.
    pub results: Duration,
    /// Ids of purged tasks.
    pub tombstones: Duration,
    /// Dead letters.
    pub letters: Duration,
    /// Settled deliveries.
    pub deliveries: Duration,
}
