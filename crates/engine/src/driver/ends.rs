//! How items leave: with their end, at their deadline, because their caller has gone, or back to the queue.

use std::sync::Arc;
use std::time::Duration;

use cresset_batch::{Class, Moment};
use cresset_queue::{Completion, Release};
use cresset_runner::Timing;
use cresset_task::{Outcome, Timestamp};

use super::Driver;
use crate::api::{EngineError, Prediction};
use crate::item::{Item, Origin};
use crate::recorder::{self, End};
use crate::served;
use crate::verdict::Resolution;

/// After a look at all that waits the next one comes no sooner than this for each item: a look takes some 20 ns an item,
/// so callers that hang up one by one cost no more than a fiftieth of the time.
const SWEEP_PAUSE: Duration = Duration::from_micros(1);

impl Driver {
    /// Passes ends on: to the caller who waits, or to the store.
    pub(super) fn resolve(&mut self, resolved: Vec<(Item, Resolution)>, timing: Timing) {
        let mut ends = Vec::with_capacity(resolved.len());
        let (now, finished_at) = (self.shared.now(), Timestamp::now());
        let version = &self.served.config.version;
        for (item, resolution) in resolved {
            match item.origin {
                Origin::Caller { reply, since, .. } => {
                    let queued = item.sent.unwrap_or(now).saturating_sub(since);
                    let answer = match resolution {
                        Resolution::Done(output) => Ok(Prediction {
                            output,
                            version: version.clone(),
                            queued,
                            compute: timing.compute,
                        }),
                        Resolution::Failed(failure) => Err(EngineError::Failed(failure)),
                    };
                    self.served
                        .metrics
                        .predicted(answer.is_ok(), now.saturating_sub(since));
                    // An error means that the caller has gone: nobody to answer.
                    let _ = reply.send(answer);
                }
                Origin::Queue {
                    id,
                    attempt,
                    created_at,
                    leased_at,
                    ..
                } => {
                    let outcome = match resolution {
                        Resolution::Done(output) => Outcome::Success(output),
                        Resolution::Failed(failure) => Outcome::Failure(failure),
                    };
                    let completion = Completion {
                        id,
                        attempt,
                        redeliveries: item.deliveries.saturating_sub(1),
                        outcome,
                        version: Some(version.clone()),
                        finished_at,
                    };
                    ends.push(End {
                        completion,
                        created_at,
                        started_at: leased_at,
                    });
                }
            }
        }
        if !ends.is_empty() {
            self.records.spawn(recorder::record(
                Arc::clone(&self.shared),
                Arc::clone(&self.served),
                ends,
            ));
        }
    }

    /// While draining: what waits here and is leased goes back to the queue. Once abandoned, callers are told too.
    pub(super) fn put_down(&mut self) {
        if !self.draining && !self.abandoned {
            return;
        }
        let bulk = self.batcher.take_class(Class::Bulk);
        let leases: Vec<_> = bulk.iter().filter_map(as_release).collect();
        if !leases.is_empty() {
            self.records
                .spawn(recorder::release(Arc::clone(&self.shared), leases));
        }
        if self.abandoned {
            self.answer_callers(|| EngineError::ShuttingDown);
        }
    }

    /// No instance has ever come up and starting fails: nobody should wait for one.
    pub(super) fn refuse_callers(&mut self) {
        let served = Arc::clone(&self.served);
        let why = served::reason(&served.executor.status());
        self.answer_callers(|| served.unavailable_because(why.clone()));
    }

    fn answer_callers(&mut self, error: impl Fn() -> EngineError) {
        for item in self.batcher.take_class(Class::Interactive) {
            if let Origin::Caller { reply, .. } = item.origin {
                // An error means that the caller has gone: nobody to answer.
                let _ = reply.send(Err(error()));
            }
        }
    }

    /// What waits past its deadline leaves now, whatever is running: its caller is told, its place is free.
    pub(super) fn expire(&mut self) {
        let now = self.shared.now();
        if self.batcher.next_deadline().is_none_or(|at| at > now) {
            return;
        }
        for item in self.batcher.expire(now) {
            if let Origin::Caller {
                reply, since, limit, ..
            } = item.origin
            {
                self.served.metrics.predicted(false, now.saturating_sub(since));
                // An error means that the caller has gone: nobody to answer.
                let _ = reply.send(Err(self.served.late(limit)));
            }
        }
    }

    /// Looks for items whose callers have hung up, if some have; or says when it will.
    pub(super) fn sweep(&mut self) -> Option<Moment> {
        if !self.hung_up {
            return None;
        }
        let now = self.shared.now();
        if now < self.sweep_not_before {
            return Some(self.sweep_not_before);
        }
        self.hung_up = false;
        let looked_at = u32::try_from(self.batcher.len()).unwrap_or(u32::MAX);
        drop(self.batcher.sweep(Item::is_wanted));
        self.sweep_not_before = now.saturating_add(SWEEP_PAUSE * looked_at);
        None
    }
}

fn as_release(item: &Item) -> Option<Release> {
    match item.origin {
        Origin::Queue { id, attempt, .. } => Some(Release { id, attempt }),
        Origin::Caller { .. } => None,
    }
}
