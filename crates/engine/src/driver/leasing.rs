//! Tasks from the durable queue into the batcher: as many as the next batches can use, and no more.

use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cresset_batch::Moment;
use cresset_queue::{Lease, LeaseRequest, QueueError, Turn, Unreadable};
use cresset_runner::Timing;
use cresset_task::{Code, Failure, Payload, State, TaskId, Timestamp, Trace};

use super::Driver;
use crate::item::{Item, Leased, Origin, check_fit};
use crate::verdict::Resolution;

/// Groups of outcomes on their way to the store, at most: when it is slow or refuses, leasing stops.
const RECORDS_MAX: usize = 64;
/// The same where each outcome is a group of its own.
const RECORDS_ALONE_MAX: usize = 1024;
/// A store that refused a lease is asked again after this.
const LEASE_PAUSE: Duration = Duration::from_millis(500);
/// A queue that gave nothing, though something should be in it, is asked again after this: what is in it has expired, by a clock
/// that has just been set, and is about to be revoked.
const EMPTY_PAUSE: Duration = Duration::from_millis(50);
/// Between two looks at the clock while tasks wait for their time: a task that is due while no seat is free must not spin.
const DUE_SOONEST: Duration = Duration::from_millis(2);
const DUE_LOOK_EVERY: Duration = Duration::from_secs(1);
/// This part of a batch is leased even while predictions wait that could fill all seats. They go first for
/// [`cresset_batch::BULK_HEADWAY`]; then the tasks have their turn, and must be here for it.
const TASKS_SHARE: usize = 4;

/// What a lease brought, and the instant that the store recorded as the start.
pub(super) type LeaseAnswer = (Timestamp, Result<Vec<Lease>, QueueError>);
pub(super) type LeaseFuture = Pin<Box<dyn Future<Output = LeaseAnswer> + Send>>;

impl Driver {
    /// Leases exactly what the free seats can use beyond what waits here already; and while predictions wait that could
    /// fill all seats for ever, a share of a batch, so that tasks are here to take their turn.
    pub(super) fn lease_what_fits(&mut self) {
        let records_max = match self.served.batching.max_batch_size {
            1 => RECORDS_ALONE_MAX,
            _ => RECORDS_MAX,
        };
        if self.draining
            || self.lease.is_some()
            || self.aside.is_keying()
            || self.records.len() >= records_max
        {
            return;
        }
        let leased_at = Timestamp::now();
        let (config, batching) = (&self.served.config, &self.served.batching);
        let max_batch = batching.max_batch_size;
        let (waiting, tasks) = (self.batcher.len(), self.batcher.bulk_len());
        let fits = (self.seats.room() * max_batch).saturating_sub(waiting);
        let share = if waiting > tasks && self.seats.any() {
            max_batch.div_ceil(TASKS_SHARE)
        } else {
            0
        };
        let max_tasks = fits.max(share.saturating_sub(tasks));
        if max_tasks == 0
            || self.shared.now() < self.lease_not_before
            || !self.shared.backend.depth(&config.name).has_work(leased_at)
        {
            return;
        }
        let request = LeaseRequest {
            model: config.name.clone(),
            max_tasks,
            max_bytes: batching.max_batch_bytes.saturating_mul(self.seats.room().max(1)),
            now: leased_at,
        };
        let backend = Arc::clone(&self.shared.backend);
        self.lease = Some(Box::pin(async move { (leased_at, backend.lease(request).await) }));
    }

    pub(super) fn lease_retry_at(&self) -> Option<Moment> {
        let waiting = !self.draining && self.lease.is_none() && self.shared.now() < self.lease_not_before;
        waiting.then_some(self.lease_not_before)
    }

    /// When to look again for delayed tasks, if any wait for nothing but their time. Their times are the wall clock's, which
    /// may jump: so it is looked at again and again.
    pub(super) fn look_at_delayed_at(&self) -> Option<Moment> {
        if self.draining {
            return None;
        }
        let due = self.shared.backend.depth(&self.served.config.name).next_due?;
        let wait = due.since(Timestamp::now()).clamp(DUE_SOONEST, DUE_LOOK_EVERY);
        Some(self.shared.now() + wait)
    }

    pub(super) fn on_leased(&mut self, (leased_at, leased): LeaseAnswer) {
        self.lease = None;
        // Some of what it brings may have been cancelled meanwhile.
        self.hung_up |= !self.revoked.is_empty();
        let leases = match leased {
            Ok(leases) => leases,
            Err(error) => {
                self.shared.store.failed(&error);
                self.lease_not_before = self.shared.now() + LEASE_PAUSE;
                return;
            }
        };
        let (now, wall) = (self.shared.now(), Timestamp::now());
        if leases.is_empty() {
            self.lease_not_before = now + EMPTY_PAUSE;
        }
        let (mut fit, mut unfit) = (Vec::new(), Vec::new());
        for Lease {
            id,
            attempt,
            payload,
            priority,
            turn,
            created_at,
            retries,
            cache,
            retry,
            trace,
        } in leases
        {
            self.shared.followers.moved(id);
            self.shared
                .tell(id, &self.served.config.name, State::Started, attempt);
            let (payload, checked) = match payload {
                Ok(payload) => {
                    let checked = check_fit(&payload, &self.served.config);
                    (payload, checked.map_err(|why| outdated(&why)))
                }
                Err(damage) => (
                    Payload::Json(Bytes::new()),
                    Err(lost(id, trace.as_deref(), &damage)),
                ),
            };
            let task = Leased {
                id,
                attempt,
                created_at,
                leased_at,
                priority,
                line: line(turn, now, wall),
                retries,
                cache,
                retry,
                unborn: None,
            };
            let mut item = Item::new(payload, Origin::Queue(task));
            item.trace = trace;
            match checked {
                Ok(()) => fit.push(item),
                Err(failure) => unfit.push((item, Resolution::Failed(failure))),
            }
        }
        self.resolve(unfit, Timing::default());
        self.take_in(fit);
        self.put_down();
    }
}

/// A task's place in the queue, in nanoseconds of the engine's clock, which says `now` when the wall clock says `wall`.
fn line(turn: Turn, now: Moment, wall: Timestamp) -> i64 {
    let age = wall.as_micros().saturating_sub(turn.as_micros());
    i64::try_from(now.as_nanos())
        .unwrap_or(i64::MAX)
        .saturating_sub(age.saturating_mul(1000))
}

fn outdated(why: &str) -> Failure {
    Failure::new(
        Code::InvalidInput,
        "InvalidInput",
        format!("the model's declaration has changed since this task was accepted: {why}"),
    )
}

/// How a task ends whose input cannot be read, which the log is told: it could never run.
fn lost(id: TaskId, trace: Option<&Trace>, damage: &Unreadable) -> Failure {
    let trace_id = trace.map(|trace| tracing::field::display(trace.id));
    tracing::error!(task = %id, trace_id, error = damage.0, "stored input cannot be read, the task fails");
    Failure::new(Code::Internal, "UnreadableInput", damage.to_string())
}

pub(super) async fn poll_lease(lease: &mut Option<LeaseFuture>) -> LeaseAnswer {
    match lease {
        Some(future) => future.await,
        None => pending().await,
    }
}
