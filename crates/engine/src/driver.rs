//! The life of one model's work: takes predictions and leased tasks in, asks the batching policy, hands jobs to
//! instances, and passes their ends on. One task a model; nothing else touches its batcher, so it needs no lock.
//!
//! It must not wait for the store or for an instance: leases, records and jobs are all under way beside it.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use cresset_batch::{Batcher, Class, Decision, Entry, Moment, Seat};
use cresset_runner::{DownReason, Job, JobEnd, NotTaken, PoolEvent, Timing};
use cresset_task::{BatchId, InstanceId, Payload, TaskId, Timestamp, Trace};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::aside::Aside;
use self::idle::Idle;
use self::leasing::{LeaseFuture, poll_lease};
use crate::admission::{BusyClock, Done};
use crate::alarm::Alarm;
use crate::item::Item;
use crate::measure::Measure;
use crate::seats::{Load, SeatMap};
use crate::served::Served;
use crate::shared::Shared;
use crate::verdict::judge;

mod aside;
mod ends;
mod idle;
mod late;
mod leasing;
mod live;
mod spans;
mod unwanted;

/// Predictions and events taken in before the policy is asked again, so that neither can starve the other.
const INTAKE_MAX: usize = 256;

/// A job in an instance.
struct Flight {
    instance: InstanceId,
    load: Load,
    entries: Vec<Entry<Item>>,
    /// Where its items run in the traces of their callers, if somebody records that.
    traces: Vec<Option<Trace>>,
    /// All of it is wanted still.
    is_whole: bool,
    /// When the first of its predictions becomes a task.
    limit: Option<Moment>,
}

pub(crate) struct Driver {
    shared: Arc<Shared>,
    served: Arc<Served>,
    measure: Measure,
    batcher: Batcher<Item>,
    seats: SeatMap,
    flights: BTreeMap<BatchId, Flight>,
    lease: Option<LeaseFuture>,
    lease_not_before: Moment,
    /// A caller has hung up, and its item may still be here; it is not looked for before that.
    hung_up: bool,
    sweep_not_before: Moment,
    records: JoinSet<()>,
    /// Leased tasks that are not in the batcher.
    aside: Aside,
    /// Cancelled tasks that may be in our hands, or on their way into them; none once all has been looked through.
    revoked: HashSet<TaskId>,
    busy: BusyClock,
    idle: Idle,
    /// Takes nothing new: the engine drains, or another driver has the model.
    leave: CancellationToken,
    draining: bool,
    abandoned: bool,
}

impl Driver {
    /// It drains with the engine, or with `leave` before.
    pub(crate) fn new(shared: Arc<Shared>, served: Arc<Served>, leave: CancellationToken) -> Self {
        let measure = Measure::of(&served.config);
        let limits = measure.limits(&served.batching);
        Self {
            shared,
            served,
            measure,
            batcher: Batcher::new(limits),
            seats: SeatMap::default(),
            flights: BTreeMap::new(),
            lease: None,
            lease_not_before: Moment::ZERO,
            hung_up: false,
            sweep_not_before: Moment::ZERO,
            records: JoinSet::new(),
            aside: Aside::default(),
            revoked: HashSet::new(),
            busy: BusyClock::default(),
            idle: Idle::default(),
            leave,
            draining: false,
            abandoned: false,
        }
    }

    /// Runs until it drains and nothing is left in hand.
    pub(crate) async fn run(
        mut self,
        mut inbox: mpsc::Receiver<Item>,
        mut events: mpsc::Receiver<PoolEvent>,
    ) {
        let shared = Arc::clone(&self.shared);
        let served = Arc::clone(&self.served);
        let leave = self.leave.clone();
        let mut intake = Vec::with_capacity(INTAKE_MAX);
        let mut news = Vec::with_capacity(INTAKE_MAX);
        let mut pool_alive = true;
        let mut alarm = Alarm::new();
        loop {
            self.expire();
            self.take_revocations();
            let sweep = self.sweep();
            let until = self.dispatch();
            self.mark_time();
            self.lease_what_fits();
            let retry_lease = self.lease_retry_at();
            let delayed = self.look_at_delayed_at();
            let deadline = self.batcher.next_deadline();
            let limit = self.next_limit();
            let idle = self.load_or_unload();
            let next = [until, retry_lease, sweep, delayed, deadline, limit, idle];
            alarm.set(next.into_iter().flatten().min().map(|at| shared.instant(at)));
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
                () = leave.cancelled(), if !self.draining => {
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
                () = served.hung_up.notified() => self.hung_up = true,
                _ = inbox.recv_many(&mut intake, INTAKE_MAX) => {
                    for item in intake.drain(..).filter(Item::is_wanted) {
                        self.admit(item);
                    }
                    self.put_down();
                }
                Some(_) = self.records.join_next() => {}
                back = self.aside.next(), if !self.aside.is_empty() => self.on_back(back),
                () = served.wake.notified() => {}
                () = alarm.rings() => {}
            }
        }
    }

    /// Time without work is not counted when it is measured how fast work is done.
    fn mark_time(&mut self) {
        let working = !self.flights.is_empty() || !self.batcher.is_empty();
        if working != self.busy.is_running() {
            self.busy.turn(working, self.shared.now(), &self.served.turned);
        }
    }

    fn is_done(&self) -> bool {
        self.flights.is_empty()
            && self.batcher.is_empty()
            && self.lease.is_none()
            && self.aside.is_empty()
            && self.records.is_empty()
    }

