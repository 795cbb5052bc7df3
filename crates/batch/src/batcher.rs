//! From waiting items and free seats to batches.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::lane::{Class, Entry, Lane, Moment};

/// Bounds of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Items at most; at least 1.
    pub max_items: usize,
    /// Bytes at most; a heavier single item goes alone.
    pub max_bytes: usize,
    /// How long an item may be held back for a fuller batch behind a running one.
    pub max_delay: Duration,
}

/// Free places in the instances.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Seats {
    /// Instances with nothing to do.
    pub idle: usize,
    /// Free slots of instances that are running a batch.
    pub behind: usize,
}

/// Where a batch is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seat {
    /// To an idle instance.
    Idle,
    /// Behind a running batch.
    Behind,
}

/// What to do now.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision<T> {
    /// Send these items, then ask again.
    Run {
        /// The items; never empty, all of one bucket.
        batch: Vec<Entry<T>>,
        /// To where.
        seat: Seat,
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
    lanes: BTreeMap<u64, Lane<T>>,
    sealed: VecDeque<Vec<Entry<T>>>,
    len: usize,
}

impl<T> Batcher<T> {
    /// An empty batcher. A `max_items` of 0 counts as 1.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        let limits = Limits {
            max_items: limits.max_items.max(1),
            ..limits
        };
        Self {
            limits,
            lanes: BTreeMap::new(),
            sealed: VecDeque::new(),
            len: 0,
        }
    }

    /// Items waiting.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// A new item.
    pub fn push(&mut self, entry: Entry<T>) {
        self.len += 1;
        self.lanes.entry(entry.bucket).or_default().push(entry);
    }

    /// Items that must run together and with no others, before everything else: the halves of a batch that failed.
    pub fn push_sealed(&mut self, entries: Vec<Entry<T>>) {
        if !entries.is_empty() {
            self.len += entries.len();
            self.sealed.push_back(entries);
        }
    }

    /// What to do with `seats` at `now`. Items for which `wanted` is false (their caller has gone) are dropped on the
    /// way and given to `dropped`.
    pub fn next(
        &mut self,
        now: Moment,
        seats: Seats,
        wanted: impl Fn(&T) -> bool,
        mut dropped: impl FnMut(T),
    ) -> Decision<T> {
        if seats.idle == 0 && seats.behind == 0 {
            return Decision::Rest;
        }
        let seat = if seats.idle > 0 { Seat::Idle } else { Seat::Behind };
        while let Some(group) = self.sealed.pop_front() {
            self.len -= group.len();
            let (batch, gone): (Vec<_>, Vec<_>) = group.into_iter().partition(|e| wanted(&e.item));
            gone.into_iter().for_each(|e| dropped(e.item));
            if !batch.is_empty() {
                return Decision::Run { batch, seat };
            }
        }
        loop {
            let chosen = match seat {
                Seat::Idle => self
                    .lanes
                    .iter()
                    .filter_map(|(b, l)| Some((l.turn()?, *b)))
                    .min()
                    .map(|(_, b)| b),
                Seat::Behind => match self.behind(now) {
                    Ok(bucket) => Some(bucket),
                    Err(decision) => return decision,
                },
            };
            let Some(bucket) = chosen else {
                return Decision::Rest;
            };
            let batch = self.cut(bucket, seats, &wanted, &mut dropped);
            if !batch.is_empty() {
                return Decision::Run { batch, seat };
            }
        }
    }

    /// The lane that may go behind a running batch: a full one, or one whose oldest item has waited long enough.
    fn behind(&self, now: Moment) -> Result<u64, Decision<T>> {
        let due = |lane: &Lane<T>| lane.oldest().map(|at| at.saturating_add(self.limits.max_delay));
        let ready = self
            .lanes
            .iter()
            .filter(|(_, lane)| self.is_full(lane) || due(lane).is_some_and(|d| d <= now));
        if let Some((_, bucket)) = ready.filter_map(|(b, l)| Some((l.turn()?, *b))).min() {
            return Ok(bucket);
        }
        Err(self
            .lanes
            .values()
            .filter_map(due)
            .min()
            .map_or(Decision::Rest, Decision::WaitUntil))
    }

    fn is_full(&self, lane: &Lane<T>) -> bool {
        lane.len() >= self.limits.max_items || (lane.bytes() >= self.limits.max_bytes && !lane.is_empty())
    }

    /// Takes a batch from a lane: an even share for each idle instance, within the limits.
    fn cut(
        &mut self,
        bucket: u64,
        seats: Seats,
        wanted: impl Fn(&T) -> bool,
        mut dropped: impl FnMut(T),
    ) -> Vec<Entry<T>> {
        let Some(lane) = self.lanes.get_mut(&bucket) else {
            return Vec::new();
        };
        let share = lane.len().div_ceil(seats.idle.max(1));
        let most = share.clamp(1, self.limits.max_items);
        let mut batch = Vec::with_capacity(most);
        let mut bytes = 0_usize;
        while batch.len() < most {
            let Some(weight) = lane.peek_bytes() else { break };
            if !batch.is_empty() && bytes.saturating_add(weight) > self.limits.max_bytes {
                break;
            }
            let Some(entry) = lane.pop() else { break };
            self.len -= 1;
            if wanted(&entry.item) {
                bytes = bytes.saturating_add(weight);
                batch.push(entry);
            } else {
                dropped(entry.item);
            }
        }
        if lane.is_empty() {
            self.lanes.remove(&bucket);
        }
        batch
    }

    /// Takes out everything of one class: to refuse it, or to give it back. Sealed groups keep their other items.
    pub fn take_class(&mut self, class: Class) -> Vec<T> {
        let mut taken = Vec::new();
        for lane in self.lanes.values_mut() {
            taken.extend(lane.take_class(class).into_iter().map(|e| e.item));
        }
        self.lanes.retain(|_, lane| !lane.is_empty());
        for group in std::mem::take(&mut self.sealed) {
            let (out, stay): (Vec<_>, Vec<_>) = group.into_iter().partition(|e| e.class == class);
            taken.extend(out.into_iter().map(|e| e.item));
            if !stay.is_empty() {
                self.sealed.push_back(stay);
            }
        }
        self.len -= taken.len();
        taken
    }
}
