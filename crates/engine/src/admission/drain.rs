//! How fast a model works off what is there, for telling callers when to come back.
//!
//! Measured over the last seconds in which there was work, or the last dozens of batches where they are slower: a rate with
//! a fixed memory would see a model of one batch a minute as hectic after a batch and as dead before the next. Time without
//! work does not count, or a quiet night would make the first rush of the morning look hopeless. While nothing has been
//! done, the best guess is that it takes as long again as it has taken so far.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cresset_batch::Moment;

use crate::hint::hint;
use crate::item::{Item, Origin};

/// Marks kept, and the least time between two: eight seconds of fast batches, or this many slow ones.
const MARKS_MAX: usize = 32;
const MARK_SPACING: Duration = Duration::from_millis(250);

/// What is worked off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Predictions,
    Tasks,
    /// Input bytes of tasks.
    Bytes,
}

/// How much of each has been done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Done {
    pub(crate) predictions: u64,
    pub(crate) tasks: u64,
    pub(crate) bytes: u64,
}

impl Done {
    /// Items of either kind.
    pub(crate) fn items(self) -> usize {
        usize::try_from(self.predictions.saturating_add(self.tasks)).unwrap_or(usize::MAX)
    }

    fn of(self, what: What) -> u64 {
        match what {
            What::Predictions => self.predictions,
            What::Tasks => self.tasks,
            What::Bytes => self.bytes,
        }
    }

    /// What has ended with these.
    pub(crate) fn of_items<'a>(items: impl Iterator<Item = &'a Item>) -> Self {
        items.fold(Self::default(), |mut done, item| {
            match item.origin {
                Origin::Caller { .. } => done.predictions += 1,
                Origin::Queue(_) => {
                    done.tasks += 1;
                    done.bytes += item.payload.weight() as u64;
                }
            }
            done
        })
    }

    fn plus(self, more: Self) -> Self {
        Self {
            predictions: self.predictions.saturating_add(more.predictions),
            tasks: self.tasks.saturating_add(more.tasks),
            bytes: self.bytes.saturating_add(more.bytes),
        }
    }
}

/// Time with work, as one driver keeps it; others see from when on it has been at work, or at rest.
#[derive(Debug, Default)]
pub(crate) struct BusyClock {
    before: Duration,
    working: bool,
    since: Moment,
}

impl BusyClock {
    /// Whether there is work.
    pub(crate) fn is_running(&self) -> bool {
        self.working
    }

    /// There is work from now on, or none. `turned` is how others learn of it.
    pub(crate) fn turn(&mut self, working: bool, now: Moment, turned: &AtomicU64) {
        self.before = self.at(now);
        (self.working, self.since) = (working, now);
        turned.store(nanos(now), Ordering::Relaxed);
    }

    /// What it says.
    pub(crate) fn at(&self, now: Moment) -> Duration {
        let stretch = now.saturating_sub(self.since);
        self.before + if self.working { stretch } else { Duration::ZERO }
    }
}

fn nanos(at: Moment) -> u64 {
    u64::try_from(at.as_nanos()).unwrap_or(u64::MAX)
}

/// What was done by when, of the busy clock's time.
#[derive(Debug)]
pub(crate) struct Drain {
    marks: VecDeque<(Duration, Done)>,
    clock: Duration,
    done: Done,
    at: Moment,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            marks: VecDeque::from([(Duration::ZERO, Done::default())]),
            clock: Duration::ZERO,
            done: Done::default(),
            at: Moment::ZERO,
        }
    }
}

impl Drain {
    /// So much more has been done by `now`, when the busy clock says `clock`.
    pub(crate) fn add(&mut self, more: Done, clock: Duration, now: Moment) {
        self.done = self.done.plus(more);
        (self.clock, self.at) = (clock, now);
        if self
            .marks
            .back()
            .is_none_or(|(at, _)| clock >= *at + MARK_SPACING)
        {
            if self.marks.len() == MARKS_MAX {
                self.marks.pop_front();
            }
            self.marks.push_back((clock, self.done));
        }
    }

    /// How fast it goes, for one who has come to a full queue: whatever the time since the last batch was, or since the
    /// clock last turned if that was later, there is work now, so it counts.
    pub(crate) fn pace(&self, what: What, now: Moment, turned: Moment) -> Pace {
        let Some((began, before)) = self.marks.front() else {
            return Pace::default();
        };
        let waited = now.saturating_sub(self.at.max(turned));
        let span = self.clock.saturating_sub(*began) + waited;
        let done = self.done.of(what).saturating_sub(before.of(what));
        Pace {
            rate: if done == 0 {
                0.0
            } else {
                done as f64 / span.max(Duration::from_millis(1)).as_secs_f64()
            },
            waited: span,
        }
    }
}

/// How fast something is worked off.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    /// A second.
    rate: f64,
    /// How long it has been looked at.
    waited: Duration,
}

impl Pace {
    /// So much a second, as others have measured it; without that, a first guess of when some is done.
    pub(crate) fn of(rate: f64, guess: Duration) -> Self {
        Self { rate, waited: guess }
    }

    /// Both side by side.
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            rate: self.rate + other.rate,
            waited: self.waited.max(other.waited),
        }
    }

    /// When so much of it should be done, as a hint for `Retry-After`.
    pub(crate) fn time_for(self, amount: u64) -> Duration {
        let time = if self.rate > 0.0 {
            Duration::try_from_secs_f64(amount as f64 / self.rate).unwrap_or(Duration::MAX)
        } else {
            self.waited
        };
        hint(time)
    }
}

#[cfg(test)]
mod tests;