    /// Sends what the policy lets go; says when to ask it again.
    fn dispatch(&mut self) -> Option<Moment> {
        loop {
            let (now, seats) = (self.shared.now(), self.seats.free());
            let revoked = &self.revoked;
            let wanted = |item: &Item| item.is_wanted() && !item.is_among(revoked);
            match self.batcher.next(now, seats, wanted, drop) {
                Decision::Run { batch, seat, work } => self.send(batch, seat, work, now),
                Decision::WaitUntil(at) => return Some(at),
                Decision::Rest => return None,
            }
        }
    }

    fn send(&mut self, mut entries: Vec<Entry<Item>>, seat: Seat, work: u64, now: Moment) {
        let callers = entries.iter().filter(|e| e.class == Class::Interactive).count();
        let load = Load { work, callers };
        let expected = |work| self.batcher.expected(work);
        let Some(instance) = self.seats.take(seat, load, now, expected) else {
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
            if let Some(lead) = &mut entry.item.lead {
                lead.sent();
            }
        }
        let batch = self.shared.next_batch();
        let items: Vec<Payload> = entries.iter().map(|e| e.item.payload.clone()).collect();
        let traces = spans::places(&entries);
        let kept = self.shared.spans.as_ref().map_or(Vec::new(), |_| traces.clone());
        let names = entries.iter().map(|entry| entry.item.name()).collect();
        let job = Job {
            batch,
            items,
            traces,
            names,
        };
        match self.served.executor.run(instance, job) {
            Ok(()) => {
                self.served.progress.moved();
                self.served.running.fetch_add(entries.len(), Ordering::Relaxed);
                let flight = Flight {
                    instance,
                    load,
                    limit: late::first_limit(&entries),
                    entries,
                    traces: kept,
                    is_whole: true,
                };
                self.flights.insert(batch, flight);
            }
            Err(NotTaken(_)) => {
                // It was not delivered after all.
                entries.iter_mut().for_each(|entry| entry.item.deliveries -= 1);
                self.seats.shut(instance);
                self.batcher.push_sealed(entries);
            }
        }
    }

    fn on_event(&mut self, event: PoolEvent) {
        match event {
            PoolEvent::Up { instance, slots } => {
                self.seats.up(instance, slots);
                self.note_work();
                self.forget_results();
                self.served.refresh();
            }
            PoolEvent::Ended {
                instance,
                batch,
                end,
                timing,
            } => self.on_ended(instance, batch, end, timing),
            PoolEvent::Progress { batch, reports, .. } => self.on_progress(batch, reports),
            PoolEvent::Chunks { batch, chunks, .. } => self.on_chunks(batch, chunks),
            PoolEvent::Logs { batch, lines, .. } => self.on_lines(batch, lines),
            PoolEvent::Down { instance, reason } => {
                self.seats.down(instance);
                self.forget_results();
                match reason {
                    DownReason::Stopped => {}
                    // All places go for the one reason, and the last of them counts.
                    DownReason::Away(_) if self.seats.any() => {}
                    DownReason::Unloaded => self.served.metrics.unloaded(),
                    _ => self.served.metrics.went_down(&reason),
                }
                if self.served.refresh() {
                    self.refuse_callers();
                }
            }
            PoolEvent::TakenOver { .. } => self.forget_results(),
            // The place was up all the time, so its seats are as they were.
            PoolEvent::Recycled { reason, end, .. } => {
                self.served.metrics.recycled(reason);
                if end != DownReason::Stopped {
                    self.served.metrics.went_down(&end);
                }
            }
            PoolEvent::NotReplaced { reason, .. } => self.served.metrics.not_replaced(&reason),
        }
    }

    fn on_ended(&mut self, instance: InstanceId, batch: BatchId, end: JobEnd, timing: Timing) {
        let now = self.shared.now();
        let flight = self.flights.remove(&batch);
        // Only what a whole batch took says anything: one that raised, or that was not wanted whole, may have ended at once.
        if let (Some(flight), JobEnd::Items(_), false) = (&flight, &end, timing.compute.is_zero())
            && flight.is_whole
        {
            self.batcher.observe(flight.load.work, timing.compute);
        }
        self.seats
            .give_back(instance, now, |work| self.batcher.expected(work));
        let Some(flight) = flight else {
            tracing::error!(model = %self.served.config.name, %batch, "an unknown batch ended");
            return;
        };
        debug_assert_eq!(flight.instance, instance);
        self.tell_spans(&flight, batch, &end, timing, now);
        if flight.entries.iter().any(|entry| entry.item.is_work()) {
            self.note_work();
        }
        self.served.progress.moved();
        self.served
            .running
            .fetch_sub(flight.entries.len(), Ordering::Relaxed);
        if !matches!(end, JobEnd::Lost { .. }) {
            self.served.metrics.batch(flight.entries.len(), timing.compute);
        }
        let (reason, at) = (end.redelivery(), Timestamp::now());
        let verdict = judge(flight.entries, end, self.served.config.limits.max_attempts.max(1));
        let done = Done::of_items(verdict.resolved.iter().map(|(item, _)| item));
        self.served.finished(done, self.busy.at(now), now);
        self.resolve(verdict.resolved, timing);
        self.batcher.answered(flight.load.callers, now);
        let again: usize = verdict.again.iter().map(Vec::len).sum();
        self.served.metrics.redelivered(again as u64);
        for mut group in verdict.again {
            for entry in &mut group {
                entry.item.note(at, &reason);
                entry.item.void(at);
            }
            self.batcher.push_sealed(group);
        }
        self.put_down();
    }
}
