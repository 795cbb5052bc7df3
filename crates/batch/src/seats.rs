//! Free places in the instances, as the policy is told of them.

use std::time::Duration;

use crate::entry::Moment;

/// A batch for the seat behind a running one is handed over this long before that one should end: the hand-over takes
/// some 0.2 ms, and the engine's timer may be a millisecond late.
const LEAD: Duration = Duration::from_micros(1_250);
/// ... but not before this part of the running batch is left: a short one would otherwise be followed by whatever came
/// first.
const LEAD_SHARE: u32 = 4;
/// The end of a shorter batch is no moment to wait for: an alarm would ring after it, and handing over small batches early
/// costs the machine more than the gap between two of them.
const SHORTEST: Duration = Duration::from_millis(2);
/// Handing over copies the inputs; a warm slab is filled at about 3 GB/s.
const LEAD_BYTES_PER_NANOSECOND: u64 = 3;

/// Behind a batch that takes longer than this, even a full one is handed over late: what comes meanwhile and is more
/// urgent can still take its place, and if the running batch is done sooner than expected, the hand-over that then shows
/// is little against it.
const LATE_FROM: Duration = Duration::from_millis(10);

/// A batch that waits for the callers of the running one waits this part of its time longer than it should take, since half
/// of all batches take a little longer.
const LATE_SHARE: u32 = 8;

/// Free places in the instances of a model.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seats<'a> {
    /// Instances with nothing to do.
    pub idle: usize,
    /// Instances that run a batch and have a place behind it, the one that should be done first at the front.
    pub behind: &'a [Ahead],
}

/// What runs before a free place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// When it began.
    pub began: Moment,
    /// When it should be done; `None` before anything was measured.
    pub ends: Option<Moment>,
    /// Callers in it that wait for their answer, and may ask again when they have it.
    pub callers: usize,
}

impl Ahead {
    /// Before an idle place: nothing.
    pub(crate) fn nothing(now: Moment) -> Self {
        Self {
            began: now,
            ends: Some(now),
            callers: 0,
        }
    }

    /// True when nothing is gained by holding back a batch that cannot get fuller.
    pub(crate) fn takes_full_ones_early(&self) -> bool {
        self.ends
            .is_none_or(|ends| ends.saturating_sub(self.began) < LATE_FROM)
    }

    /// When a batch of so many bytes is to be handed over, so that it is there when its turn comes. `None` when that is
    /// not known, or too soon to say, or when the running batch is late.
    pub(crate) fn handover(&self, bytes: usize, now: Moment) -> Option<Moment> {
        let ends = self.ends.filter(|ends| now < *ends && !self.is_short())?;
        let took = ends.saturating_sub(self.began);
        let copying = Duration::from_nanos(bytes as u64 / LEAD_BYTES_PER_NANOSECOND);
        Some(ends.saturating_sub((LEAD + copying).min(took / LEAD_SHARE)))
    }

    /// True when the running batch takes so little time that when it ends makes no difference.
    pub(crate) fn is_short(&self) -> bool {
        self.ends
            .is_some_and(|ends| ends.saturating_sub(self.began) < SHORTEST)
    }

    /// Until when to wait for the running batch to end, where what is behind it is to go with the callers it answers. `None`
    /// when nobody knows, or when it ought to be done.
    pub(crate) fn end(&self, now: Moment) -> Option<Moment> {
        let ends = self.ends.filter(|_| !self.is_short())?;
        let late = ends.saturating_add(ends.saturating_sub(self.began) / LATE_SHARE);
        (now < late).then_some(late)
    }

    /// True when nobody can say when the place comes to its turn.
    pub(crate) fn is_open(&self, now: Moment) -> bool {
        self.handover(0, now).is_none()
    }
}

/// Where a batch is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seat {
    /// To an idle instance.
    Idle,
    /// Behind a running batch: the one that should be done first.
    Behind,
}
