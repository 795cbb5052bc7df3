//! What can be chosen about the store.

use std::path::PathBuf;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Readers unless told otherwise: a fetch takes some 10 us, so two threads outpace any door in front of them.
const READERS_DEFAULT: usize = 2;

/// Payloads up to this go into the row unless told otherwise. Measured (see the bench `payloads`): below it a file's own
/// flushes cost more than writing the bytes twice.
const INLINE_BYTES_DEFAULT: usize = 128 * 1024;

/// When an accepted task is safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// On stable storage before `submit` or `finish` answers: survives power loss.
    #[default]
    Fsync,
    /// Handed to the operating system before they answer: survives the death of the process, not of the machine.
    Os,
}

/// Where the store is, and how it behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqliteOptions {
    /// The database file. Its folder must exist; `-wal`, `-shm` and `.lock` files appear beside it, and a folder `.payloads`
    /// once there is a payload too large for a row.
    pub path: PathBuf,
    /// When an accepted task is safe.
    pub durability: Durability,
    /// An input or outcome whose stored form is larger than this is a file of its own; at 0 every one is that has any bytes.
    pub max_inline_bytes: usize,
    /// How long a finished task and its result are kept.
    pub result_ttl: Duration,
    /// How long a dead letter and its input are kept.
    pub letter_ttl: Duration,
    /// How long a delivery is kept once it is settled, and how long an address stays disabled.
    pub delivery_ttl: Duration,
    /// How long a purged id still answers "expired" rather than "unknown".
    pub tombstone_ttl: Duration,
    /// Threads that serve `fetch` and `position`, at least one.
    pub readers: usize,
}

impl SqliteOptions {
    /// The defaults, at this path: fsync, payloads over 128 KiB in files, results kept for a day, dead letters for 30, deliveries for three, purged ids
    /// remembered for seven.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            durability: Durability::default(),
            max_inline_bytes: INLINE_BYTES_DEFAULT,
            result_ttl: DAY,
            letter_ttl: 30 * DAY,
            delivery_ttl: 3 * DAY,
            tombstone_ttl: 7 * DAY,
            readers: READERS_DEFAULT,
        }
    }
}
