//! Whether a model gets anything done, as its health tells it: work that waits beside processes that are up, and of which
//! nothing begins or ends, is a fault, wherever it is.
//!
//! Looked at from outside the driver, which could be what hangs; the rule is pure.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use cresset_batch::Moment;
use cresset_runner::InstanceState;
use cresset_task::Timestamp;

use crate::served::{Models, Served};
use crate::shared::Shared;

/// Models are looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What waits is begun, and what has run for its whole time limit is ended, within this; only a fault takes longer.
const SLACK: Duration = Duration::from_secs(10);

/// What a model does, for those who look from outside.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Batches begun and ended.
    moves: AtomicU64,
    stalled: ArcSwapOption<String>,
}

impl Progress {
    /// A batch has begun, or ended.
    pub(crate) fn moved(&self) {
        self.moves.fetch_add(1, Ordering::Relaxed);
    }

    /// In words, why the model counts as stalled, if it does.
    pub(crate) fn stalled(&self) -> Option<String> {
        self.stalled.load_full().map(|words| String::clone(&words))
    }
}

/// A model at one moment.
#[derive(Clone, Copy, Debug)]
struct Sight {
    moves: u64,
    /// Items in instances.
    running: usize,
    /// Something waits that could be begun.
    waits: bool,
    /// An instance takes batches.
    up: bool,
}

/// How long nothing has moved that should.
#[derive(Clone, Copy, Debug, Default)]
struct Stall {
    moves: u64,
    since: Moment,
}

impl Stall {
    /// How long; zero when all is well.
    fn look(&mut self, sight: Sight, now: Moment) -> Duration {
        let busy = sight.up && (sight.running > 0 || sight.waits);
        if !busy || sight.moves != self.moves {
            self.moves = sight.moves;
            self.since = now;
        }
        now.saturating_sub(self.since)
    }
}

/// The words for a stall of this length, once it is too long.
fn words(stalled: Duration, running: usize, time_limit: Duration, max_delay: Duration) -> Option<String> {
    let seconds = stalled.as_secs();
    if running > 0 {
        let is_late = stalled > time_limit.saturating_add(SLACK);
        return is_late.then(|| {
            format!("no batch has begun or ended for {seconds} s, and one may take {time_limit:?}")
        });
    }
    let is_late = stalled > max_delay.saturating_add(SLACK);
    is_late.then(|| format!("work waits, and none of it has begun for {seconds} s"))
}

/// Looks at every model until the engine drains.
pub(crate) async fn run(shared: Arc<Shared>, models: Arc<ArcSwap<Models>>) {
    let mut stalls = std::collections::BTreeMap::new();
    loop {
        tokio::select! {
            biased;
            () = shared.draining.cancelled() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let now = shared.now();
        for (name, served) in models.load().iter() {
            let stall: &mut Stall = stalls.entry(name.clone()).or_default();
            let sight = see(&shared, served);
            let stalled = stall.look(sight, now);
            let (limits, batching) = (&served.config.limits, &served.config.batching);
            let words = words(stalled, sight.running, limits.timeout, batching.max_delay);
            if let (Some(words), None) = (&words, served.progress.stalled()) {
                tracing::error!(model = %name, why = words, "the model makes no progress");
            }
            served.progress.stalled.store(words.map(Arc::new));
        }
    }
}

fn see(shared: &Shared, served: &Served) -> Sight {
    let is_up = |state: &InstanceState| *state == InstanceState::Ready;
    let instances = served.executor.status().instances;
    let depth = shared.backend.depth(&served.config.name);
    Sight {
        moves: served.progress.moves.load(Ordering::Relaxed),
        running: served.running(),
        waits: depth.has_work(Timestamp::now()) || served.waiting() > 0,
        up: instances.iter().any(|instance| is_up(&instance.state)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IDLE: Sight = Sight {
        moves: 0,
        running: 0,
        waits: false,
        up: true,
    };
    const LIMIT: Duration = Duration::from_secs(60);
    const DELAY: Duration = Duration::from_millis(2);

    fn told(sights: &[(u64, Sight)]) -> Option<String> {
        let mut stall = Stall::default();
        let mut last = None;
        for (second, sight) in sights {
            let stalled = stall.look(*sight, Duration::from_secs(*second));
            last = words(stalled, sight.running, LIMIT, DELAY);
        }
        last
    }

    #[test]
    fn a_model_that_has_nothing_to_do_or_nobody_to_do_it_is_not_stalled() {
        assert_eq!(told(&[(0, IDLE), (10_000, IDLE)]), None);
        let down = Sight {
            waits: true,
            up: false,
            ..IDLE
        };
        assert_eq!(told(&[(0, down), (10_000, down)]), None);
    }

    #[test]
    fn work_that_waits_and_is_not_begun_is_told_after_a_while_and_forgotten_once_it_moves() {
        let waits = Sight { waits: true, ..IDLE };
        assert_eq!(told(&[(0, IDLE), (100, IDLE), (101, waits), (110, waits)]), None);
        let why = told(&[(0, IDLE), (100, IDLE), (101, waits), (112, waits)]).unwrap();
        assert_eq!(why, "work waits, and none of it has begun for 12 s");
        let moved = Sight { moves: 1, ..waits };
        assert_eq!(told(&[(0, waits), (60, waits), (61, moved), (70, moved)]), None);
    }

    #[test]
    fn a_batch_may_take_its_time_limit() {
        let runs = Sight {
            running: 3,
            waits: true,
            ..IDLE
        };
        assert_eq!(told(&[(0, runs), (70, runs)]), None);
        let why = told(&[(0, runs), (71, runs)]).unwrap();
        assert_eq!(why, "no batch has begun or ended for 71 s, and one may take 60s");
    }
}
