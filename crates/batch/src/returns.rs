//! Callers that ask again once they are answered: how many are due, and how soon one comes after the other.
//!
//! In a closed loop the callers of a batch come back together, one a moment after the other. An instance that took the first
//! of them at once would run a batch of one while the rest wait for it to end. Measured here is what tells such callers from
//! others: the time from an answer, or from the arrival before, to the next arrival. Whether it pays to wait for one more
//! is the batcher's to say.

use std::time::Duration;

use crate::entry::Moment;

/// How much a new gap counts against what was known.
const WEIGHT: f64 = 1.0 / 8.0;
/// Nobody comes any more when so many usual gaps have passed without an arrival.
const PATIENCE: u32 = 4;
/// ... and this, which is how late an arrival may be through no fault of its own.
const SLACK: Duration = Duration::from_micros(500);

/// Who is expected back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Returns {
    due: usize,
    /// The last answer, or arrival of one who was due.
    last: Moment,
    /// The usual time between two of those that come back; unknown at first.
    gap: Option<Duration>,
}

impl Returns {
    /// So many callers have been answered.
    pub(crate) fn answered(&mut self, callers: usize, now: Moment) {
        if callers > 0 {
            self.due = self.due.saturating_add(callers);
            self.last = now;
        }
    }

    /// A caller came.
    pub(crate) fn arrived(&mut self, now: Moment) {
        if self.due == 0 {
            return;
        }
        let took = now.saturating_sub(self.last);
        // One that comes late moves the figure by so much only; it takes a few to be believed.
        let most = self.patience().unwrap_or(Duration::MAX);
        self.gap = Some(match self.gap {
            None => took,
            Some(gap) => gap.mul_f64(1.0 - WEIGHT) + took.min(most).mul_f64(WEIGHT),
        });
        self.due = if took > most { 0 } else { self.due - 1 };
        self.last = now;
    }

    /// Nobody came for as long as one would have waited: those who were due are not.
    pub(crate) fn forget(&mut self) {
        self.due = 0;
    }

    /// True while callers are due.
    pub(crate) fn any_due(&self) -> bool {
        self.due > 0
    }

    /// The usual gap between two that come back; `None` before anyone has.
    pub(crate) fn gap(&self) -> Option<Duration> {
        self.gap
    }

    /// Until when the next one should have come.
    pub(crate) fn until(&self) -> Moment {
        self.last.saturating_add(self.patience().unwrap_or_default())
    }

    fn patience(&self) -> Option<Duration> {
        self.gap
            .map(|gap| gap.saturating_mul(PATIENCE).saturating_add(SLACK))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn us(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    #[test]
    fn nothing_is_said_before_anyone_came_back() {
        let mut returns = Returns::default();
        returns.arrived(us(5));
        assert_eq!(returns.gap(), None);
        returns.answered(3, us(10));
        assert_eq!(returns.gap(), None);
        returns.arrived(us(110));
        assert_eq!((returns.due, returns.gap()), (2, Some(us(100))));
    }

    #[test]
    fn callers_that_come_back_are_no_longer_due() {
        let mut returns = Returns::default();
        for round in 0..50 {
            let at = us(round * 10_000);
            returns.answered(4, at);
            (1..=4).for_each(|n| returns.arrived(at + us(n * 100)));
        }
        assert_eq!((returns.any_due(), returns.gap()), (false, Some(us(100))));
        assert_eq!(returns.until(), us(490_000 + 400 + 400 + 500));
    }

    #[test]
    fn those_who_stay_away_are_forgotten_and_late_ones_are_believed_slowly() {
        let mut returns = Returns::default();
        returns.answered(30, us(0));
        returns.arrived(us(100));
        returns.arrived(us(60_000_000));
        assert!(!returns.any_due());
        assert!(returns.gap() < Some(us(250)), "{returns:?}");
        for round in 1..60 {
            returns.answered(1, us(60_000_000 + round * 10_000));
            returns.arrived(us(60_000_000 + round * 10_000 + 5_000));
        }
        assert!(returns.gap() > Some(us(4_500)), "{returns:?}");
    }
}
