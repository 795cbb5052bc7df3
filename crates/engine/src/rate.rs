//! The measured service rate of a model: items finished a second, recent ones counting more.

use std::time::Duration;

use cresset_batch::Moment;

/// Items older than about this hardly count.
const MEMORY: Duration = Duration::from_secs(10);

/// An exponentially decaying count of finished items.
#[derive(Debug, Default)]
pub(crate) struct Rate {
    weight: f64,
    began: Option<Moment>,
    last: Moment,
}

impl Rate {
    fn decayed(&self, now: Moment) -> f64 {
        let gap = now.saturating_sub(self.last).as_secs_f64();
        self.weight * (-gap / MEMORY.as_secs_f64()).exp()
    }

    /// `items` finished at `now`.
    pub(crate) fn add(&mut self, items: usize, now: Moment) {
        self.weight = self.decayed(now) + items as f64;
        self.last = now;
        self.began.get_or_insert(now);
    }

    /// Items a second, or `None` before the first. Corrected for a memory that is not yet full.
    pub(crate) fn per_second(&self, now: Moment) -> Option<f64> {
        let age = now.saturating_sub(self.began?).as_secs_f64().max(0.1);
        let memory = MEMORY.as_secs_f64();
        Some(self.decayed(now) / (memory * (1.0 - (-age / memory).exp())))
    }
}

/// The shortest and the longest hint a caller is given.
const HINT_MIN: Duration = Duration::from_secs(1);
const HINT_MAX: Duration = Duration::from_secs(300);

/// How long `items` take at `rate`, as a hint for `Retry-After`; `unknown` when nothing has been measured.
pub(crate) fn time_for(items: u64, rate: Option<f64>, unknown: Duration) -> Duration {
    match rate {
        Some(rate) if rate > 0.0 => Duration::try_from_secs_f64(items as f64 / rate)
            .unwrap_or(HINT_MAX)
            .clamp(HINT_MIN, HINT_MAX),
        _ => unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_is_measured_as_it_is() {
        let mut rate = Rate::default();
        assert_eq!(rate.per_second(Duration::ZERO), None);
        for tick in 0..600_u64 {
            rate.add(10, Duration::from_millis(100 * tick));
        }
        let measured = rate.per_second(Duration::from_secs(60)).unwrap();
        assert!((measured - 100.0).abs() < 5.0, "{measured}");
    }

    #[test]
    fn a_hint_is_bounded() {
        assert_eq!(time_for(1, Some(1000.0), HINT_MAX), HINT_MIN);
        assert_eq!(time_for(1_000_000, Some(0.1), HINT_MIN), HINT_MAX);
        assert_eq!(time_for(50, Some(5.0), HINT_MIN), Duration::from_secs(10));
        assert_eq!(time_for(5, None, Duration::from_secs(7)), Duration::from_secs(7));
    }
}
