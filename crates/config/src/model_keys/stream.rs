//! Whether it gives its results piece by piece.

use super::{Draft, key};
use crate::field::{Field, Key};

/// Less would keep nothing of most texts.
const BYTES_MIN: u64 = 1 << 10;

/// In the order of the template.
pub(super) const KEYS: &[Key<Draft>] = &[
    key(
        "stream.enabled",
        flag!(stream.enabled),
        "`predict` gives its results piece by piece, as a generator: each piece reaches whoever reads along when it is \
         yielded, and the pieces joined are the result. For models of JSON.",
    ),
    key(
        "stream.replay_bytes",
        bytes!(stream.replay_bytes, BYTES_MIN, 1 << 30),
        "Bytes of the pieces of one item at most that are kept in memory, with some 64 for each to keep it, for readers who \
         come late or come back; the oldest go first. `limits.max_stream_bytes` in `cresset.toml` bounds all of them.",
    ),
];
