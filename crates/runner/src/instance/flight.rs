//! The jobs of one instance: waiting at the head of the line, sent, and the numbers they go by.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use cresset_task::{BatchId, Trace};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::Instant;

use crate::batch::Stack;
use crate::layout::SLOTS;
use crate::place::Given;
use crate::wanted::Wanted;
use crate::wire::{Header, WireChunk};

/// A job looked through, next to be sent.
pub(super) struct Planned {
    pub(super) batch: BatchId,
    pub(super) items: u32,
    pub(super) load: Load,
    pub(super) traces: Vec<Option<Trace>>,
    pub(super) credit: OwnedSemaphorePermit,
    pub(super) wanted: Arc<Wanted>,
}

/// What is to be handed over.
pub(super) enum Load {
    Tensors(Stack),
    /// A RUN_OBJECTS whose header is still to be written.
    Objects(BytesMut),
}

/// A job that the instance has.
pub(super) struct Flight {
    pub(super) batch: BatchId,
    pub(super) items: u32,
    pub(super) seq: u64,
    /// On the board, and for tensors in the slab.
    pub(super) slot: u32,
    pub(super) credit: OwnedSemaphorePermit,
    wanted: Arc<Wanted>,
    /// How many pieces of each item's result have come; of a model that gives its results whole it is empty.
    pieces: Vec<u32>,
    /// Since when no other is before it.
    first_since: Option<Instant>,
}

