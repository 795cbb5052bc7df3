//! What all models of one engine share: the store, those who wait, the clock, the stop signals.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use cresset_batch::Moment;
use cresset_queue::Backend;
use cresset_task::{Attempt, BatchId, ModelName, Spans, State, TaskId, Timestamp};
use cresset_webhook::Courier;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::admission::Admissions;
use crate::bulletin::{Bulletin, Change};
use crate::expiry::Expiring;
use crate::follow::Followers;
use crate::inbox::Inbox;
use crate::live::Feeds;
use crate::store_watch::StoreState;
use crate::waiters::{News, Waiters};

pub(crate) struct Shared {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) waiters: Waiters,
    pub(crate) followers: Followers,
    /// What models say of the tasks that run.
    pub(crate) feeds: Feeds,
    /// What becomes of all tasks, for those who watch.
    pub(crate) bulletin: Bulletin,
    pub(crate) expiries: Expiring,
    pub(crate) store: StoreState,
    pub(crate) admission: Admissions,
    /// Who sends webhooks; nobody where there are no secrets.
    pub(crate) courier: OnceLock<Arc<Courier>>,
    /// The store's inbox, once it is being emptied.
    pub(crate) inbox: OnceLock<Arc<Inbox>>,
    /// Who records spans, if anybody does.
    pub(crate) spans: Option<Arc<dyn Spans>>,
    /// Rung when a server on the store says something else of itself, comes or goes.
    pub(crate) members: Notify,
    /// No new work; what is under way is finished or given back.
    pub(crate) draining: CancellationToken,
    /// The time for that is over.
    pub(crate) abandon: CancellationToken,
    started: Instant,
    batches: AtomicU64,
}

impl Shared {
    /// `stream_bytes`: how much is kept of what models say.
    pub(crate) fn new(backend: Arc<dyn Backend>, admission: Admissions, stream_bytes: usize) -> Self {
        Self {
            backend,
            waiters: Waiters::default(),
            followers: Followers::default(),
            feeds: Feeds::new(stream_bytes),
            bulletin: Bulletin::new(Timestamp::now()),
            expiries: Expiring::default(),
            store: StoreState::default(),
            admission,
            courier: OnceLock::new(),
            inbox: OnceLock::new(),
            spans: None,
            members: Notify::new(),
            draining: CancellationToken::new(),
            abandon: CancellationToken::new(),
            started: Instant::now(),
            batches: AtomicU64::new(0),
        }
    }

    /// The store has the end of a task: whoever waits for it or follows it is told.
    pub(crate) fn ended(&self, id: TaskId, news: &News) {
        self.waiters.wake(id, news);
        self.followers.moved(id);
    }

    /// The store has a task in this state: whoever watches is told.
    pub(crate) fn tell(
        &self,
        id: TaskId,
        model: &ModelName,
        state: State,
        attempt: impl Into<Option<Attempt>>,
    ) {
        self.bulletin.tell(self.now(), || Change {
            id,
            model: model.clone(),
            state,
            attempt: attempt.into(),
            at: Timestamp::now(),
        });
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
}
