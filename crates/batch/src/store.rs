//! Where waiting items lie: a place each, that keeps until they leave.

use crate::entry::Entry;
use crate::runs::Ref;

/// A store that has been emptied keeps room for this many items; more was a burst.
const ROOM_KEPT: usize = 4096;

#[derive(Debug)]
pub(crate) struct Stored<T> {
    seq: u64,
    /// The lane it is in.
    pub(crate) lane: LaneKey,
    pub(crate) entry: Entry<T>,
}

/// Bucket, then class of length: so the lanes of a bucket are neighbours, ordered by length.
pub(crate) type LaneKey = (u64, u64);

#[derive(Debug)]
pub(crate) struct Store<T> {
    slots: Vec<Option<Stored<T>>>,
    free: Vec<u32>,
    next_seq: u64,
    len: usize,
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            next_seq: 0,
            len: 0,
        }
    }
}

impl<T> Store<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn insert(&mut self, lane: LaneKey, entry: Entry<T>) -> Ref {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.len += 1;
        let (order, merge) = (entry.turn.order, entry.turn.merge);
        let stored = Some(Stored { seq, lane, entry });
        let slot = match self.free.pop() {
            Some(slot) => {
                if let Some(place) = self.slots.get_mut(slot as usize) {
                    *place = stored;
                }
                slot
            }
            None => {
                self.slots.push(stored);
                // `max_waiting` and the seats bound what waits far below this.
                (self.slots.len() - 1) as u32
            }
        };
        Ref {
            order,
            seq,
            slot,
            merge,
        }
    }

    /// What `at` refers to, unless it has left.
    pub(crate) fn get(&self, at: &Ref) -> Option<&Stored<T>> {
        self.slots
            .get(at.slot as usize)?
            .as_ref()
            .filter(|s| s.seq == at.seq)
    }

    pub(crate) fn holds(&self, at: &Ref) -> bool {
        self.get(at).is_some()
    }

    /// Takes out what `at` refers to, unless it has left.
    pub(crate) fn take(&mut self, at: &Ref) -> Option<Stored<T>> {
        if !self.holds(at) {
            return None;
        }
        self.vacate(at.slot as usize)
    }

    /// Takes out everything for which `leaves` holds.
    pub(crate) fn take_if(&mut self, leaves: impl Fn(&Entry<T>) -> bool) -> Vec<Stored<T>> {
        let mut taken = Vec::new();
        for slot in 0..self.slots.len() {
            if matches!(self.slots.get(slot), Some(Some(stored)) if leaves(&stored.entry)) {
                taken.extend(self.vacate(slot));
            }
        }
        taken
    }

    fn vacate(&mut self, slot: usize) -> Option<Stored<T>> {
        let stored = self.slots.get_mut(slot)?.take()?;
        self.len -= 1;
        if self.len == 0 && self.slots.len() > ROOM_KEPT {
            self.slots = Vec::new();
            self.free = Vec::new();
        } else {
            self.free.push(slot as u32);
        }
        Some(stored)
    }
}
