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
}
