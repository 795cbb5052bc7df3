//! The board: a byte for each item of each batch that an instance can hold, in memory that it maps too. Not 0 means that
//! nobody wants the item any more. We write, the instance looks; what it writes there nobody reads.

use std::io;
use std::os::fd::OwnedFd;

use crate::layout::SLOTS;
use crate::memfd::SharedMemory;
use crate::wire::{BoardInfo, BoardSlot};

/// A mapped board.
#[derive(Debug)]
pub(crate) struct Board {
    memory: SharedMemory,
    info: BoardInfo,
}

impl Board {
    /// A clean board for batches of so many items, and the descriptor to send to the instance.
    pub(crate) fn create(max_batch_size: usize) -> io::Result<(Self, OwnedFd)> {
        let len = max_batch_size as u64;
        let slots: Vec<_> = (0..SLOTS as u64)
            .map(|n| BoardSlot { offset: n * len, len })
            .collect();
        let size = SLOTS as u64 * len;
        let (memory, fd) = SharedMemory::create("cresset-board", size)?;
        let info = BoardInfo { size, slots };
        Ok((Self { memory, info }, fd))
    }

    /// Its layout.
    pub(crate) fn info(&self) -> &BoardInfo {
        &self.info
    }

    /// Takes down all that was marked of the batch that was in this slot before, for one of so many items.
    pub(crate) fn clear(&self, slot: u32, items: u32) {
        (0..items).for_each(|item| self.set(slot, item, 0));
    }

    /// Marks an item as not wanted.
    pub(crate) fn mark(&self, slot: u32, item: u32) {
        self.set(slot, item, 1);
    }

    fn set(&self, slot: u32, item: u32, byte: u8) {
        let place = self.info.slots.get(slot as usize);
        // A batch larger than the model's largest has no place for some of its items, and they are not marked.
        if let Some(place) = place.filter(|place| u64::from(item) < place.len) {
            let _ = self.memory.store(place.offset + u64::from(item), byte);
        }
    }

    #[cfg(test)]
    pub(crate) fn marks(&self, slot: u32, items: u32) -> Vec<u8> {
        let at = self.info.slots[slot as usize].offset;
        self.memory.read(at, items.into()).unwrap().to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_marked_and_cleared_apart() {
        let (board, _fd) = Board::create(3).unwrap();
        assert_eq!(board.info().size, 6);
        board.mark(0, 2);
        board.mark(1, 0);
        assert_eq!(
            (board.marks(0, 3), board.marks(1, 3)),
            (vec![0, 0, 1], vec![1, 0, 0])
        );
        board.clear(0, 3);
        assert_eq!(
            (board.marks(0, 3), board.marks(1, 3)),
            (vec![0, 0, 0], vec![1, 0, 0])
        );
    }

    #[test]
    fn what_has_no_place_is_not_marked_elsewhere() {
        let (board, _fd) = Board::create(3).unwrap();
        board.mark(0, 3);
        board.mark(2, 0);
        board.clear(9, 9);
        assert_eq!((board.marks(0, 3), board.marks(1, 3)), (vec![0; 3], vec![0; 3]));
    }
}
