//! What every hint for `Retry-After` is made of: a mean time, and the range that a hint is kept in.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The shortest and the longest hint. `Retry-After` counts whole seconds; nothing measured in seconds foretells a day.
pub(crate) const SHORTEST: Duration = Duration::from_secs(1);
pub(crate) const LONGEST: Duration = Duration::from_secs(3600);

/// A time as a hint: not too soon, and not for ever.
#[must_use]
pub fn hint(time: Duration) -> Duration {
    time.clamp(SHORTEST, LONGEST)
}

/// One time changes the mean by this part.
const OVER: u64 = 8;

/// How long something takes, lately; told by many at once.
#[derive(Debug, Default)]
pub struct MeanTime {
    /// In nanoseconds; 0 before the first.
    nanos: AtomicU64,
}

impl MeanTime {
    /// Once more, and it took so long.
    pub fn add(&self, took: Duration) {
        let took = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        // Two at once may each leave out the other: it is an estimate.
        let mean = match self.nanos.load(Ordering::Relaxed) {
            0 => took,
            mean => mean - mean / OVER + took / OVER,
        };
        self.nanos.store(mean.max(1), Ordering::Relaxed);
    }

    /// The mean; `None` before the first.
    #[must_use]
    pub fn get(&self) -> Option<Duration> {
        match self.nanos.load(Ordering::Relaxed) {
            0 => None,
            nanos => Some(Duration::from_nanos(nanos)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_begins_with_the_first_and_follows_the_later_ones() {
        let mean = MeanTime::default();
        assert_eq!(mean.get(), None);
        mean.add(Duration::from_secs(8));
        assert_eq!(mean.get(), Some(Duration::from_secs(8)));
        mean.add(Duration::from_secs(16));
        assert_eq!(mean.get(), Some(Duration::from_secs(9)));
        (0..100).for_each(|_| mean.add(Duration::ZERO));
        assert!(mean.get() < Some(Duration::from_millis(1)));
    }

    #[test]
    fn a_hint_is_bounded() {
        assert_eq!(hint(Duration::ZERO), SHORTEST);
        assert_eq!(hint(Duration::from_secs(7)), Duration::from_secs(7));
        assert_eq!(hint(Duration::MAX), LONGEST);
    }
}
