//! Items of one shape, in the order in which they should go.

use std::collections::VecDeque;
use std::time::Duration;

/// An instant of the engine's monotonic clock: the time since some fixed start.
pub type Moment = Duration;

/// How much sooner an interactive item goes than a bulk item that arrived at the same moment. A bulk item older than
/// this goes before a fresh interactive one, so neither class can starve the other.
pub const BULK_HEADWAY: Duration = Duration::from_millis(50);

/// Who waits for an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// A caller on an open connection.
    Interactive,
    /// A task from the durable queue.
    Bulk,
}

/// One waiting item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry<T> {
    /// Whatever the engine needs to run and answer it.
    pub item: T,
    /// What its payload weighs.
    pub bytes: usize,
    /// Only items of equal bucket (shapes) go into one batch.
    pub bucket: u64,
    /// Who waits.
    pub class: Class,
    /// When it arrived.
    pub arrived: Moment,
}

impl<T> Entry<T> {
    /// Smaller goes first.
    pub(crate) fn turn(&self) -> Moment {
        match self.class {
            Class::Interactive => self.arrived,
            Class::Bulk => self.arrived.saturating_add(BULK_HEADWAY),
        }
    }
}

/// The items of one bucket: first come first served within a class, merged by turn between them.
#[derive(Debug)]
pub(crate) struct Lane<T> {
    interactive: VecDeque<Entry<T>>,
    bulk: VecDeque<Entry<T>>,
    bytes: usize,
}

impl<T> Default for Lane<T> {
    fn default() -> Self {
        Self {
            interactive: VecDeque::new(),
            bulk: VecDeque::new(),
            bytes: 0,
        }
    }
}

impl<T> Lane<T> {
    pub(crate) fn push(&mut self, entry: Entry<T>) {
        self.bytes = self.bytes.saturating_add(entry.bytes);
        match entry.class {
            Class::Interactive => self.interactive.push_back(entry),
            Class::Bulk => self.bulk.push_back(entry),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.interactive.len() + self.bulk.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    fn front(&self) -> Option<&Entry<T>> {
        match (self.interactive.front(), self.bulk.front()) {
            (Some(a), Some(b)) => Some(if a.turn() <= b.turn() { a } else { b }),
            (a, b) => a.or(b),
        }
    }

    /// The turn of the item that goes next.
    pub(crate) fn turn(&self) -> Option<Moment> {
        self.front().map(Entry::turn)
    }

    /// The arrival of the item that has waited longest.
    pub(crate) fn oldest(&self) -> Option<Moment> {
        [self.interactive.front(), self.bulk.front()]
            .into_iter()
            .flatten()
            .map(|e| e.arrived)
            .min()
    }

    pub(crate) fn peek_bytes(&self) -> Option<usize> {
        self.front().map(|e| e.bytes)
    }

    pub(crate) fn pop(&mut self) -> Option<Entry<T>> {
        let from_interactive = match (self.interactive.front(), self.bulk.front()) {
            (Some(a), Some(b)) => a.turn() <= b.turn(),
            (a, _) => a.is_some(),
        };
        let entry = if from_interactive {
            self.interactive.pop_front()
        } else {
            self.bulk.pop_front()
        }?;
        self.bytes = self.bytes.saturating_sub(entry.bytes);
        Some(entry)
    }

    pub(crate) fn take_class(&mut self, class: Class) -> VecDeque<Entry<T>> {
        let taken = match class {
            Class::Interactive => std::mem::take(&mut self.interactive),
            Class::Bulk => std::mem::take(&mut self.bulk),
        };
        self.bytes = self.bytes.saturating_sub(taken.iter().map(|e| e.bytes).sum());
        taken
    }
}
