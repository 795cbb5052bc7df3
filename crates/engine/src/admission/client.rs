//! What clients have under way. A client has an entry while it has a request; what it has queued is counted by the store.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cresset_batch::Moment;
use cresset_task::ClientKey;
use tokio::time::Instant;

use super::{Bound, Coming, Unit};
use crate::hint::{MeanTime, hint};

/// Maps are split so that clients seldom meet at one lock.
const SHARDS: usize = 32;

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    waiting: Arc<AtomicU64>,
    coming: Coming,
}

type Shard = HashMap<ClientKey, Arc<Counts>>;

/// All clients that have a request under way.
#[derive(Debug, Default)]
pub(crate) struct Clients {
    shards: [Mutex<Shard>; SHARDS],
    /// How long a request takes.
    took: MeanTime,
}

/// A client's request under way. Cheap to clone; clones are one request.
#[derive(Clone)]
pub struct Client(Arc<Request>);

struct Request {
    key: ClientKey,
    /// Queued tasks and predictions that this client may have; of its own, beside the bounds of all clients.
    max_open: Option<u64>,
    counts: Arc<Counts>,
    clients: Arc<Clients>,
    /// `None` for one that was refused: it tells nothing of how long requests take.
    began: Option<Instant>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Client").field(self.key()).finish()
    }
}

impl Client {
    /// Whose it is.
    #[must_use]
    pub fn key(&self) -> &ClientKey {
        &self.0.key
    }

    pub(super) fn max_open(&self) -> Option<u64> {
        self.0.max_open
    }

    pub(super) fn coming(&self) -> &Coming {
        &self.0.counts.coming
    }

    pub(super) fn waiting(&self) -> &Arc<AtomicU64> {
        &self.0.counts.waiting
    }
}

impl Clients {
    fn shard(&self, key: &ClientKey) -> MutexGuard<'_, Shard> {
        // Nothing here can panic halfway, so a poisoned lock is sound.
        let sum = key.as_str().bytes().fold(0_usize, |sum, byte| {
            sum.wrapping_mul(31).wrapping_add(byte.into())
        });
        self.shards[sum % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(any(test, feature = "testing"))]
    pub(super) fn len(&self) -> usize {
        let len = |shard: &Mutex<Shard>| shard.lock().unwrap_or_else(PoisonError::into_inner).len();
        self.shards.iter().map(len).sum()
    }
}

/// Begins a request, unless the client has `limit` of them: then when one of them should have ended.
pub(super) fn enter(
    clients: &Arc<Clients>,
    key: ClientKey,
    max_open: Option<u64>,
    limit: Option<u64>,
    uptime: Moment,
) -> Result<Client, (Bound, Duration)> {
    let counts = Arc::clone(clients.shard(&key).entry(key.clone()).or_default());
    let current = counts.requests.fetch_add(1, Ordering::Relaxed);
    let reached = limit.filter(|limit| current >= *limit);
    let request = Request {
        key,
        max_open,
        counts,
        clients: Arc::clone(clients),
        began: reached.is_none().then(Instant::now),
    };
    let Some(limit) = reached else {
        return Ok(Client(Arc::new(request)));
    };
    let one_ends = clients
        .took
        .get()
        .unwrap_or(uptime)
        .div_f64(current.max(1) as f64);
    let bound = Bound {
        setting: "clients.max_requests",
        unit: Unit::Requests,
        limit,
        current,
    };
    Err((bound, hint(one_ends)))
}

impl Drop for Request {
    fn drop(&mut self) {
        self.counts.requests.fetch_sub(1, Ordering::Relaxed);
        if let Some(began) = self.began {
            self.clients.took.add(began.elapsed());
        }
        let mut shard = self.clients.shard(&self.key);
        // The map's and this one: nobody else has it, and nobody gets it without this lock.
        if Arc::strong_count(&self.counts) == 2 {
            shard.remove(&self.key);
        }
    }
}
