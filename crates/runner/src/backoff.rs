//! When a dead instance is started again, and when its model counts as crash-looping. Pure: the caller gives the time
//! and the dice.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// The wait before the first restart after a failed start; it doubles with every further death.
const DELAY_FIRST: Duration = Duration::from_millis(100);
/// The longest wait: an operator who has mended the model should not sit and watch.
const DELAY_MAX: Duration = Duration::from_secs(30);
/// The share by which a wait is spread, so that the instances of a machine do not all start at once.
const JITTER: f64 = 0.2;
/// An instance that was ready for this long was no failed start: earlier deaths are forgotten, as by supervisor's `startsecs`.
/// What serves for a while between its deaths serves more when it is not made to wait.
const HEALTHY_AFTER: Duration = Duration::from_secs(5);

/// So many deaths ...
const BREAKER_DEATHS: usize = 5;
/// ... within this time open the breaker; it closes when fewer are that young.
const BREAKER_WINDOW: Duration = Duration::from_secs(60);

/// Restart delays of one instance.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    deaths: u32,
}

impl Backoff {
    /// The wait after a death. `ready_for` is how long the instance had been ready, if it ever was; `dice` is uniform
    /// in 0..1.
    ///
    /// The first death of an instance that was ready costs no wait: tasks wait for it, and most crashes are not loops.
    pub(crate) fn after_death(&mut self, ready_for: Option<Duration>, dice: f64) -> Duration {
        if ready_for.is_some_and(|t| t >= HEALTHY_AFTER) {
            self.deaths = 0;
        }
        let earlier = self.deaths;
        self.deaths = self.deaths.saturating_add(1);
        let doublings = match (earlier, ready_for) {
            (0, Some(_)) => return Duration::ZERO,
            (_, Some(_)) => earlier - 1,
            (_, None) => earlier,
        };
        let delay = DELAY_FIRST
            .saturating_mul(1_u32.checked_shl(doublings).unwrap_or(u32::MAX))
            .min(DELAY_MAX);
        delay.mul_f64(1.0 - JITTER + 2.0 * JITTER * dice.clamp(0.0, 1.0))
    }
}

/// Counts the deaths of all instances of a model.
#[derive(Debug, Default)]
pub(crate) struct Breaker {
    /// The newest [`BREAKER_DEATHS`].
    deaths: VecDeque<Instant>,
}

impl Breaker {
    pub(crate) fn death(&mut self, now: Instant) {
        if self.deaths.len() == BREAKER_DEATHS {
            self.deaths.pop_front();
        }
        self.deaths.push_back(now);
    }

    /// True while the model counts as crash-looping.
    pub(crate) fn is_open(&self, now: Instant) -> bool {
        self.deaths.len() == BREAKER_DEATHS
            && self
                .deaths
                .front()
                .is_some_and(|first| now.saturating_duration_since(*first) <= BREAKER_WINDOW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const EVEN: f64 = 0.5;

    #[test]
    fn the_first_death_of_a_ready_instance_costs_no_wait_and_further_ones_double_it() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..5)
            .map(|_| {
                backoff
                    .after_death(Some(Duration::from_secs(1)), EVEN)
                    .as_millis()
            })
            .collect();
        assert_eq!(waits, [0, 100, 200, 400, 800]);
    }

    #[test]
    fn failed_starts_back_off_from_the_first_on_up_to_the_limit() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..40).map(|_| backoff.after_death(None, EVEN)).collect();
        assert_eq!(
            waits[..3].iter().map(Duration::as_millis).collect::<Vec<_>>(),
            [100, 200, 400]
        );
        assert_eq!(waits.last(), Some(&DELAY_MAX));
    }

    #[test]
    fn one_that_serves_for_a_while_between_its_deaths_is_not_made_to_wait() {
        let last_wait = |ready: u64| {
            let mut backoff = Backoff::default();
            let waits = (0..100).map(|_| backoff.after_death(Some(Duration::from_secs(ready)), EVEN));
            waits.last()
        };
        assert_eq!(last_wait(5), Some(Duration::ZERO));
        assert_eq!(last_wait(4), Some(DELAY_MAX), "a crash loop");
        let mut looped = Backoff::default();
        (0..9).for_each(|_| {
            looped.after_death(None, EVEN);
        });
        assert_eq!(looped.after_death(Some(HEALTHY_AFTER), EVEN), Duration::ZERO);
    }

    proptest! {
        #[test]
        fn a_wait_is_spread_by_a_fifth_at_most(earlier in 0_usize..50, dice in 0.0..1.0) {
            let (mut even, mut spread) = (Backoff::default(), Backoff::default());
            (0..earlier).for_each(|_| { even.after_death(None, EVEN); spread.after_death(None, EVEN); });
            let (middle, wait) = (even.after_death(None, EVEN), spread.after_death(None, dice));
            prop_assert!(wait >= middle.mul_f64(0.799) && wait <= middle.mul_f64(1.201));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_breaker_opens_at_five_young_deaths_and_closes_when_they_age() {
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            breaker.death(Instant::now());
            tokio::time::advance(Duration::from_secs(10)).await;
        }
        assert!(!breaker.is_open(Instant::now()));
        breaker.death(Instant::now());
        assert!(breaker.is_open(Instant::now()), "five within forty seconds");
        tokio::time::advance(Duration::from_secs(21)).await;
        assert!(!breaker.is_open(Instant::now()), "the first is over a minute old");
        breaker.death(Instant::now());
        assert!(
            breaker.is_open(Instant::now()),
            "five again, within fifty-one seconds"
        );
    }
}