impl Flight {
    /// How long it has been the first in line.
    pub(super) fn ran_for(&self) -> Duration {
        self.first_since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

/// All jobs of one instance. There are never more than [`SLOTS`], as there are only so many credits.
pub(super) struct Flights {
    /// Came through the door, in order.
    pub(super) waiting: VecDeque<Given>,
    /// The first of those that wait, looked through.
    pub(super) head: Option<Planned>,
    /// Sent, in order; answers come in this order.
    sent: VecDeque<Flight>,
    free: Vec<u32>,
    last_seq: u64,
}

impl Flights {
    pub(super) fn new() -> Self {
        Self {
            waiting: VecDeque::with_capacity(SLOTS),
            head: None,
            sent: VecDeque::with_capacity(SLOTS),
            free: (0..SLOTS as u32).rev().collect(),
            last_seq: 0,
        }
    }

    /// No job is left.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.head.is_none() && self.sent.is_empty()
    }

    /// No job is sent, so the slab is ours.
    pub(super) fn none_sent(&self) -> bool {
        self.sent.is_empty()
    }

    /// A free slot, and the number of the next batch. The slot is taken back with [`Flights::sent`].
    pub(super) fn next_slot(&self) -> Option<(u32, u64)> {
        self.free.last().map(|slot| (*slot, self.last_seq + 1))
    }

    /// A job has been sent in the slot and under the number that `next_slot` gave.
    pub(super) fn sent(
        &mut self,
        batch: BatchId,
        items: u32,
        credit: OwnedSemaphorePermit,
        wanted: Arc<Wanted>,
    ) {
        let Some(slot) = self.free.pop() else { return };
        self.last_seq += 1;
        let first_since = self.sent.is_empty().then(Instant::now);
        self.sent.push_back(Flight {
            batch,
            items,
            seq: self.last_seq,
            slot,
            credit,
            wanted,
            pieces: Vec::new(),
            first_since,
        });
    }

    /// Pieces of the first job's results have come: each must be the next of its item.
    pub(super) fn count(&mut self, chunks: &[WireChunk]) -> Result<(), String> {
        let Some(first) = self.sent.front_mut() else {
            return Err("pieces of a result though no batch was sent".into());
        };
        first.pieces.resize(first.items as usize, 0);
        for chunk in chunks {
            let Some(next) = first.pieces.get_mut(chunk.item as usize) else {
                return Err(format!("a piece of item {} of {}", chunk.item, first.items));
            };
            if chunk.number != *next {
                return Err(format!(
                    "piece {} of item {}, when {next} was next",
                    chunk.number, chunk.item
                ));
            }
            *next = next.saturating_add(1);
        }
        Ok(())
    }

    /// The job that an answer with this header is for, if it is the one whose turn it is.
    pub(super) fn answered_by(&self, header: &Header) -> Result<&Flight, String> {
        let name = header.kind.name();
        let Some(first) = self.sent.front() else {
            return Err(format!("a {name} though no batch was sent"));
        };
        let (is, want) = (
            (header.seq, header.slot, header.batch),
            (first.seq, first.slot, first.items),
        );
        if is != want {
            return Err(format!(
                "a {name} for (seq, slot, batch) {is:?} when {want:?} was next"
            ));
        }
        Ok(first)
    }

    /// The first job has been answered; its slot is free and the next one's time begins.
    pub(super) fn pop(&mut self) -> Option<Flight> {
        let first = self.sent.pop_front()?;
        first.wanted.leave();
        self.free.push(first.slot);
        if let Some(next) = self.sent.front_mut() {
            next.first_since = Some(Instant::now());
        }
        Some(first)
    }

    /// When the first job will have run for `limit`.
    pub(super) fn deadline(&self, limit: Duration) -> Option<Instant> {
        // A limit past the end of the clock is none.
        self.sent.front()?.first_since?.checked_add(limit)
    }

    /// When the first job will have had `grace` to be let go of, if it must be: from when that was asked, or from when it began
    /// if that was later.
    pub(super) fn grace_ends(&self, grace: Duration) -> Option<Instant> {
        let first = self.sent.front()?;
        first
            .wanted
            .must_end()?
            .max(first.first_since?)
            .checked_add(grace)
    }

    /// Takes all jobs out, and those still in the door, in order; true for the one that was running. Their credits are
    /// gone with them.
    pub(super) fn lose(&mut self, door: Option<mpsc::Receiver<Given>>) -> Vec<(BatchId, bool)> {
        let mut lost: Vec<_> = self
            .sent
            .drain(..)
            .enumerate()
            .map(|(i, flight)| (flight.batch, i == 0))
            .collect();
        lost.extend(self.head.take().map(|planned| (planned.batch, false)));
        lost.extend(self.waiting.drain(..).map(|given| (given.job.batch, false)));
        if let Some(mut door) = door {
            while let Ok(given) = door.try_recv() {
                lost.push((given.job.batch, false));
            }
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::Semaphore;

    use super::*;
    use crate::port::Unwanted;

    const GRACE: Duration = Duration::from_secs(30);

    async fn two_sent(flights: &mut Flights) -> [Arc<Wanted>; 2] {
        let credits = Arc::new(Semaphore::new(2));
        let both = [Arc::new(Wanted::all(2)), Arc::new(Wanted::all(2))];
        for (batch, wanted) in both.iter().enumerate() {
            let credit = credits.clone().acquire_owned().await.unwrap();
            flights.sent(BatchId(batch as u64), 2, credit, wanted.clone());
        }
        both
    }

    #[tokio::test(start_paused = true)]
    async fn the_grace_of_a_running_batch_begins_with_the_cancellation() {
        let mut flights = Flights::new();
        let [first, _] = two_sent(&mut flights).await;
        tokio::time::advance(GRACE).await;
        assert_eq!(flights.grace_ends(GRACE), None, "nothing is cancelled");
        first.cancel(0, Unwanted::Cancelled);
        let ends = Instant::now() + GRACE;
        tokio::time::advance(GRACE / 2).await;
        first.cancel(1, Unwanted::Cancelled);
        assert_eq!(
            flights.grace_ends(GRACE),
            Some(ends),
            "a second one gives no more time"
        );
        flights.pop();
        assert_eq!(flights.grace_ends(GRACE), None, "the next one is wanted");
    }

    #[tokio::test(start_paused = true)]
    async fn the_grace_of_a_batch_that_waits_begins_when_it_runs() {
        let mut flights = Flights::new();
        let [_, second] = two_sent(&mut flights).await;
        second.cancel(1, Unwanted::Cancelled);
        assert_eq!(
            flights.grace_ends(GRACE),
            None,
            "the first is not to blame for it"
        );
        tokio::time::advance(GRACE * 2).await;
        flights.pop();
        assert_eq!(flights.grace_ends(GRACE), Some(Instant::now() + GRACE));
    }
}
