//! Revokes tasks that expired before they could start, at the moment they do: also those of a model that is down, which
//! nobody leases. And those that run past their deadline: they are stopped as cancelled ones are.
//!
//! The store holds the times. Here is only a guess of the next one, never later than it: the wall clock may jump, so it is
//! compared again and again, and slept for by the monotonic clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use cresset_task::{State, Timestamp};
use tokio::sync::Notify;

use crate::served::Models;
use crate::shared::Shared;
use crate::waiters::News;

/// The wall clock is looked at this often while tasks wait to expire: a clock set forwards is noticed this soon.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A store that refused is asked again after this.
const REFUSED_PAUSE: Duration = Duration::from_secs(1);

/// When the next queued task expires, at the earliest.
#[derive(Debug)]
pub(crate) struct Expiring {
    next: AtomicI64,
    sooner: Notify,
}

impl Default for Expiring {
    fn default() -> Self {
        Self {
            // Unknown until the store has been asked.
            next: AtomicI64::new(i64::MIN),
            sooner: Notify::new(),
        }
    }
}

impl Expiring {
    /// A task has come into the queue that expires then.
    pub(crate) fn earlier(&self, at: Timestamp) {
        if self.next.fetch_min(at.as_micros(), Ordering::AcqRel) > at.as_micros() {
            self.sooner.notify_one();
        }
    }

    /// Tasks have come back to the queue, where they may expire; only the store knows when.
    pub(crate) fn returned(&self) {
        self.earlier(Timestamp::from_micros(i64::MIN));
    }
}

/// Runs until the engine drains: a stopping server revokes nothing, the next one does.
pub(crate) async fn run(shared: Arc<Shared>, models: Arc<ArcSwap<Models>>) {
    loop {
        let next = Timestamp::from_micros(shared.expiries.next.load(Ordering::Acquire));
        let now = Timestamp::now();
        let pause = if next > now {
            next.since(now).min(LOOK_EVERY)
        } else if expire(&shared, &models, now).await {
            continue;
        } else {
            REFUSED_PAUSE
        };
        // Without a task that expires there is nothing to look at until one comes.
        let idle = next == Timestamp::from_micros(i64::MAX);
        tokio::select! {
            biased;
            () = shared.draining.cancelled() => return,
            () = tokio::time::sleep(pause), if !idle => {}
            () = shared.expiries.sooner.notified() => {}
        }
    }
}

/// One chunk; false when the store refused.
async fn expire(shared: &Shared, models: &ArcSwap<Models>, now: Timestamp) -> bool {
    // Before the store is asked, so that a task that is accepted meanwhile is not forgotten.
    shared.expiries.next.store(i64::MAX, Ordering::Release);
    match shared.backend.expire(now).await {
        Ok(expiries) => {
            if let Some(next) = expiries.next {
                shared.expiries.next.fetch_min(next.as_micros(), Ordering::AcqRel);
            }
            let models = models.load();
            let queued = expiries.revoked.into_iter().map(|task| (task, false));
            let leased = expiries.stopped.into_iter().map(|task| (task, true));
            for ((id, model), is_leased) in queued.chain(leased) {
                shared.ended(id, &News::Look);
                shared.tell(id, &model, State::Revoked, None);
                if let Some(served) = models.get(&model) {
                    served.metrics.revoked();
                    if is_leased {
                        served.stop(id);
                    }
                }
            }
            true
        }
        Err(error) => {
            shared.expiries.next.store(i64::MIN, Ordering::Release);
            shared.store.failed(&error);
            false
        }
    }
}
