//! The life of one model's work: takes predictions and leased tasks in, asks the batching policy, hands jobs to
//! instances, and passes their ends on. One task a model; nothing else touches its batcher, so it needs no lock.
//!
//! It must not wait for the store or for an instance: leases, records and jobs are all under way beside it.

use std::collections::{HashMap, HashSet};
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cresset_batch::{Batcher, Class, Decision, Entry, Limits, Moment, Seat};
use cresset_queue::{Lease, LeaseRequest, QueueError, Release};
use cresset_runner::{DownReason, Job, JobEnd, NotTaken, PoolEvent, Timing};
use cresset_task::{BatchId, Code, Failure, InstanceId, Payload, TaskId, Timestamp};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::api::{EngineError, Prediction};
use crate::ends::TaskEnds;
use crate::item::{Item, Leased, Origin, check_fit};
use crate::recorder;
use crate::seats::SeatMap;
use crate::served::{self, Served};
use crate::shared::Shared;
use crate::verdict::{Resolution, judge};

/// Groups of outcomes on their way to the store, at most: when it is slow or refuses, leasing stops.
const RECORDS_MAX: usize = 64;
/// Predictions and events taken in before the policy is asked again, so that neither can starve the other.
const INTAKE_MAX: usize = 256;
/// A store that refused a lease is asked again after this.
const LEASE_PAUSE: Duration = Duration::from_millis(500);
/// Between two looks at the clock while tasks wait for their time: a task that is due while no seat is free must not spin.
const DUE_SOONEST: Duration = Duration::from_millis(2);
const DUE_LOOK_EVERY: Duration = Duration::from_secs(1);

/// What a lease brought, and the instant that the store recorded as the start.
type LeaseAnswer = (Timestamp, Result<Vec<Lease>, QueueError>);
type LeaseFuture = Pin<Box<dyn Future<Output = LeaseAnswer> + Send>>;

struct Flight {
    instance: InstanceId,
    entries: Vec<Entry<Item>>,
}

pub(crate) struct Driver {
    shared: Arc<Shared>,
    served: Arc<Served>,
    batcher: Batcher<Item>,
    seats: SeatMap,
    flights: HashMap<BatchId, Flight>,
    lease: Option<LeaseFuture>,
    lease_not_before: Moment,
    records: JoinSet<()>,
    /// Cancelled tasks that are, or were a moment ago, in our hands.
    revoked: HashSet<TaskId>,
    draining: bool,
    abandoned: bool,
}

impl Driver {
    pub(crate) fn new(shared: Arc<Shared>, served: Arc<Served>) -> Self {
        let batching = &served.config.batching;
        let limits = Limits {
            max_items: batching.max_batch_size,
            max_bytes: batching.max_batch_bytes,
            max_delay: batching.max_delay,
        };
        Self {
            shared,
            served,
            batcher: Batcher::new(limits),
            seats: SeatMap::default(),
            flights: HashMap::new(),
            lease: None,
            lease_not_before: Moment::ZERO,
            records: JoinSet::new(),
            revoked: HashSet::new(),
            draining: false,
            abandoned: false,
        }
    }

