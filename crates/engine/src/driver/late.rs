//! Predictions whose limit comes while they are in our hands, and whose callers take tasks then: see `crate::late`.

use std::sync::Arc;

use cresset_batch::{Class, Entry, Moment};
use cresset_queue::Release;
use cresset_task::{Attempt, CacheUse, TaskId, Timestamp};

use super::{Driver, Flight};
use crate::ends::TaskEnds;
use crate::item::{Answer, Item, Leased, Origin};
use crate::late::{Begun, Late, Unborn, birth};
use crate::recorder;
use crate::shared::Shared;

/// The first limit among the items of a batch that become tasks at it.
pub(super) fn first_limit(entries: &[Entry<Item>]) -> Option<Moment> {
    let going_on = entries.iter().filter(|entry| entry.item.goes_on());
    going_on.filter_map(|entry| entry.deadline).min()
}

impl Driver {
    /// When the limit of the next such prediction comes that runs.
    pub(super) fn next_limit(&self) -> Option<Moment> {
        self.flights.values().filter_map(|flight| flight.limit).min()
    }

    /// Those that run past their limits are tasks from now on.
    pub(super) fn hand_over(&mut self, now: Moment) {
        let wall = Timestamp::now();
        for flight in self.flights.values_mut() {
            if flight.limit.is_none_or(|at| at > now) {
                continue;
            }
            let Flight { entries, load, .. } = flight;
            for entry in entries.iter_mut() {
                let is_late = entry.item.goes_on() && entry.deadline.is_some_and(|at| at <= now);
                if is_late && become_task(entry, now, wall) {
                    // Nobody comes back because of it in a moment.
                    load.callers = load.callers.saturating_sub(1);
                }
            }
            flight.limit = first_limit(&flight.entries);
        }
    }

    /// Has ends recorded; those of a task that is not born yet once it is, and never if it is lost.
    pub(super) fn record(&mut self, ends: TaskEnds, unborn: Option<Unborn>) {
        let TaskEnds { done, again } = ends;
        let (shared, served) = (Arc::clone(&self.shared), Arc::clone(&self.served));
        if unborn.is_none() && done.is_empty() && again.is_empty() {
            return;
        }
        self.records.spawn(async move {
            if !is_there(&shared, unborn).await {
                return;
            }
            if !done.is_empty() {
                recorder::record(Arc::clone(&shared), Arc::clone(&served), done).await;
            }
            if !again.is_empty() {
                recorder::put_off(shared, served, again).await;
            }
        });
    }

    /// Gives leases of these tasks back; of those that are not born yet once they are.
    pub(super) fn release(&mut self, items: &[Item]) {
        let mut leases = Vec::new();
        for item in items {
            let Origin::Queue(task) = &item.origin else {
                continue;
            };
            let lease = Release {
                id: task.id,
                attempt: task.attempt,
            };
            let Some(unborn) = task.unborn().cloned() else {
                leases.push(lease);
                continue;
            };
            let shared = Arc::clone(&self.shared);
            self.records.spawn(async move {
                if is_there(&shared, Some(unborn)).await {
                    recorder::release(shared, vec![lease]).await;
                }
            });
        }
        if !leases.is_empty() {
            self.records
                .spawn(recorder::release(Arc::clone(&self.shared), leases));
        }
    }
}

/// Whether a task is in the store, once that is known. A store that hangs does not hold up an engine that is abandoned: what it
/// may have then is a lease of a process that ends.
async fn is_there(shared: &Shared, unborn: Option<Unborn>) -> bool {
    let Some(unborn) = unborn else { return true };
    tokio::select! {
        biased;
        born = unborn.born() => born,
        () = shared.abandon.cancelled() => false,
    }
}

/// The item of a caller is a task's from now on; false when the caller has gone, and it stays as it is.
fn become_task(entry: &mut Entry<Item>, now: Moment, wall: Timestamp) -> bool {
    let item = &mut entry.item;
    let Origin::Caller {
        reply,
        since,
        goes_on,
        ..
    } = &mut item.origin
    else {
        return false;
    };
    if reply.is_closed() {
        *goes_on = false;
        return false;
    }
    let (id, since) = (TaskId::fresh(), *since);
    let created_at = wall.before(now.saturating_sub(since));
    let started_at = wall.before(now.saturating_sub(item.sent.unwrap_or(now)));
    let (birth, unborn) = birth();
    let task = Leased {
        id,
        attempt: Attempt(1),
        created_at,
        leased_at: started_at,
        priority: 0,
        line: i64::try_from(since.as_nanos()).unwrap_or(i64::MAX),
        retries: 0,
        // Asked when a task comes from the queue, and this one does not.
        cache: CacheUse::default(),
        // A prediction has no terms of its own for that.
        retry: None,
        unborn: Some(unborn),
    };
    let begun = Begun {
        id,
        created_at,
        started_at,
        input: item.payload.clone(),
        birth,
    };
    if let Origin::Caller { reply, .. } = std::mem::replace(&mut item.origin, Origin::Queue(task)) {
        // An error means that the caller has gone meanwhile: with the answer the birth is dropped, and the task is lost.
        let _ = reply.send(Answer::Late(Late::Runs(Box::new(begun))));
    }
    entry.class = Class::Bulk;
    entry.deadline = None;
    true
}
