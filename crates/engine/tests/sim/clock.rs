//! The two clocks of a run: tokio's, which goes on only when nothing is left to do, and a wall clock beside it, which can be
//! set. Both go on across the lives of servers, each of which has a runtime of its own.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cresset_task::Timestamp;
use tokio::time::Instant;

/// When every run begins.
const BEGIN: i64 = 1_700_000_000_000_000;

#[derive(Debug, Default)]
struct Inner {
    before: Duration,
    life: Option<Instant>,
    jumped: i64,
    furthest: i64,
}

#[derive(Debug, Default)]
pub(crate) struct Clock(Mutex<Inner>);

impl Inner {
    fn elapsed(&self) -> Duration {
        let life = self.life.map(|began| began.elapsed());
        self.before + life.unwrap_or_default()
    }
}

impl Clock {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A runtime begins: from within it.
    pub(crate) fn begin(&self) {
        self.lock().life = Some(Instant::now());
    }

    /// It ends: the clock stands still until the next begins.
    pub(crate) fn end(&self) {
        let mut inner = self.lock();
        inner.before = inner.elapsed();
        inner.life = None;
    }

    /// Whether a server lives.
    pub(crate) fn runs(&self) -> bool {
        self.lock().life.is_some()
    }

    /// Since the run began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.lock().elapsed()
    }

    pub(crate) fn wall(&self) -> Timestamp {
        let inner = self.lock();
        let elapsed = i64::try_from(inner.elapsed().as_micros()).unwrap_or(i64::MAX);
        Timestamp::from_micros(BEGIN + elapsed + inner.jumped)
    }

    /// Sets the wall clock by so many microseconds.
    pub(crate) fn jump(&self, by: i64) {
        let mut inner = self.lock();
        inner.jumped += by;
        inner.furthest = inner.furthest.max(inner.jumped);
    }

    /// By how much it would have to be set to be where no jump back has put it behind any instant it has shown.
    pub(crate) fn behind(&self) -> i64 {
        let inner = self.lock();
        inner.furthest - inner.jumped
    }
}
