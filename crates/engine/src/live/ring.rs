//! The newest of a sequence, each under its number.

use std::collections::VecDeque;

/// Numbers count from 0. What goes, goes from the old end; what did not fit has a number all the same.
#[derive(Debug)]
pub(crate) struct Ring<T> {
    kept: VecDeque<T>,
    next: u64,
}

/// What is under a number.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found<'a, T> {
    /// This.
    Here(&'a T),
    /// It is not kept any more; the first that is kept, or will be, has this number.
    Gone(u64),
    /// It has not come yet.
    ToCome,
}

impl<T> Default for Ring<T> {
    fn default() -> Self {
        Self {
            kept: VecDeque::new(),
            next: 0,
        }
    }
}

impl<T> Ring<T> {
    /// The number that the next one will have.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    pub(crate) fn push(&mut self, value: T) {
        self.kept.push_back(value);
        self.next += 1;
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        self.kept.pop_front()
    }

    /// One has come that cannot be kept, and nothing before it can then.
    pub(crate) fn skip(&mut self) {
        self.kept.clear();
        self.next += 1;
    }

    /// So many came before it was there. It must be empty.
    pub(crate) fn miss(&mut self, count: u64) {
        self.next += count;
    }

    pub(crate) fn get(&self, number: u64) -> Found<'_, T> {
        let first = self.next - self.kept.len() as u64;
        if number < first {
            return Found::Gone(first);
        }
        let at = usize::try_from(number - first).unwrap_or(usize::MAX);
        self.kept.get(at).map_or(Found::ToCome, Found::Here)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_gone_is_told_apart_from_what_is_to_come() {
        let mut ring = Ring::default();
        assert_eq!(ring.get(0), Found::ToCome);
        "abc".chars().for_each(|c| ring.push(c));
        assert_eq!((ring.get(0), ring.get(2)), (Found::Here(&'a'), Found::Here(&'c')));
        assert_eq!(ring.pop(), Some('a'));
        assert_eq!((ring.get(0), ring.get(1)), (Found::Gone(1), Found::Here(&'b')));
        ring.skip();
        assert_eq!(
            (ring.get(2), ring.get(4), ring.next()),
            (Found::Gone(4), Found::ToCome, 4)
        );
        ring.push('e');
        assert_eq!(
            (ring.get(3), ring.get(4), ring.len()),
            (Found::Gone(4), Found::Here(&'e'), 1)
        );
        let mut late = Ring::default();
        late.miss(2);
        assert_eq!((late.get(0), late.get(2)), (Found::Gone(2), Found::ToCome));
        late.push('c');
        assert_eq!((late.get(1), late.get(2)), (Found::Gone(2), Found::Here(&'c')));
    }
}
