//! How items leave: with their end, at their deadline, because their caller has gone, or back to the queue.

use std::sync::Arc;
use std::time::Duration;

use cresset_batch::{Class, Moment};
use cresset_runner::Timing;
use cresset_task::{Again, Failure, Timestamp};

use super::Driver;
use crate::api::{EngineError, Prediction};
use crate::ends::TaskEnds;
use crate::item::{Answer, Item, Origin};
use crate::late::Late;
use crate::served;
use crate::verdict::Resolution;

/// After a look at all that waits the next one comes no sooner than this for each item: a look takes some 20 ns an item,
/// so callers that hang up one by one cost no more than a fiftieth of the time.
const SWEEP_PAUSE: Duration = Duration::from_micros(1);

impl Driver {
    /// Passes ends on: to the caller who waits, or to the store.
    pub(super) fn resolve(&mut self, resolved: Vec<(Item, Resolution)>, timing: Timing) {
        let mut ends = TaskEnds::default();
        let (now, at) = (self.shared.now(), Timestamp::now());
        let served = Arc::clone(&self.served);
        let config = &served.config;
        for (mut item, resolution) in resolved {
            self.tell_followers(&mut item, &resolution, now);
            match item.origin {
                Origin::Caller { reply, since, .. } => {
                    let queued = item.sent.unwrap_or(now).saturating_sub(since);
                    let answer = match resolution {
                        Resolution::Done(output) | Resolution::Kept(output) => Ok(Prediction {
                            output,
                            version: config.version.clone(),
                            queued,
                            compute: timing.compute,
                            cache: None,
                        }),
                        Resolution::Failed(failure) => Err(EngineError::Failed(failure)),
                        // A prediction is stored nowhere, and so is what it died of; who keeps it himself is told.
                        Resolution::Dead(failure, evidence) => Err(EngineError::Failed(Failure {
                            again: Again::Dead(evidence),
                            ..failure
                        })),
                    };
                    self.served
                        .metrics
                        .predicted(answer.is_ok(), now.saturating_sub(since));
                    // An error means that the caller has gone: nobody to answer.
                    let _ = reply.send(Answer::Ended(answer));
                }
                Origin::Queue(task) => {
                    let (deliveries, history) = (item.deliveries, item.history);
                    let next = task.delivery(deliveries).next();
                    let unborn = task.unborn().cloned();
                    let mut alone = TaskEnds::default();
                    let ends = if unborn.is_some() { &mut alone } else { &mut ends };
                    let is_again = ends.add(task, deliveries, history, resolution, config, at);
                    if let (true, Some(voice)) = (is_again, &item.voice) {
                        voice.feed.void(next, at);
                    }
                    self.record(alone, unborn);
                }
            }
        }
        self.record(ends, None);
    }

    /// Cancelled tasks leave before they run; where they run already, that is told.
    pub(super) fn take_revocations(&mut self) {
        let cancelled = self.served.revocations.take();
        // They are looked for as those are whose callers have hung up.
        self.hung_up |= !cancelled.is_empty();
        self.tell_cancelled(&cancelled);
        self.revoked.extend(cancelled);
    }

    /// While draining: what waits here and is leased goes back to the queue. Once abandoned, callers are told too.
    pub(super) fn put_down(&mut self) {
        if !self.draining && !self.abandoned {
            return;
        }
        let bulk = self.batcher.take_class(Class::Bulk);
        self.release(&bulk);
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
                let _ = reply.send(Answer::Ended(Err(error())));
            }
        }
    }

    /// What waits past its deadline leaves now, whatever is running: its caller is told, its place is free. What runs becomes a task,
    /// where its caller takes one.
    pub(super) fn expire(&mut self) {
        let now = self.shared.now();
        self.hand_over(now);
        if self.batcher.next_deadline().is_none_or(|at| at > now) {
            return;
        }
        let wall = Timestamp::now();
        for item in self.batcher.expire(now) {
            if let Origin::Caller {
                reply,
                place,
                since,
                limit,
                goes_on,
                ..
            } = item.origin
            {
                // It does not count against the task that it may become.
                drop(place);
                let waited = now.saturating_sub(since);
                let answer = if goes_on {
                    Answer::Late(Late::Waited(item.payload, wall.before(waited)))
                } else {
                    self.served.metrics.predicted(false, waited);
                    Answer::Ended(Err(self.served.late(limit, None)))
                };
                // An error means that the caller has gone: nobody to answer.
                let _ = reply.send(answer);
            }
        }
    }

    /// Looks for items that nobody wants any more, because their callers have hung up or their tasks were cancelled, if there
    /// are some; or says when it will. Those that wait leave; of those in flight their instance is told.
    pub(super) fn sweep(&mut self) -> Option<Moment> {
        if !self.hung_up {
            return None;
        }
        let now = self.shared.now();
        if now < self.sweep_not_before {
            return Some(self.sweep_not_before);
        }
        self.hung_up = false;
        let in_flight: usize = self.flights.values().map(|flight| flight.entries.len()).sum();
        let looked_at = u32::try_from(self.batcher.len() + in_flight).unwrap_or(u32::MAX);
        self.tell_hung_up();
        let revoked = &self.revoked;
        let wanted = |item: &Item| item.is_wanted() && !item.is_among(revoked);
        drop(self.batcher.sweep(wanted));
        if self.lease.is_none() && self.aside.is_empty() {
            // All that was here is marked or gone, and nothing is on its way: no task that is named here comes again.
            self.revoked.clear();
        }
        self.sweep_not_before = now.saturating_add(SWEEP_PAUSE * looked_at);
        None
    }
}
