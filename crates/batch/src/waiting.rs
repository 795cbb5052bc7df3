//! Everything that waits, in its lanes: who is first, who goes with whom, who leaves.

use std::collections::BTreeMap;

use crate::entry::{Class, Entry, Moment, moment, nanos};
use crate::lane::Lane;
use crate::limits::{Fill, Limits};
use crate::runs::{Ref, Runs};
use crate::store::{LaneKey, Store, Stored};

/// Lanes kept when they are empty, so that a shape that comes and goes does not make and drop one each time.
const LANES_KEPT: usize = 32;

#[derive(Debug)]
pub(crate) struct Waiting<T> {
    limits: Limits,
    /// One over the logarithm of the ratio between two classes of length.
    length_scale: Option<f64>,
    store: Store<T>,
    lanes: BTreeMap<LaneKey, Lane>,
    deadlines: Runs,
    bulk: usize,
}

impl<T> Waiting<T> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            // Two lengths of one class differ by less than the ratio 1 / (1 - max): any mix of them keeps the bound.
            length_scale: limits.max_padding.map(|max| -1.0 / (-max).ln_1p()),
            limits,
            store: Store::default(),
            lanes: BTreeMap::new(),
            deadlines: Runs::default(),
            bulk: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.store.len()
    }

    pub(crate) fn bulk_len(&self) -> usize {
        self.bulk
    }

    pub(crate) fn push(&mut self, entry: Entry<T>) {
        self.bulk += usize::from(entry.class == Class::Bulk);
        let key = (entry.bucket, self.length_class(entry.length));
        let (class, bytes, cost, deadline) = (entry.class, entry.bytes, entry.cost, entry.deadline);
        let at = self.store.insert(key, entry);
        self.lanes.entry(key).or_default().push(at, class, bytes, cost);
        if let Some(deadline) = deadline {
            self.deadlines.push(Ref {
                order: nanos(deadline),
                ..at
            });
        }
    }

    fn length_class(&self, length: u64) -> u64 {
        match self.length_scale {
            None => 0,
            Some(_) if length == 0 => 0,
            Some(scale) if scale.is_finite() => 1 + ((length as f64).ln() * scale) as u64,
            // No padding at all: a class for each length.
            Some(_) => length,
        }
    }

    pub(crate) fn lane(&self, key: LaneKey) -> Option<&Lane> {
        self.lanes.get(&key)
    }

    /// The lane whose head goes next, of those that fit.
    pub(crate) fn first_lane(&self, fits: impl Fn(&Lane) -> bool) -> Option<LaneKey> {
        self.lanes
            .iter()
            .filter(|(_, lane)| fits(lane))
            .filter_map(|(key, lane)| Some((lane.turn()?, *key)))
            .min()
            .map(|(_, key)| key)
    }

    /// Items that may go together with those of a lane.
    pub(crate) fn len_of_bucket(&self, key: LaneKey) -> usize {
        let lanes = self.lanes.range((key.0, 0)..=(key.0, u64::MAX));
        lanes.map(|(_, lane)| lane.len()).sum()
    }

    /// Buckets in which something waits, but for that of this lane.
    pub(crate) fn other_buckets(&self, key: LaneKey) -> usize {
        let waiting = self.lanes.iter().filter(|(_, lane)| lane.len() > 0);
        let (mut count, mut last) = (0, key.0);
        for ((bucket, _), _) in waiting {
            count += usize::from(*bucket != last && *bucket != key.0);
            last = *bucket;
        }
        count
    }

    /// The size that so many items like the head of a lane have.
    pub(crate) fn work_of(&self, key: LaneKey, items: usize) -> Option<u64> {
        let head = self.lanes.get(&key)?.head()?;
        let one = Fill::default()
            .with(&self.store.get(&head)?.entry)
            .work(&self.limits);
        Some(one.saturating_mul(items as u64))
    }

    /// When the item came that has waited longest.
    pub(crate) fn oldest(&self) -> Option<Moment> {
        let oldest = self.lanes.values().flat_map(Lane::oldest);
        oldest
            .filter_map(|r| Some(self.store.get(&r)?.entry.arrived))
            .min()
    }

    /// Takes a batch of at most `most` items: from this lane, and then from its neighbours in length while little of the
    /// batch is padding.
    pub(crate) fn cut(
        &mut self,
        key: LaneKey,
        most: usize,
        wanted: impl Fn(&T) -> bool,
        dropped: &mut impl FnMut(T),
    ) -> (Vec<Entry<T>>, Fill) {
        let mut cut = Cut {
            most,
            fill: Fill::default(),
            batch: Vec::with_capacity(most.min(self.lanes.get(&key).map_or(0, Lane::len))),
        };
        self.take_from(key, &mut cut, &wanted, dropped);
        if self.limits.max_padding.is_some() && !cut.batch.is_empty() {
            let (mut shorter, mut longer) = (Some(key), Some(key));
            while cut.batch.len() < most && (shorter.is_some() || longer.is_some()) {
                shorter = shorter.and_then(|key| self.shorter(key));
                longer = longer.and_then(|key| self.longer(key));
                for side in [&mut shorter, &mut longer] {
                    if side.is_some_and(|key| !self.take_from(key, &mut cut, &wanted, dropped)) {
                        *side = None;
                    }
                }
            }
        }
        (cut.batch, cut.fill)
    }

    fn shorter(&self, (bucket, class): LaneKey) -> Option<LaneKey> {
        let lanes = self.lanes.range((bucket, 0)..(bucket, class));
        lanes.map(|(key, _)| *key).next_back()
    }

    fn longer(&self, (bucket, class): LaneKey) -> Option<LaneKey> {
        let mut lanes = self
            .lanes
            .range((bucket, class.checked_add(1)?)..=(bucket, u64::MAX));
        lanes.next().map(|(key, _)| *key)
    }

    /// Moves items from the head of a lane into a batch. False when the next one does not fit.
    fn take_from(
        &mut self,
        key: LaneKey,
        cut: &mut Cut<T>,
        wanted: impl Fn(&T) -> bool,
        dropped: &mut impl FnMut(T),
    ) -> bool {
        let Some(lane) = self.lanes.get_mut(&key) else {
            return true;
        };
        let mut fits = true;
        while cut.batch.len() < cut.most
            && let Some(head) = lane.head()
            && let Some(stored) = self.store.get(&head)
        {
            let with = cut.fill.with(&stored.entry);
            let is_wanted = wanted(&stored.entry.item);
            fits = !is_wanted || with.keeps(&self.limits);
            if !fits {
                break;
            }
            let Some(entry) = lane.pop(&head, &mut self.store) else {
                break;
            };
            self.bulk -= usize::from(entry.class == Class::Bulk);
            if is_wanted {
                cut.fill = with;
                cut.batch.push(entry);
            } else {
                dropped(entry.item);
            }
        }
        self.tidy(key);
        fits
    }

    /// When the next deadline passes.
    pub(crate) fn next_deadline(&mut self) -> Option<Moment> {
        let store = &self.store;
        self.deadlines.settle(|r| store.holds(r));
        self.deadlines.compact(store.len(), |r| store.holds(r));
        self.deadlines.head().map(|r| moment(r.order))
    }

    /// Takes out the items whose deadline has passed.
    pub(crate) fn expire(&mut self, now: Moment) -> Vec<T> {
        let mut gone = Vec::new();
        while let Some(head) = self.deadlines.head()
            && head.order <= nanos(now)
        {
            let store = &self.store;
            self.deadlines.pop(|r| store.holds(r));
            gone.extend(self.store.take(&head));
        }
        self.left(gone)
    }

    /// Takes out all items for which `leaves` holds; looks at every one.
    pub(crate) fn take_if(&mut self, leaves: impl Fn(&Entry<T>) -> bool) -> Vec<T> {
        let gone = self.store.take_if(leaves);
        self.left(gone)
    }

    /// Brings the lanes up to date with what has been taken from the store.
    fn left(&mut self, gone: Vec<Stored<T>>) -> Vec<T> {
        let mut touched: Vec<LaneKey> = Vec::new();
        let mut items = Vec::with_capacity(gone.len());
        for Stored { lane: key, entry, .. } in gone {
            if let Some(lane) = self.lanes.get_mut(&key) {
                lane.discount(&entry);
            }
            self.bulk -= usize::from(entry.class == Class::Bulk);
            if touched.last() != Some(&key) {
                touched.push(key);
            }
            items.push(entry.item);
        }
        for key in touched {
            if let Some(lane) = self.lanes.get_mut(&key) {
                lane.settle(&self.store);
            }
            self.tidy(key);
        }
        items
    }

    fn tidy(&mut self, key: LaneKey) {
        if self.lanes.len() > LANES_KEPT && self.lanes.get(&key).is_some_and(|lane| lane.len() == 0) {
            self.lanes.remove(&key);
        }
    }
}

/// A batch that is being made.
struct Cut<T> {
    most: usize,
    fill: Fill,
    batch: Vec<Entry<T>>,
}
