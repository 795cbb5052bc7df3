//! The newest of what one run says, as many as there is room for: its own, and what all runs share.

use bytes::Bytes;

use super::{Budget, Found, Ring};

/// What it takes to keep one, beside its text.
const EACH_BYTES: usize = 64;

/// What can be kept.
pub(crate) trait Keep {
    fn text_bytes(&self) -> usize;

    fn cost(&self) -> usize {
        self.text_bytes() + EACH_BYTES
    }
}

impl Keep for Bytes {
    fn text_bytes(&self) -> usize {
        self.len()
    }
}

/// See above. Whoever owns it gives the room back: [`Shelf::clear`].
#[derive(Debug)]
pub(crate) struct Shelf<T> {
    kept: Ring<T>,
    bytes: usize,
}

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Self {
            kept: Ring::default(),
            bytes: 0,
        }
    }
}

impl<T: Keep> Shelf<T> {
    /// Another one; the oldest go for it. At most `count` are kept, of `limit` bytes. False when it, or one before it, had to go for
    /// want of room that all share.
    pub(crate) fn put(&mut self, value: T, count: usize, limit: usize, budget: &Budget) -> bool {
        let cost = value.cost();
        let mut has_room = true;
        loop {
            if self.kept.len() < count && self.bytes + cost <= limit {
                if budget.take(cost) {
                    self.bytes += cost;
                    self.kept.push(value);
                    break;
                }
                has_room = false;
            }
            let Some(oldest) = self.kept.pop() else {
                self.kept.skip();
                break;
            };
            let freed = oldest.cost();
            self.bytes -= freed;
            budget.give(freed);
        }
        has_room
    }

    /// So many came before the first, and are not kept.
    pub(crate) fn miss(&mut self, count: u64) {
        self.kept.miss(count);
    }

    pub(crate) fn get(&self, number: u64) -> Found<'_, T> {
        self.kept.get(number)
    }

    /// Empty, and numbered from 0 again; what it took is given back.
    pub(crate) fn clear(&mut self, budget: &Budget) {
        budget.give(self.bytes);
        *self = Self::default();
    }
}
