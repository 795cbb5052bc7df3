//! Memory that request bodies, or answers, may take together.
//!
//! Small bodies take their share piece by piece, and are refused when there is none. A body that was spooled takes all of
//! its share at once, and waits for it in a line: it has been uploaded, and there is room as soon as the ones before it
//! are through. While the first in line waits, what it claims is not given to others, so it is never overtaken for ever.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use cresset_engine::{Bound, MeanTime, Unit, hint};
use cresset_task::Code;
use tokio::sync::{Mutex, Notify};
use tokio::time::{Instant, timeout};

use crate::problem::Problem;

/// A share of less says nothing of how long memory is held: it is never the one that fills it.
const TELLING_BYTES: usize = 64 << 10;

/// All of it, and what is taken.
#[derive(Debug)]
pub(crate) struct Budget {
    limit: usize,
    /// The setting that says so, and what it is for, in words.
    setting: &'static str,
    what: &'static str,
    held: AtomicUsize,
    line: Mutex<()>,
    first_waits: AtomicUsize,
    freed: Notify,
    /// How long a large share is held.
    held_for: MeanTime,
    started: Instant,
    /// Since when it has been full, in nanoseconds after `started`, plus one; 0 when it is not.
    full_since: AtomicU64,
}

/// A share; given back when dropped.
#[derive(Debug)]
pub(crate) struct Held {
    bytes: usize,
    of: Arc<Budget>,
    since: Option<Instant>,
}

/// The first in line has its claim, or has gone.
struct Waiting<'a>(&'a Budget);

impl Budget {
    pub(crate) fn new(limit: usize, setting: &'static str, what: &'static str) -> Self {
        Self {
            limit,
            setting,
            what,
            held: AtomicUsize::new(0),
            line: Mutex::new(()),
            first_waits: AtomicUsize::new(0),
            freed: Notify::new(),
            held_for: MeanTime::default(),
            started: Instant::now(),
            full_since: AtomicU64::new(0),
        }
    }

    /// An empty share.
    pub(crate) fn share(self: &Arc<Self>) -> Held {
        Held {
            bytes: 0,
            of: Arc::clone(self),
            since: None,
        }
    }

    /// A share of so many bytes, once there is room and it is its turn; refused after `longest`.
    pub(crate) async fn share_of(self: &Arc<Self>, bytes: usize, longest: Duration) -> Result<Held, Problem> {
        let claim = async {
            let turn = self.line.lock().await;
            let mut held = self.share();
            held.take(bytes);
            self.first_waits.store(1, Ordering::SeqCst);
            let waiting = Waiting(self);
            while self.held.load(Ordering::SeqCst) > self.limit {
                self.freed.notified().await;
            }
            drop((waiting, turn));
            held.since = Some(Instant::now());
            held
        };
        // Dropped on the way, it gives back its turn and its claim.
        timeout(longest, claim)
            .await
            .map_err(|_| self.refusal(bytes, self.held.load(Ordering::Relaxed)))
    }

    fn refusal(&self, bytes: usize, current: usize) -> Problem {
        let bound = Bound {
            setting: self.setting,
            unit: Unit::Bytes,
            limit: self.limit as u64,
            current: current as u64,
        };
        Problem::new(
            Code::ServerBusy,
            format!(
                "{} fill the memory that they may have together: {bound}",
                self.what
            ),
        )
        .at_bound(bound)
        .retry_after(self.time_for(bytes, current))
    }

