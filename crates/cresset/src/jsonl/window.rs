//! Puts records back into the order of their lines. Pure.

use std::collections::BTreeMap;

/// What has come out of order, by sequence number (0, 1, 2, ... without holes, in the order of admission).
#[derive(Debug, Default)]
pub(super) struct Window<T> {
    admitted: u64,
    next: u64,
    early: BTreeMap<u64, T>,
}

impl<T> Window<T> {
    /// An empty one.
    pub(super) fn new() -> Self {
        Self {
            admitted: 0,
            next: 0,
            early: BTreeMap::new(),
        }
    }

    /// The sequence number of the next line.
    pub(super) fn admit(&mut self) -> u64 {
        let sequence = self.admitted;
        self.admitted += 1;
        sequence
    }

    /// Takes a record; gives those that are now in order.
    pub(super) fn put(&mut self, sequence: u64, record: T) -> Vec<T> {
        self.early.insert(sequence, record);
        let mut ready = Vec::new();
        while let Some(record) = self.early.remove(&self.next) {
            self.next += 1;
            ready.push(record);
        }
        ready
    }

    /// Lines admitted whose record has not been given out.
    pub(super) fn open(&self) -> u64 {
        self.admitted - self.next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_out_in_order_whatever_order_they_come_in() {
        let mut window = Window::new();
        for sequence in 0..4 {
            assert_eq!(window.admit(), sequence);
        }
        assert_eq!(window.put(2, "c"), [] as [&str; 0]);
        assert_eq!(window.put(0, "a"), ["a"]);
        assert_eq!(window.open(), 3);
        assert_eq!(window.put(1, "b"), ["b", "c"]);
        assert_eq!(window.put(3, "d"), ["d"]);
        assert_eq!(window.open(), 0);
    }
}
