//! Items of one shape and about one length, in the order in which they should go.

use crate::entry::{Class, Entry};
use crate::limits::Limits;
use crate::runs::{Ref, Runs};
use crate::store::Store;

/// The items of one lane: in order within a class, merged by turn between the two.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    interactive: Runs,
    bulk: Runs,
    len: usize,
    bytes: usize,
    cost: u64,
}

impl Lane {
    fn of(&mut self, class: Class) -> &mut Runs {
        match class {
            Class::Interactive => &mut self.interactive,
            Class::Bulk => &mut self.bulk,
        }
    }

    pub(crate) fn push(&mut self, at: Ref, class: Class, bytes: usize, cost: u64) {
        self.len += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        self.cost = self.cost.saturating_add(cost);
        self.of(class).push(at);
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// True when no batch of this lane alone can get fuller.
    pub(crate) fn is_full(&self, limits: &Limits) -> bool {
        self.len > 0
            && (self.len >= limits.max_items
                || self.bytes >= limits.max_bytes
                || limits.max_cost.is_some_and(|max| self.cost >= max))
    }

    /// The item that goes next.
    pub(crate) fn head(&self) -> Option<Ref> {
        match (self.interactive.head(), self.bulk.head()) {
            (Some(a), Some(b)) => Some(if a.merge <= b.merge { a } else { b }),
            (a, b) => a.or(b),
        }
    }

    /// Its turn, for comparing lanes.
    pub(crate) fn turn(&self) -> Option<(i64, u64)> {
        self.head().map(|head| (head.merge, head.seq))
    }

    /// References among which is the item that has waited longest.
    pub(crate) fn oldest(&self) -> impl Iterator<Item = Ref> {
        self.interactive.oldest().chain(self.bulk.oldest())
    }

    /// Takes `head` out of the line; it is what [`Lane::head`] gave.
    pub(crate) fn pop<T>(&mut self, head: &Ref, store: &mut Store<T>) -> Option<Entry<T>> {
        let class = store.get(head)?.entry.class;
        self.of(class).pop(|r| store.holds(r));
        let entry = store.take(head)?.entry;
        self.discount(&entry);
        Some(entry)
    }

    /// An item of this lane has left the store by another way than `pop`; [`Lane::settle`] must follow.
    pub(crate) fn discount<T>(&mut self, gone: &Entry<T>) {
        self.len -= 1;
        self.bytes = self.bytes.saturating_sub(gone.bytes);
        self.cost = self.cost.saturating_sub(gone.cost);
    }

    /// Makes the heads ones that are still there.
    pub(crate) fn settle<T>(&mut self, store: &Store<T>) {
        for runs in [&mut self.interactive, &mut self.bulk] {
            runs.settle(|r| store.holds(r));
            runs.compact(self.len, |r| store.holds(r));
        }
    }
}
