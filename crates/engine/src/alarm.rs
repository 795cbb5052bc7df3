//! One timer for a loop that wants to be woken at ever changing moments.
//!
//! Setting a timer costs a lock, and may wake the thread that waits for the next one. So it is moved only when it must ring
//! sooner; one that rings too early finds nothing to do, and is set anew.

use std::future::pending;
use std::pin::Pin;

use tokio::time::{Instant, Sleep, sleep_until};

pub(crate) struct Alarm {
    timer: Pin<Box<Sleep>>,
    /// When the timer rings; `None` when it has rung, or was never set.
    set: Option<Instant>,
}

impl Alarm {
    /// One that is not set. Call it within a tokio runtime.
    pub(crate) fn new() -> Self {
        Self {
            timer: Box::pin(sleep_until(Instant::now())),
            set: None,
        }
    }

    /// It rings at `at`, or sooner.
    pub(crate) fn set(&mut self, at: Option<Instant>) {
        if let Some(at) = at
            && self.set.is_none_or(|set| at < set)
        {
            self.timer.as_mut().reset(at);
            self.set = Some(at);
        }
    }

    /// Waits until it rings; for ever when it is not set. Cancel-safe: the timer goes on.
    pub(crate) async fn rings(&mut self) {
        if self.set.is_none() {
            return pending().await;
        }
        self.timer.as_mut().await;
        self.set = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn it_rings_at_the_soonest_of_what_was_asked_for() {
        let mut alarm = Alarm::new();
        let now = Instant::now();
        alarm.set(Some(now + Duration::from_secs(3_600)));
        alarm.set(Some(now + Duration::from_millis(3)));
        alarm.set(Some(now + Duration::from_secs(60)));
        alarm.set(None);
        alarm.rings().await;
        assert!(now.elapsed() >= Duration::from_millis(3) && now.elapsed() < Duration::from_secs(60));
        // It has rung, and is not set any more.
        tokio::select! {
            biased;
            () = alarm.rings() => unreachable!("it rang twice"),
            () = tokio::task::yield_now() => {}
        }
        alarm.set(Some(now));
        alarm.rings().await;
    }
}
