//! A rate of requests with room for a burst: the generic cell rate algorithm, one number in memory for each key.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How many requests a second, and how many at once.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// Requests a second in the long run; more than 0.
    pub per_second: f64,
    /// Requests that may come at once after a rest; 1 or more.
    pub burst: u32,
}

impl Rate {
    /// More than this is no bound, and would round to nothing.
    pub const PER_SECOND_MAX: f64 = 1_000_000.0;
    /// Slower than one request a day is a mistake of units.
    pub const PER_SECOND_MIN: f64 = 1.0 / 86_400.0;
    /// As for `per_second`.
    pub const BURST_MAX: u32 = 1_000_000;

    /// Whether it is within the bounds.
    #[must_use]
    pub fn is_sane(&self) -> bool {
        (Self::PER_SECOND_MIN..=Self::PER_SECOND_MAX).contains(&self.per_second)
            && (1..=Self::BURST_MAX).contains(&self.burst)
    }

    fn interval(&self) -> u64 {
        (1e9 / self.per_second) as u64
    }
}

/// What a key has used of its rate: when its next request would be on time, in nanoseconds of some clock.
#[derive(Debug, Default)]
pub(crate) struct Pace(AtomicU64);

impl Pace {
    /// Takes one request at `now`; else how long until there is one to take.
    pub(crate) fn take(&self, rate: Rate, now: Duration) -> Result<(), Duration> {
        let now = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        let interval = rate.interval();
        let ahead = interval.saturating_mul(u64::from(rate.burst.saturating_sub(1)));
        let step = |due: u64| {
            let due = due.max(now);
            (due - now <= ahead).then(|| due.saturating_add(interval))
        };
        self.0
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, step)
            .map(drop)
            .map_err(|due| Duration::from_nanos(due.saturating_sub(now).saturating_sub(ahead)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate {
        per_second: 10.0,
        burst: 3,
    };

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn a_burst_goes_at_once_and_then_it_is_the_rate() {
        let pace = Pace::default();
        for _ in 0..3 {
            assert_eq!(pace.take(RATE, ms(1_000)), Ok(()));
        }
        assert_eq!(pace.take(RATE, ms(1_000)), Err(ms(100)));
        assert_eq!(pace.take(RATE, ms(1_099)), Err(ms(1)));
        assert_eq!(pace.take(RATE, ms(1_100)), Ok(()));
        assert_eq!(pace.take(RATE, ms(1_100)), Err(ms(100)));
    }

    #[test]
    fn a_refusal_takes_nothing_and_a_rest_gives_no_more_than_a_burst() {
        let pace = Pace::default();
        let at = |when| (0..10).filter(|_| pace.take(RATE, ms(when)).is_ok()).count();
        assert_eq!(at(0), 3);
        assert_eq!(at(100), 1);
        assert_eq!(at(1_000_000), 3);
    }

    #[test]
    fn rates_out_of_their_bounds_are_not_sane() {
        assert!(RATE.is_sane());
        for per_second in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-9] {
            assert!(!Rate { per_second, ..RATE }.is_sane(), "{per_second}");
        }
        assert!(!Rate { burst: 0, ..RATE }.is_sane());
    }
}
