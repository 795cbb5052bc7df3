//! What all models of one engine share: the store, those who wait, the clock, the stop signals.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cresset_batch::Moment;
use cresset_queue::{Backend, QueueError};
use cresset_task::BatchId;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::expiry::Expiring;
use crate::waiters::Waiters;

/// A refused write counts as trouble for this long, unless one succeeds sooner: without traffic nothing else would
/// tell that the trouble is over, and a probe that stays red keeps the traffic away.
const TROUBLE_MEMORY: Duration = Duration::from_secs(10);

pub(crate) struct Shared {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) waiters: Waiters,
    pub(crate) expiries: Expiring,
    /// No new work; what is under way is finished or given back.
    pub(crate) draining: CancellationToken,
    /// The time for that is over.
    pub(crate) abandon: CancellationToken,
    started: Instant,
    batches: AtomicU64,
    trouble: Mutex<Option<(String, Instant)>>,
}

impl Shared {
    pub(crate) fn new(backend: Arc<dyn Backend>) -> Self {
        Self {
            backend,
            waiters: Waiters::default(),
            expiries: Expiring::default(),
            draining: CancellationToken::new(),
            abandon: CancellationToken::new(),
            started: Instant::now(),
            batches: AtomicU64::new(0),
            trouble: Mutex::new(None),
        }
    }

    /// The engine's monotonic clock.
    pub(crate) fn now(&self) -> Moment {
        self.started.elapsed()
    }

    /// A moment of that clock, for sleeping until it.
    pub(crate) fn instant(&self, at: Moment) -> Instant {
        self.started + at
    }

    pub(crate) fn next_batch(&self) -> BatchId {
        BatchId(self.batches.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn store_failed(&self, error: &QueueError) {
        tracing::error!(
            error = error as &dyn std::error::Error,
            "task store refused an operation"
        );
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((error.to_string(), Instant::now()));
    }

    pub(crate) fn store_works(&self) {
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Why the store could not be written, if that was lately.
    pub(crate) fn store_trouble(&self) -> Option<String> {
        let trouble = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        trouble
            .as_ref()
            .filter(|(_, at)| at.elapsed() < TROUBLE_MEMORY)
            .map(|(why, _)| why.clone())
    }
}
