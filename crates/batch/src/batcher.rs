//! From waiting items and free seats to batches.

use std::collections::VecDeque;
use std::time::Duration;

use crate::entry::{Class, Entry, Moment};
use crate::lane::Lane;
use crate::latency::Latency;
use crate::limits::{Fill, Limits};
use crate::returns::Returns;
use crate::seats::{Ahead, Seat, Seats};
use crate::share;
use crate::store::LaneKey;
use crate::waiting::Waiting;

/// A batch twice as full pays when it takes less than twice as long by more than this part.
const FULLER_PAYS: u32 = 8;
/// What a fuller batch must save for an idle instance to wait for it: below this the timer that ends the wait, a millisecond
/// coarse, would cost more than it brings.
const WORTH_A_WAIT: Duration = Duration::from_millis(2);
/// An idle instance waits for no longer than this part of what the batch takes, or `max_delay`.
const WAIT_SHARE: u32 = 16;
/// The share of padding that can be asked for at most: beyond it lanes would hold anything.
const PADDING_MOST: f64 = 0.99;

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision<T> {
    /// Send these items, then ask again.
    Run {
        /// The items; never empty, all of one bucket.
        batch: Vec<Entry<T>>,
        /// To where.
        seat: Seat,
        /// Their size together, for [`Batcher::expected`] and [`Batcher::observe`].
        work: u64,
    },
    /// Ask again then, or when something changes.
    WaitUntil(Moment),
    /// Nothing to do until something changes.
    Rest,
}

/// The items of one model that wait in memory.
#[derive(Debug)]
pub struct Batcher<T> {
    limits: Limits,
    waiting: Waiting<T>,
    sealed: VecDeque<Vec<Entry<T>>>,
    sealed_len: usize,
    latency: Latency,
    returns: Returns,
    /// Since when an idle instance has been waiting for callers to come back.
    idle_since: Option<Moment>,
}

