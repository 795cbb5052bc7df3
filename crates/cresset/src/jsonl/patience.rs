//! When a call that may work later is made again, and when it is not: a bound on how long the server may take no work,
//! shared by all lines, because a server that takes the work of one is there for the others too.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::RngExt as _;
use tokio::time::Instant;

use crate::client::CallError;

/// The first pause when the server names none.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// How long the server is waited for.
#[derive(Debug)]
pub(super) struct Patience {
    give_up_after: Duration,
    last_good: Mutex<Instant>,
}

impl Patience {
    /// Starts at `now`.
    pub(super) fn new(give_up_after: Duration, now: Instant) -> Self {
        Self {
            give_up_after,
            last_good: Mutex::new(now),
        }
    }

    /// The server has done, at `now`, what it was asked.
    pub(super) fn good(&self, now: Instant) {
        *self.last_good.lock().unwrap_or_else(PoisonError::into_inner) = now;
    }

    /// How long to pause before the same call is made again, `attempt` (0, 1, ...) having ended in `error`; `None` when
    /// it has gone on for too long.
    pub(super) fn pause(&self, now: Instant, attempt: u32, error: &CallError) -> Option<Duration> {
        let last_good = *self.last_good.lock().unwrap_or_else(PoisonError::into_inner);
        if now.saturating_duration_since(last_good) >= self.give_up_after {
            return None;
        }
        let base = error.pause(PAUSE_MIN, attempt);
        // Spread, so that all the lines in flight do not come back at the same moment; never before the named time.
        Some(base.mul_f64(rand::rng().random_range(1.0..1.5)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full(retry_after: Option<u64>) -> CallError {
        CallError::Refused(Box::new(crate::client::Problem {
            status: 429,
            code: None,
            detail: String::new(),
            errors: Vec::new(),
            retry_after: retry_after.map(Duration::from_secs),
        }))
    }

    #[test]
    fn pauses_grow_honour_the_server_and_end() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let patience = Patience::new(Duration::from_secs(60), start);
        let pause = |attempt, after| {
            patience
                .pause(start, attempt, &full(after))
                .unwrap()
                .as_secs_f64()
        };
        assert!((0.1..0.15).contains(&pause(0, None)));
        assert!((0.8..1.2).contains(&pause(3, None)));
        assert!((30.0..45.0).contains(&pause(40, None)));
        assert!((7.0..10.5).contains(&pause(0, Some(7))));
        assert!((30.0..45.0).contains(&pause(0, Some(86_400))));
        assert!((0.1..0.15).contains(&pause(0, Some(0))));

        assert!(patience.pause(at(59), 0, &full(None)).is_some());
        patience.good(at(59));
        assert!(patience.pause(at(118), 0, &full(None)).is_some());
        assert!(patience.pause(at(119), 0, &full(None)).is_none());
    }
}
