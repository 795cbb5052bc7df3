//! How long things are kept, and how much of them one purge removes.

use std::time::Duration;

use cresset_task::Timestamp;

/// The most records one purge removes: about 10 ms of a writer's time.
pub const PURGE_ROWS_MAX: usize = 1_000;

/// The most bytes of inputs and outcomes one purge removes: freeing pages takes time too.
pub const PURGE_BYTES_MAX: i64 = 32 * 1024 * 1024;

/// How long things are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttl {
    /// A finished task and its result.
    pub results: Duration,
    /// The memory of a purged id.
    pub tombstones: Duration,
    /// A dead letter and its input.
    pub letters: Duration,
    /// A settled delivery, and an address that wants nothing more.
    pub deliveries: Duration,
}

/// The instant `age` before `now`, in microseconds.
#[must_use]
pub fn before(now: Timestamp, age: Duration) -> i64 {
    now.as_micros()
        .saturating_sub(i64::try_from(age.as_micros()).unwrap_or(i64::MAX))
}
