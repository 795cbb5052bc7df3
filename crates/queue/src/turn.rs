//! A task's place in its queue.

use std::time::Duration;

use cresset_task::Timestamp;

/// A task's place in the queue of its model, fixed when it is accepted: smaller goes first.
///
/// It is the instant of acceptance, less so much time for each point of priority. So a higher priority is served as if it
/// had come earlier, and whatever its priority, a task is overtaken only by those that come within a known time after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Turn(i64);

impl Turn {
    /// The place of a task that was accepted then; a point of its priority is worth `step`.
    #[must_use]
    pub fn of(accepted: Timestamp, priority: i8, step: Duration) -> Self {
        let step = i64::try_from(step.as_micros()).unwrap_or(i64::MAX);
        let worth = step.saturating_mul(i64::from(priority));
        Self(accepted.as_micros().saturating_sub(worth))
    }

    /// The place kept as this many microseconds.
    #[must_use]
    pub fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since 1970, for a store.
    #[must_use]
    pub fn as_micros(self) -> i64 {
        self.0
    }
}