    /// Runs until the engine drains and nothing is left in hand.
    pub(crate) async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Item>,
        mut events: mpsc::Receiver<PoolEvent>,
    ) {
        let shared = Arc::clone(&self.shared);
        let served = Arc::clone(&self.served);
        let mut intake = Vec::with_capacity(INTAKE_MAX);
        let mut news = Vec::with_capacity(INTAKE_MAX);
        let mut pool_alive = true;
        loop {
            let until = self.dispatch();
            self.lease_what_fits();
            let retry_lease = self.lease_retry_at();
            let alarm = [until, retry_lease, self.look_at_delayed_at()]
                .into_iter()
                .flatten()
                .min()
                .map(|at| shared.instant(at));
            if self.draining && self.is_done() {
                return;
            }
            // Every branch is cancel-safe: recv_many, Notify and JoinSet say so, and the lease is polled in place.
            tokio::select! {
                biased;
                () = shared.abandon.cancelled(), if !self.abandoned => {
                    self.abandoned = true;
                    // Dropping a lease under way gives back what it would bring; a store that hangs must not hold us up.
                    self.lease = None;
                    self.put_down();
                }
                () = shared.draining.cancelled(), if !self.draining => {
                    self.draining = true;
                    self.put_down();
                }
                count = events.recv_many(&mut news, INTAKE_MAX), if pool_alive => {
                    pool_alive = count > 0;
                    for event in news.drain(..) {
                        self.on_event(event);
                    }
                }
                leased = poll_lease(&mut self.lease) => self.on_leased(leased),
                _ = inbox.recv_many(&mut intake, INTAKE_MAX) => {
                    let now = shared.now();
                    for item in intake.drain(..) {
                        self.batcher.push(item.into_entry(now));
                    }
                    self.put_down();
                }
                Some(_) = self.records.join_next() => {}
                () = served.wake.notified() => {}
                () = sleep_until(alarm) => {}
            }
        }
    }

    fn is_done(&self) -> bool {
        self.flights.is_empty() && self.batcher.is_empty() && self.lease.is_none() && self.records.is_empty()
    }

    /// Sends what the policy lets go; says when to ask it again.
    fn dispatch(&mut self) -> Option<Moment> {
        self.take_revocations();
        loop {
            let (now, seats) = (self.shared.now(), self.seats.free());
            let revoked = &self.revoked;
            let wanted = |item: &Item| item.is_wanted() && !item.is_among(revoked);
            match self.batcher.next(now, seats, wanted, drop) {
                Decision::Run { batch, seat } => self.send(batch, seat, now),
                Decision::WaitUntil(at) => return Some(at),
                Decision::Rest => return None,
            }
        }
    }

    /// Cancelled tasks leave before they run; what they took of an instance is not given back.
    fn take_revocations(&mut self) {
        if self.flights.is_empty() && self.batcher.is_empty() && self.lease.is_none() {
            // Whatever is named here has ended meanwhile.
            self.revoked.clear();
        }
        self.revoked.extend(self.served.revocations.take());
    }

    fn send(&mut self, mut entries: Vec<Entry<Item>>, seat: Seat, now: Moment) {
        let Some(instance) = self.seats.take(seat) else {
            // The policy was told of the seats that the map has, so this cannot be; the items stay first in line.
            tracing::error!(model = %self.served.config.name, ?seat, "no seat for a batch");
            self.batcher.push_sealed(entries);
            return;
        };
        for entry in &mut entries {
            if entry.item.deliveries == 0 {
                self.served.metrics.queued(now.saturating_sub(entry.arrived));
            }
            entry.item.deliveries += 1;
            entry.item.sent = Some(now);
        }
        let batch = self.shared.next_batch();
        let items: Vec<Payload> = entries.iter().map(|e| e.item.payload.clone()).collect();
        match self.served.executor.run(instance, Job { batch, items }) {
            Ok(()) => {
                self.served.running.fetch_add(entries.len(), Ordering::Relaxed);
                self.flights.insert(batch, Flight { instance, entries });
            }
            Err(NotTaken(_)) => {
                self.seats.shut(instance);
                self.batcher.push_sealed(entries);
            }
        }
    }

    /// Leases exactly what the free seats can use beyond what waits here already.
    fn lease_what_fits(&mut self) {
        if self.draining || self.lease.is_some() || self.records.len() >= RECORDS_MAX {
            return;
        }
        let leased_at = Timestamp::now();
        let config = &self.served.config;
        let seats = self.seats.free();
        let room = (seats.idle + seats.behind) * config.batching.max_batch_size;
        let max_tasks = room.saturating_sub(self.batcher.len());
        if max_tasks == 0
            || self.shared.now() < self.lease_not_before
            || !self.shared.backend.depth(&config.name).has_work(leased_at)
        {
            return;
        }
        let request = LeaseRequest {
            model: config.name.clone(),
            max_tasks,
            max_bytes: config
                .batching
                .max_batch_bytes
                .saturating_mul(seats.idle + seats.behind),
            now: leased_at,
        };
        let backend = Arc::clone(&self.shared.backend);
        self.lease = Some(Box::pin(async move { (leased_at, backend.lease(request).await) }));
    }

    fn lease_retry_at(&self) -> Option<Moment> {
        let waiting = !self.draining && self.lease.is_none() && self.shared.now() < self.lease_not_before;
        waiting.then_some(self.lease_not_before)
    }

    /// When to look again for delayed tasks, if any wait for nothing but their time. Their times are the wall clock's, which
    /// may jump: so it is looked at again and again.
    fn look_at_delayed_at(&self) -> Option<Moment> {
        if self.draining {
            return None;
        }
        let due = self.shared.backend.depth(&self.served.config.name).next_due?;
        let wait = due.since(Timestamp::now()).clamp(DUE_SOONEST, DUE_LOOK_EVERY);
        Some(self.shared.now() + wait)
    }

    fn on_leased(&mut self, (leased_at, leased): LeaseAnswer) {
        self.lease = None;
        let leases = match leased {
            Ok(leases) => leases,
            Err(error) => {
                self.shared.store_failed(&error);
                self.lease_not_before = self.shared.now() + LEASE_PAUSE;
                return;
            }
        };
        let now = self.shared.now();
        let mut unfit = Vec::new();
        for Lease {
            id,
            attempt,
            payload,
            created_at,
            retries,
            priority: _,
        } in leases
        {
            let fit = check_fit(&payload, &self.served.config);
            let leased = Leased {
                id,
                attempt,
                created_at,
                leased_at,
                retries,
            };
            let item = Item::new(payload, Origin::Queue(leased));
            match fit {
                Ok(()) => self.batcher.push(item.into_entry(now)),
                Err(why) => unfit.push((item, Resolution::Failed(outdated(&why)))),
            }
        }
        self.resolve(unfit, Timing::default());
        self.put_down();
    }

    fn on_event(&mut self, event: PoolEvent) {
        match event {
            PoolEvent::Up { instance, slots } => {
                self.seats.up(instance, slots);
                self.served.refresh();
            }
            PoolEvent::Ended {
                instance,
                batch,
                end,
                timing,
            } => self.on_ended(instance, batch, end, timing),
            PoolEvent::Down { instance, reason } => {
                self.seats.down(instance);
                if reason != DownReason::Stopped {
                    self.served.metrics.went_down(&reason);
                }
                if self.served.refresh() {
                    self.refuse_callers();
                }
            }
        }
    }

    fn on_ended(&mut self, instance: InstanceId, batch: BatchId, end: JobEnd, timing: Timing) {
        self.seats.give_back(instance);
        let Some(flight) = self.flights.remove(&batch) else {
            tracing::error!(model = %self.served.config.name, %batch, "an unknown batch ended");
            return;
        };
        debug_assert_eq!(flight.instance, instance);
        self.served
            .running
            .fetch_sub(flight.entries.len(), Ordering::Relaxed);
        if !matches!(end, JobEnd::Lost { .. }) {
            self.served.metrics.batch(flight.entries.len(), timing.compute);
        }
        let (reason, now) = (end.redelivery(), Timestamp::now());
        let mut verdict = judge(flight.entries, end, self.served.config.limits.max_attempts.max(1));
        self.served.finished(verdict.resolved.len(), self.shared.now());
        self.resolve(verdict.resolved, timing);
        let again: usize = verdict.again.iter().map(Vec::len).sum();
        self.served.metrics.redelivered(again as u64);
        for mut group in verdict.again.drain(..) {
            group.iter_mut().for_each(|e| e.item.note(now, &reason));
            self.batcher.push_sealed(group);
        }
        self.put_down();
    }

    /// Passes ends on: to the caller who waits, or to the store.
    fn resolve(&mut self, resolved: Vec<(Item, Resolution)>, timing: Timing) {
        let mut ends = TaskEnds::default();
        let (now, at) = (self.shared.now(), Timestamp::now());
        let config = &self.served.config;
        for (item, resolution) in resolved {
            match item.origin {
                Origin::Caller { reply, since, .. } => {
                    let queued = item.sent.unwrap_or(now).saturating_sub(since);
                    let answer = match resolution {
                        Resolution::Done(output) => Ok(Prediction {
                            output,
                            version: config.version.clone(),
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
                Origin::Queue(leased) => {
                    let (deliveries, history) = (item.deliveries, item.history);
                    ends.add(leased, deliveries, history, resolution, config, at);
                }
            }
        }
        let TaskEnds { done, again } = ends;
        if !done.is_empty() {
            let recorded = recorder::record(Arc::clone(&self.shared), Arc::clone(&self.served), done);
            self.records.spawn(recorded);
        }
        if !again.is_empty() {
            let put_off = recorder::put_off(Arc::clone(&self.shared), Arc::clone(&self.served), again);
            self.records.spawn(put_off);
        }
    }

    /// While draining: what waits here and is leased goes back to the queue. Once abandoned, callers are told too.
    fn put_down(&mut self) {
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
    fn refuse_callers(&mut self) {
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
}

fn as_release(item: &Item) -> Option<Release> {
    match &item.origin {
        Origin::Queue(Leased { id, attempt, .. }) => Some(Release {
            id: *id,
            attempt: *attempt,
        }),
        Origin::Caller { .. } => None,
    }
}

fn outdated(why: &str) -> Failure {
    Failure {
        code: Code::InvalidInput,
        type_: "InvalidInput".into(),
        message: format!("the model's declaration has changed since this task was accepted: {why}"),
        traceback: None,
        stage: None,
        again: Default::default(),
    }
}

async fn poll_lease(lease: &mut Option<LeaseFuture>) -> LeaseAnswer {
    match lease {
        Some(future) => future.await,
        None => pending().await,
    }
}

async fn sleep_until(alarm: Option<tokio::time::Instant>) {
    match alarm {
        Some(at) => tokio::time::sleep_until(at).await,
        None => pending().await,
    }
}
