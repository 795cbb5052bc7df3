//! From the ends of leased tasks to recorded outcomes, and to those who wait for them.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use cresset_queue::{Completion, Finished, QueueError, Release, Retry};
use cresset_task::{Attempt, State, Timestamp};

use crate::served::Served;
use crate::shared::Shared;
use crate::waiters::{Ended, News};

/// A store that refuses is asked again after this, doubling.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LONGEST: Duration = Duration::from_secs(5);

/// A write under way, as the ports give it.
type Writing<'s, T> = Pin<Box<dyn Future<Output = Result<T, QueueError>> + Send + 's>>;

/// The end of one leased task.
pub(crate) struct End {
    pub(crate) completion: Completion,
    pub(crate) created_at: Timestamp,
    pub(crate) started_at: Timestamp,
}

/// Records ends, then wakes the waiters. While the store refuses, the results are kept here and tried again (the driver
/// stops leasing meanwhile); once the engine is abandoned, the tasks are left to be delivered again.
pub(crate) async fn record(shared: Arc<Shared>, served: Arc<Served>, ends: Vec<End>) {
    let finish = || {
        let completions = ends.iter().map(|end| end.completion.clone()).collect();
        shared.backend.finish(completions)
    };
    let Some(answers) = persist(&shared, finish).await else {
        return;
    };
    for (end, answer) in ends.into_iter().zip(answers) {
        match answer {
            Finished::Recorded => announce(&shared, &served, end),
            Finished::Stale => {
                served.metrics.stale();
                // It may have been recorded when the store said that it was not: whoever waits looks for themselves.
                shared.ended(end.completion.id, &News::Look);
            }
        }
    }
}

/// Queues failed tasks again, for later; as stubborn as [`record`].
pub(crate) async fn put_off(shared: Arc<Shared>, served: Arc<Served>, retries: Vec<Retry>) {
    let Some(answers) = persist(&shared, || shared.backend.retry(retries.clone())).await else {
        return;
    };
    for (retry, answer) in retries.iter().zip(answers) {
        match answer {
            Finished::Recorded => {
                served.metrics.retried();
                shared.followers.moved(retry.id);
                let attempt = Attempt(retry.attempt.0.saturating_add(retry.redeliveries));
                shared.tell(retry.id, &served.config.name, State::Retry, attempt);
            }
            Finished::Stale => served.metrics.stale(),
        }
    }
    // While they were leased they could not expire, so nobody waits for that.
    shared.expiries.returned();
    // The driver sleeps until the first of its delayed tasks is due: this may be sooner.
    served.wake.notify_one();
}

/// Asks until the store takes it; `None` when it never will, or there is no time left.
async fn persist<'s, T>(shared: &'s Shared, mut write: impl FnMut() -> Writing<'s, T>) -> Option<T> {
    let mut pause = RETRY_FIRST;
    loop {
        match write().await {
            Ok(answers) => {
                shared.store.works();
                return Some(answers);
            }
            Err(error) if error.is_temporary() => {
                shared.store.failed(&error);
                tokio::select! {
                    biased;
                    () = shared.abandon.cancelled() => return None,
                    () = tokio::time::sleep(pause) => pause = (pause * 2).min(RETRY_LONGEST),
                }
            }
            Err(error) => {
                shared.store.failed(&error);
                return None;
            }
        }
    }
}

fn announce(shared: &Shared, served: &Served, end: End) {
    let Completion {
        id,
        attempt,
        redeliveries,
        history,
        outcome,
        version,
        finished_at,
        evidence,
        cached,
    } = end.completion;
    if let Ok(state) = cresset_task::State::Started.after(outcome.as_move()) {
        served.metrics.ended(state, finished_at.since(end.created_at));
        let attempts = Attempt(attempt.0.saturating_add(redeliveries));
        shared.tell(id, &served.config.name, state, attempts);
    }
    if evidence.is_some() {
        served.metrics.died();
    }
    if shared.waiters.any(id) {
        let news = Ended {
            leased: attempt,
            outcome,
            started_at: end.started_at,
            finished_at,
            attempts: Attempt(attempt.0.saturating_add(redeliveries)),
            version,
            history,
            cached,
        };
        shared.waiters.wake(id, &News::Ended(Arc::new(news)));
    }
    shared.followers.moved(id);
}

/// Gives leases back. A store that refuses keeps them as leases of ours; they return to the queue when it is reopened.
pub(crate) async fn release(shared: Arc<Shared>, leases: Vec<Release>) {
    let ids: Vec<_> = leases.iter().map(|lease| lease.id).collect();
    match shared.backend.release(leases).await {
        Ok(_) => ids.into_iter().for_each(|id| shared.followers.moved(id)),
        Err(error) => shared.store.failed(&error),
    }
}
