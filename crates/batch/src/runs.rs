//! A priority queue for what mostly comes in order.
//!
//! Arrivals, deadlines and turns are nearly sorted by themselves. So a newcomer is appended to one of a few sorted runs if
//! it belongs behind what is there, which costs nothing; only what fits behind none of them goes into a heap. It holds
//! references, not items: one whose item has left is stale, and is skipped when it comes to the front.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// Sorted runs before the heap is used. One would do for arrivals alone; a few priorities need a few.
const RUNS: usize = 4;
/// Stale references are kept up to this many beyond the live ones: cleaning up then costs little for each.
const STALE_SPARE: usize = 64;

/// A reference to an item in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ref {
    /// Smaller comes first.
    pub(crate) order: i64,
    /// Which item, of all that ever were; also breaks ties by age.
    pub(crate) seq: u64,
    /// Where the store has it.
    pub(crate) slot: u32,
    pub(crate) merge: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Runs {
    runs: [VecDeque<Ref>; RUNS],
    heap: BinaryHeap<Reverse<Ref>>,
    /// What is in the heap, in the order in which it came.
    heap_came: VecDeque<Ref>,
    /// The smallest of all, never stale.
    head: Option<Ref>,
    /// References in the runs and the heap, stale ones included.
    held: usize,
}

impl Runs {
    pub(crate) fn push(&mut self, new: Ref) {
        self.held += 1;
        if self.head.is_none_or(|head| new < head) {
            self.head = Some(new);
        }
        for run in &mut self.runs {
            if run.back().is_none_or(|back| *back < new) {
                run.push_back(new);
                return;
            }
        }
        self.heap.push(Reverse(new));
        self.heap_came.push_back(new);
    }

    /// The smallest.
    pub(crate) fn head(&self) -> Option<Ref> {
        self.head
    }

    /// Takes the smallest. `live` says which references are not stale.
    pub(crate) fn pop(&mut self, live: impl Fn(&Ref) -> bool) -> Option<Ref> {
        let head = self.head.take()?;
        match self.runs.iter_mut().find(|run| run.front() == Some(&head)) {
            Some(run) => drop(run.pop_front()),
            None => drop(self.heap.pop()),
        }
        self.held -= 1;
        // The reference just taken counts as stale where it still lies: in the order of coming.
        self.settle(|r| r.seq != head.seq && live(r));
        Some(head)
    }

    /// To be called after items have left by another way than `pop`.
    pub(crate) fn settle(&mut self, live: impl Fn(&Ref) -> bool) {
        let mut head: Option<Ref> = None;
        for run in &mut self.runs {
            while let Some(front) = run.front() {
                if live(front) {
                    head = Some(head.map_or(*front, |h| h.min(*front)));
                    break;
                }
                run.pop_front();
                self.held -= 1;
            }
        }
        while let Some(Reverse(top)) = self.heap.peek() {
            if live(top) {
                head = Some(head.map_or(*top, |h| h.min(*top)));
                break;
            }
            self.heap.pop();
            self.held -= 1;
        }
        while self.heap_came.front().is_some_and(|first| !live(first)) {
            self.heap_came.pop_front();
        }
        self.head = head;
    }

    /// Throws stale references out when they are more than the `live_count` live ones, and some.
    pub(crate) fn compact(&mut self, live_count: usize, live: impl Fn(&Ref) -> bool) {
        let came = self.heap_came.len();
        if self.held.max(came) <= 2 * live_count + STALE_SPARE {
            return;
        }
        self.runs.iter_mut().for_each(|run| run.retain(&live));
        self.heap.retain(|Reverse(r)| live(r));
        self.heap_came.retain(&live);
        self.held = self.runs.iter().map(VecDeque::len).sum::<usize>() + self.heap.len();
    }

    /// References among which the one that came first is: references come in time, so within a run the front has waited
    /// longest.
    pub(crate) fn oldest(&self) -> impl Iterator<Item = Ref> {
        let fronts = self.runs.iter().filter_map(|run| run.front());
        fronts.chain(self.heap_came.front()).copied()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn reference(order: i64, seq: u64) -> Ref {
        Ref {
            order,
            seq,
            slot: 0,
            merge: 0,
        }
    }

    proptest! {
        /// Whatever is pushed, popped or leaves by another way: it is like a sorted set.
        #[test]
        fn it_is_a_sorted_set(steps in proptest::collection::vec((0..10_u8, -40..40_i64), 1..400)) {
            let mut runs = Runs::default();
            let mut set = BTreeSet::new();
            for (seq, (what, order)) in steps.into_iter().enumerate() {
                let seq = seq as u64;
                match what {
                    0..6 => {
                        runs.push(reference(order, seq));
                        set.insert(reference(order, seq));
                    }
                    6..8 => {
                        let popped = runs.pop(|r| set.contains(r));
                        prop_assert_eq!(popped, set.pop_first());
                    }
                    8 => {
                        set.retain(|r| r.order != order);
                        runs.settle(|r| set.contains(r));
                    }
                    _ => runs.compact(set.len(), |r| set.contains(r)),
                }
                prop_assert_eq!(runs.head(), set.first().copied());
                let oldest = runs.oldest().map(|r| r.seq).min();
                prop_assert_eq!(oldest, set.iter().map(|r| r.seq).min());
            }
            while let Some(popped) = runs.pop(|r| set.contains(r)) {
                prop_assert_eq!(Some(popped), set.pop_first());
            }
            prop_assert!(set.is_empty());
        }
    }

    #[test]
    fn stale_references_do_not_pile_up() {
        let mut runs = Runs::default();
        runs.push(reference(i64::MIN, 0));
        for seq in 1..10_000_u64 {
            runs.push(reference(
                if seq % 3 == 0 { -(seq as i64) } else { seq as i64 },
                seq,
            ));
            // All but the first leave at once.
            runs.settle(|r| r.seq == 0);
            runs.compact(1, |r| r.seq == 0);
            assert!(runs.held <= STALE_SPARE + 3 && runs.heap_came.len() <= STALE_SPARE + 3);
        }
    }
}