impl<T> Batcher<T> {
    /// An empty batcher. A `max_items` of 0 counts as 1.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let limits = Limits {
            max_items: limits.max_items.max(1),
            max_padding: limits.max_padding.map(|max| max.clamp(0.0, PADDING_MOST)),
            ..limits
        };
        Self {
            limits,
            waiting: Waiting::new(limits),
            sealed: VecDeque::new(),
            sealed_len: 0,
            latency: Latency::default(),
            returns: Returns::default(),
            idle_since: None,
        }
    }

    /// Items waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.waiting.len() + self.sealed_len
    }

    /// Bulk items waiting, those of sealed groups not counted.
    #[must_use]
    pub fn bulk_len(&self) -> usize {
        self.waiting.bulk_len()
    }

    /// True when nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A batch of this size ([`Decision::Run::work`]) took this long in its instance.
    pub fn observe(&mut self, work: u64, took: Duration) {
        self.latency.observe(work, took);
    }

    /// How long a batch of this size should take; `None` before anything was measured.
    #[must_use]
    pub fn expected(&self, work: u64) -> Option<Duration> {
        self.latency.estimate(work)
    }

    /// So many callers have their answer.
    pub fn answered(&mut self, callers: usize, now: Moment) {
        self.returns.answered(callers, now);
    }

    /// A new item. Items come in time: `arrived` is not before that of the last one.
    pub fn push(&mut self, entry: Entry<T>) {
        if entry.class == Class::Interactive {
            self.returns.arrived(entry.arrived);
        }
        self.waiting.push(entry);
    }

    /// Items that must run together and with no others, before everything else: the halves of a batch that failed.
    pub fn push_sealed(&mut self, entries: Vec<Entry<T>>) {
        if !entries.is_empty() {
            self.sealed_len += entries.len();
            self.sealed.push_back(entries);
        }
    }

    /// What to do with `seats` at `now`. Items for which `wanted` is false (their caller has gone) are dropped on the
    /// way and given to `dropped`.
    pub fn next(
        &mut self,
        now: Moment,
        seats: Seats<'_>,
        wanted: impl Fn(&T) -> bool,
        mut dropped: impl FnMut(T),
    ) -> Decision<T> {
        let seat = match (seats.idle, seats.behind) {
            (0, []) => return Decision::Rest,
            (0, _) => Seat::Behind,
            _ => Seat::Idle,
        };
        if let Some((batch, fill)) = self.next_sealed(&wanted, &mut dropped) {
            self.idle_since = None;
            let work = fill.work(&self.limits);
            return Decision::Run { batch, seat, work };
        }
        loop {
            let Some(first) = self.waiting.first_lane(|_| true) else {
                self.idle_since = None;
                return Decision::Rest;
            };
            let deadline = self.waiting.next_deadline();
            let lane = match seats.behind.first() {
                Some(ahead) if seat == Seat::Behind => self.behind(first, now, *ahead, deadline),
                _ => match self.held_for_returns(first, now, seats.idle, deadline) {
                    Some(until) => Err(until),
                    None => Ok(first),
                },
            };
            let lane = match lane {
                Ok(lane) => lane,
                Err(until) => return Decision::WaitUntil(until),
            };
            self.idle_since = None;
            let most = self.most(lane, seats, now);
            let (batch, fill) = self.waiting.cut(lane, most, &wanted, &mut dropped);
            if !batch.is_empty() {
                let work = fill.work(&self.limits);
                return Decision::Run { batch, seat, work };
            }
        }
    }

    fn next_sealed(
        &mut self,
        wanted: impl Fn(&T) -> bool,
        dropped: &mut impl FnMut(T),
    ) -> Option<(Vec<Entry<T>>, Fill)> {
        while let Some(group) = self.sealed.pop_front() {
            self.sealed_len -= group.len();
            let (batch, gone): (Vec<_>, Vec<_>) = group.into_iter().partition(|e| wanted(&e.item));
            gone.into_iter().for_each(|e| dropped(e.item));
            if !batch.is_empty() {
                let fill = batch.iter().fold(Fill::default(), |fill, e| fill.with(e));
                return Some((batch, fill));
            }
        }
        None
    }

    /// The lane that goes behind a running batch now; or until when to hold back.
    fn behind(
        &self,
        first: LaneKey,
        now: Moment,
        ahead: Ahead,
        deadline: Option<Moment>,
    ) -> Result<LaneKey, Moment> {
        let lane = self.waiting.lane(first);
        let is_full = |lane: &Lane| lane.is_full(&self.limits);
        if ahead.takes_full_ones_early() && lane.is_some_and(is_full) {
            return Ok(first);
        }
        let bytes = lane.map_or(0, Lane::bytes).min(self.limits.max_bytes);
        if ahead.callers > 0
            && let Some(end) = ahead.end(now)
            && self
                .returns
                .gap()
                .is_some_and(|gap| self.one_more_pays(first, gap))
        {
            return Err(end);
        }
        let until = match ahead.handover(bytes, now) {
            Some(handover) => handover,
            None => self.held_back_until(first, ahead, deadline),
        };
        if until <= now {
            return Ok(first);
        }
        // Where nobody knows how long the seat waits for its turn, a full batch of another shape may take it; but only until
        // then, or a lane that never fills up would starve.
        match self.waiting.first_lane(is_full) {
            Some(full) if ahead.is_open(now) => Ok(full),
            _ => Err(until),
        }
    }

    /// Until when an idle instance waits for the next of the callers that are due; `None` when it takes what there is.
    fn held_for_returns(
        &mut self,
        first: LaneKey,
        now: Moment,
        idle: usize,
        deadline: Option<Moment>,
    ) -> Option<Moment> {
        let gap = self.returns.gap().filter(|_| self.returns.any_due())?;
        let room = self.limits.max_items.saturating_mul(idle);
        if self.waiting.len() >= room || !self.one_more_pays(first, gap) {
            return None;
        }
        let since = *self.idle_since.get_or_insert(now);
        let latest = since.saturating_add(self.longest_wait(first));
        let latest = self.no_later_than(deadline, first, latest);
        let until = self.returns.until().min(latest);
        if until > now {
            return Some(until);
        }
        if latest > now {
            self.returns.forget();
        }
        None
    }

    /// How long an idle instance waits at most: `max_delay`, or a small part of what the batch takes, if that is more.
    fn longest_wait(&self, first: LaneKey) -> Duration {
        let max_delay = self.limits.max_delay;
        if max_delay.is_zero() {
            return max_delay;
        }
        let waiting = self.waiting.lane(first).map_or(0, Lane::len);
        let takes = self.expected_of(first, waiting).unwrap_or_default();
        max_delay.max(takes / WAIT_SHARE)
    }

    /// True when it saves more time to have one item more in the batch than the items that wait lose until it comes.
    fn one_more_pays(&self, first: LaneKey, gap: Duration) -> bool {
        let expected = |items| self.expected_of(first, items);
        // No more is saved than what the item would take alone: with a quick model there is nothing to weigh.
        let Some(alone) = expected(1).filter(|alone| *alone > WORTH_A_WAIT) else {
            return false;
        };
        let waiting = self.waiting.lane(first).map_or(0, Lane::len);
        if waiting >= self.limits.max_items || gap > self.longest_wait(first) || !self.latency.knows_growth()
        {
            return false;
        }
        let (Some(without), Some(with)) = (expected(waiting), expected(waiting + 1)) else {
            return false;
        };
        let saved = (alone + without).saturating_sub(with);
        let lost = gap.saturating_mul(u32::try_from(waiting).unwrap_or(u32::MAX));
        saved > (2 * lost).max(WORTH_A_WAIT)
    }

    /// How long items are held back where nobody knows when the seat's turn comes: while a fuller batch pays, and no
    /// longer than `max_delay`, or than a deadline lets them.
    fn held_back_until(&self, first: LaneKey, ahead: Ahead, deadline: Option<Moment>) -> Moment {
        let delay = if ahead.is_short() || self.fuller_pays(first) {
            self.limits.max_delay
        } else {
            Duration::ZERO
        };
        let until = self.waiting.oldest().unwrap_or_default().saturating_add(delay);
        self.no_later_than(deadline, first, until)
    }

    /// The moment, or an earlier one after which the item with the next deadline would be too late.
    fn no_later_than(&self, deadline: Option<Moment>, first: LaneKey, until: Moment) -> Moment {
        match deadline {
            Some(deadline) => {
                until.min(deadline.saturating_sub(self.expected_of(first, 1).unwrap_or_default()))
            }
            None => until,
        }
    }

    /// True unless the measured times say that two batches of what waits take about as long as one of twice as much. Asked
    /// of batches of some length only: the times of short ones are mostly noise, and their own.
    fn fuller_pays(&self, first: LaneKey) -> bool {
        let waiting = self
            .waiting
            .lane(first)
            .map_or(0, Lane::len)
            .min(self.limits.max_items);
        match (
            self.expected_of(first, waiting),
            self.expected_of(first, 2 * waiting),
        ) {
            (Some(one), Some(twice)) if self.latency.knows_growth() => {
                twice < 2 * one - 2 * one / FULLER_PAYS
            }
            _ => true,
        }
    }

    /// How long so many items like the first of a lane should take.
    fn expected_of(&self, lane: LaneKey, items: usize) -> Option<Duration> {
        self.latency.estimate(self.waiting.work_of(lane, items)?)
    }

    /// How many items of this lane at most for this seat, so that other instances are not left without.
    fn most(&self, lane: LaneKey, seats: Seats<'_>, now: Moment) -> usize {
        let max_items = self.limits.max_items;
        if seats.idle + seats.behind.len() == 1 {
            return max_items;
        }
        // What others wait for is theirs.
        let others = self.waiting.other_buckets(lane);
        let waiting = self.waiting.len_of_bucket(lane);
        // What more items cost is not guessed here: the guess would be that they cost nothing, or all.
        let expected = |items| {
            self.latency
                .knows_growth()
                .then(|| self.expected_of(lane, items))
                .flatten()
        };
        if seats.idle == 1 {
            // With those that will be free soon, or callers that once came together would stay together, and go to one
            // instance while another runs their few fellows.
            let idle = Ahead::nothing(now);
            let soon: Vec<_> = std::iter::once(idle)
                .chain(seats.behind.iter().copied())
                .take((1 + seats.behind.len()).saturating_sub(others).max(1))
                .collect();
            share::behind(waiting, max_items, &soon, expected)
        } else if seats.idle > 0 {
            share::idle(
                waiting,
                max_items,
                seats.idle.saturating_sub(others).max(1),
                expected,
            )
        } else {
            let own = seats.behind.len().saturating_sub(others).max(1);
            let behind = seats.behind.get(..own).unwrap_or_default();
            share::behind(waiting, max_items, behind, expected)
        }
    }

    /// When the next deadline passes.
    pub fn next_deadline(&mut self) -> Option<Moment> {
        let sealed = self.sealed.iter().flatten().filter_map(|e| e.deadline).min();
        [self.waiting.next_deadline(), sealed].into_iter().flatten().min()
    }

    /// Takes out the items whose deadline has passed. To be called when [`Batcher::next_deadline`] has come.
    pub fn expire(&mut self, now: Moment) -> Vec<T> {
        let mut gone = self.waiting.expire(now);
        self.unseal(|e| e.deadline.is_some_and(|at| at <= now), &mut gone);
        gone
    }

    /// Takes out the items that nobody wants any more. Looks at every one: call it when something says that there are some.
    pub fn sweep(&mut self, wanted: impl Fn(&T) -> bool) -> Vec<T> {
        let mut gone = self.waiting.take_if(|e| !wanted(&e.item));
        self.unseal(|e| !wanted(&e.item), &mut gone);
        gone
    }

    /// Takes out everything of one class: to refuse it, or to give it back. Sealed groups keep their other items.
    pub fn take_class(&mut self, class: Class) -> Vec<T> {
        let mut taken = self.waiting.take_if(|e| e.class == class);
        self.unseal(|e| e.class == class, &mut taken);
        taken
    }

    /// Moves what `leaves` out of the sealed groups.
    fn unseal(&mut self, leaves: impl Fn(&Entry<T>) -> bool, into: &mut Vec<T>) {
        for group in std::mem::take(&mut self.sealed) {
            let (out, stay): (Vec<_>, Vec<_>) = group.into_iter().partition(&leaves);
            self.sealed_len -= out.len();
            into.extend(out.into_iter().map(|e| e.item));
            if !stay.is_empty() {
                self.sealed.push_back(stay);
            }
        }
    }
}
