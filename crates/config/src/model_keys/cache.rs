//! Whether its results are kept for equal inputs.

use std::time::Duration;

use super::{Draft, key};
use crate::field::{Field, Key};

/// Soon enough to be of use to a burst of equal requests.
const TTL_MIN: Duration = Duration::from_millis(1);
/// No server runs for longer without a restart, which empties the cache.
const TTL_MAX: Duration = Duration::from_secs(365 * 86_400);
/// Less would keep nothing.
const BYTES_MIN: u64 = 1 << 10;

/// In the order of the template.
pub(super) const KEYS: &[Key<Draft>] = &[
    key(
        "cache.enabled",
        flag!(cache.enabled),
        "Keep results in memory and answer equal inputs with them; equal inputs that come at the same time are computed \
         once. For a model whose result depends on its input alone. The cache is empty after a restart, and whenever a \
         process of the model starts, ends or is replaced.",
    ),
    key(
        "cache.ttl",
        duration!(cache.ttl, TTL_MIN, TTL_MAX),
        "A result is kept this long.",
    ),
    key(
        "cache.max_bytes",
        bytes!(cache.max_bytes, BYTES_MIN, 1 << 50),
        "Bytes of kept results at most, with some 200 for each to keep it; those that were not used for the longest time go \
         first. A result that is larger than all of it is not kept.",
    ),
    key(
        "cache.max_entries",
        int!(cache.max_entries, 1, 1_000_000_000),
        "Kept results at most.",
    ),
];
