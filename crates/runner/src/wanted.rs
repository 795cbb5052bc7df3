//! Which items of a batch are still wanted, from when a job is taken to its end.
//!
//! Shared between whoever cancels, who comes from outside at any time, and the instance that has the batch. Before the
//! batch is sent the marks are only kept; with the sending they go to the board, and what comes later goes there at once.
//! After its end nothing goes there: the slot is another batch's.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;

use crate::board::Board;
use crate::port::Unwanted;

/// Of one batch.
#[derive(Debug)]
pub(crate) struct Wanted(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    items: usize,
    /// Those that are not.
    unwanted: BTreeSet<u32>,
    /// Since when the instance must let go of the batch.
    must_end: Option<Instant>,
    /// Where the batch is marked while it is sent.
    seat: Option<(Arc<Board>, u32)>,
}

impl Wanted {
    /// All of so many items are.
    pub(crate) fn all(items: usize) -> Self {
        Self(Mutex::new(Inner {
            items,
            unwanted: BTreeSet::new(),
            must_end: None,
            seat: None,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This item is not wanted any more. True when the instance must let go of the batch from now on, and did not have to
    /// before: a task was cancelled, or nobody is left who wants any of it.
    pub(crate) fn cancel(&self, item: usize, why: Unwanted) -> bool {
        let mut inner = self.lock();
        let Some(item) = u32::try_from(item).ok().filter(|_| item < inner.items) else {
            return false;
        };
        inner.unwanted.insert(item);
        if let Some((board, slot)) = &inner.seat {
            board.mark(*slot, item);
        }
        let must = why == Unwanted::Cancelled || inner.unwanted.len() == inner.items;
        let news = must && inner.must_end.is_none();
        if news {
            inner.must_end = Some(Instant::now());
        }
        news
    }

    /// The batch is about to be sent in this slot.
    pub(crate) fn seat(&self, board: &Arc<Board>, slot: u32) {
        let mut inner = self.lock();
        board.clear(slot, u32::try_from(inner.items).unwrap_or(u32::MAX));
        inner.unwanted.iter().for_each(|item| board.mark(slot, *item));
        inner.seat = Some((board.clone(), slot));
    }

    /// The batch has ended.
    pub(crate) fn leave(&self) {
        self.lock().seat = None;
    }

    /// Since when the instance must let go of the batch, if it must.
    pub(crate) fn must_end(&self) -> Option<Instant> {
        self.lock().must_end
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn marks_are_kept_until_the_batch_is_sent_and_go_to_its_slot_only() {
        let (board, _fd) = Board::create(4).unwrap();
        let board = Arc::new(board);
        board.mark(1, 3);
        let wanted = Wanted::all(4);
        wanted.cancel(0, Unwanted::HungUp);
        assert_eq!(board.marks(1, 4), [0, 0, 0, 1], "of the batch before");
        wanted.seat(&board, 1);
        assert_eq!(board.marks(1, 4), [1, 0, 0, 0]);
        wanted.cancel(2, Unwanted::Cancelled);
        assert_eq!(board.marks(1, 4), [1, 0, 1, 0]);
        wanted.leave();
        wanted.cancel(1, Unwanted::Cancelled);
        wanted.cancel(99, Unwanted::Cancelled);
        assert_eq!(board.marks(1, 4), [1, 0, 1, 0], "it has ended");
        assert_eq!(board.marks(0, 4), [0; 4]);
    }

    #[tokio::test]
    async fn a_cancelled_task_must_end_the_batch_and_callers_who_hang_up_only_all_together() {
        let wanted = Wanted::all(2);
        assert!(!wanted.cancel(0, Unwanted::HungUp));
        assert!(!wanted.cancel(0, Unwanted::HungUp), "told twice");
        assert_eq!(wanted.must_end(), None);
        assert!(wanted.cancel(1, Unwanted::HungUp), "nobody is left");
        let since = wanted.must_end();
        assert!(since.is_some());
        assert!(!wanted.cancel(1, Unwanted::Cancelled), "it must already");
        assert_eq!(wanted.must_end(), since);
        assert!(Wanted::all(2).cancel(1, Unwanted::Cancelled));
    }
}
