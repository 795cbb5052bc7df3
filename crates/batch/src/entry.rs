//! What waits: an item, what it weighs, and its place in the line.

use std::time::Duration;

/// An instant of the engine's monotonic clock: the time since some fixed start.
pub type Moment = Duration;

/// How much sooner an interactive item goes than a bulk item that came at the same moment. A bulk item that has waited
/// here longer than this goes before a fresh interactive one, so neither class can starve the other.
pub const BULK_HEADWAY: Duration = Duration::from_millis(50);

/// What a point of priority is worth, in age, when higher priorities always go first: a year. Nothing waits that long.
pub const STRICT_STEP: Duration = Duration::from_secs(365 * 86_400);

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
    /// What it adds to [`Limits::max_cost`](crate::Limits::max_cost).
    pub cost: u64,
    /// Only items of equal bucket (shapes) go into one batch.
    pub bucket: u64,
    /// The size of what is padded to the longest of a batch. Without meaning unless
    /// [`Limits::max_padding`](crate::Limits::max_padding) is set.
    pub length: u64,
    /// Who waits.
    pub class: Class,
    /// Its place in the line.
    pub turn: Turn,
    /// When it came.
    pub arrived: Moment,
    /// When nobody wants it any more: see [`Batcher::expire`](crate::Batcher::expire).
    pub deadline: Option<Moment>,
}

/// A place in the line: by age, where each point of priority counts as so much more of it.
///
/// That is a weighted priority with ageing: whatever its priority, an item is overtaken only by what comes within a known
/// time after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// Smaller goes first, among the items of one class.
    pub(crate) order: i64,
    /// Smaller goes first, between the heads of the two classes.
    pub(crate) merge: i64,
}

impl Turn {
    /// The turn of an interactive item; `step` is what a point of priority is worth.
    #[must_use]
    pub fn interactive(arrived: Moment, priority: i8, step: Duration) -> Self {
        let order = nanos(arrived).saturating_sub(worth(priority, step));
        Self { order, merge: order }
    }

    /// The turn of a bulk item that came here at `arrived` and has the place `line` in its queue, in nanoseconds of the
    /// engine's clock: its age there, less the worth of its priority.
    ///
    /// Bulk items keep the order of their queue. Against interactive ones the age in the queue does not count, or a
    /// backlog would go before every prediction; what a low priority still owes does, and so does a high one.
    #[must_use]
    pub fn bulk(arrived: Moment, line: i64, priority: i8, step: Duration) -> Self {
        let merge = line
            .max(nanos(arrived))
            .saturating_add(nanos(BULK_HEADWAY))
            .saturating_sub(worth(priority.max(0), step));
        Self { order: line, merge }
    }
}

fn worth(priority: i8, step: Duration) -> i64 {
    nanos(step).saturating_mul(i64::from(priority))
}

/// 292 years, at most.
pub(crate) fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs())
        .unwrap_or(i64::MAX)
        .saturating_mul(1_000_000_000)
        .saturating_add(i64::from(duration.subsec_nanos()))
}

/// The moment at so many nanoseconds; what lies before the start of the clock is its start.
pub(crate) fn moment(nanos: i64) -> Moment {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}