    /// When so many bytes should be free, if so many are held: by Little's law what is held leaves within the mean time that
    /// it is held. Nothing large has ever left: it takes as long again as it has been full.
    fn time_for(&self, bytes: usize, held: usize) -> Duration {
        let now = nanos(self.started.elapsed());
        let full_since =
            match self
                .full_since
                .compare_exchange(0, now + 1, Ordering::Relaxed, Ordering::Relaxed)
            {
                Ok(_) => now,
                Err(since) => since - 1,
            };
        let full_for = Duration::from_nanos(now.saturating_sub(full_since));
        hint(match self.held_for.get() {
            None => full_for,
            Some(mean) => mean.mul_f64(bytes as f64 / held.max(1) as f64),
        })
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Held {
    /// So much more, if there is room.
    pub(crate) fn grow(&mut self, by: usize) -> Result<(), Problem> {
        let before = self.take(by);
        if before + by <= self.of.limit {
            if self.since.is_none() && self.bytes >= TELLING_BYTES {
                self.since = Some(Instant::now());
            }
            if self.of.full_since.load(Ordering::Relaxed) != 0 {
                self.of.full_since.store(0, Ordering::Relaxed);
            }
            return Ok(());
        }
        self.since = None; // what is refused tells nothing of how long memory is held
        Err(self.of.refusal(self.bytes, before))
    }

    fn take(&mut self, by: usize) -> usize {
        self.bytes += by;
        // Only a sum is kept, and nothing else is read on the strength of it.
        self.of.held.fetch_add(by, Ordering::SeqCst)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let of = &self.of;
        if let Some(since) = self.since {
            of.held_for.add(since.elapsed());
        }
        of.held.fetch_sub(self.bytes, Ordering::SeqCst);
        if of.first_waits.load(Ordering::SeqCst) != 0 {
            of.freed.notify_one();
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.first_waits.store(0, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    fn budget_of(limit: usize) -> Arc<Budget> {
        Arc::new(Budget::new(limit, "a.setting", "bodies"))
    }

    fn retry_after(problem: &Problem) -> u64 {
        let text = String::from_utf8(problem.whole_answer()).unwrap();
        let (_, rest) = text.split_once("retry-after: ").unwrap();
        rest.split_once("\r\n").unwrap().0.parse().unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn small_shares_are_refused_when_there_is_no_room_and_room_comes_back() {
        let budget = budget_of(100);
        let mut first = budget.share();
        first.grow(60).unwrap();
        let mut second = budget.share();
        second.grow(30).unwrap();
        assert!(second.grow(20).is_err());
        drop(second);
        let mut third = budget.share();
        third.grow(40).unwrap();
        drop((first, third));
        assert_eq!(budget.held.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn large_shares_wait_in_line_and_are_not_overtaken() {
        let budget = budget_of(100);
        let mut small = budget.share();
        small.grow(50).unwrap();
        let order = std::sync::Mutex::new(Vec::new());
        let large = |name: u8, bytes| {
            let (budget, order) = (&budget, &order);
            async move {
                let held = budget.share_of(bytes, LONG).await.unwrap();
                order.lock().unwrap().push(name);
                tokio::time::sleep(Duration::from_secs(1)).await;
                drop(held);
            }
        };
        let crowd = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            assert!(
                budget.share().grow(10).is_err(),
                "the first in line has claimed it"
            );
            drop(small);
        };
        tokio::join!(large(1, 90), large(2, 20), large(3, 100), crowd);
        assert_eq!(*order.lock().unwrap(), [1, 2, 3]);
        assert_eq!(budget.held.load(Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_waits_too_long_is_refused_and_leaves_nothing_behind() {
        let budget = budget_of(100);
        let mut small = budget.share();
        small.grow(50).unwrap();
        assert!(budget.share_of(60, LONG).await.is_err());
        assert_eq!(budget.held.load(Ordering::Relaxed), 50);
        assert!(budget.share_of(50, LONG).await.is_ok(), "the next has its turn");
    }

    #[tokio::test(start_paused = true)]
    async fn the_hint_is_what_was_measured() {
        let budget = budget_of(10 << 20);
        let full = |budget: &Arc<Budget>| {
            let mut held = budget.share();
            held.grow(10 << 20).unwrap();
            held
        };
        let first = full(&budget);
        let refused = |budget: &Arc<Budget>| retry_after(&budget.share().grow(5 << 20).unwrap_err());
        assert_eq!(refused(&budget), 1, "never zero");
        tokio::time::sleep(Duration::from_secs(20)).await;
        assert_eq!(refused(&budget), 20, "as long again as it has been full");
        drop(first);
        let _second = full(&budget);
        let told = refused(&budget);
        assert!(
            (9..=11).contains(&told),
            "half of it in half the mean time, is {told}"
        );
    }
}
