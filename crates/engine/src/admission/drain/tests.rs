use super::*;
use crate::hint::{LONGEST, SHORTEST};

fn secs(seconds: f64) -> Moment {
    Duration::from_secs_f64(seconds)
}

fn tasks(tasks: u64) -> Done {
    Done {
        tasks,
        bytes: 100 * tasks,
        ..Done::default()
    }
}

/// A model that works in batches, and what is known of it.
struct Worker {
    drain: Drain,
    clock: BusyClock,
    turned: AtomicU64,
    now: Moment,
}

impl Worker {
    fn at_rest() -> Self {
        Self {
            drain: Drain::default(),
            clock: BusyClock::default(),
            turned: AtomicU64::new(0),
            now: Moment::ZERO,
        }
    }

    fn turn(&mut self, working: bool) {
        self.clock.turn(working, self.now, &self.turned);
    }

    /// A batch that takes this long.
    fn batch(&mut self, items: u64, takes: Duration) {
        self.now += takes;
        self.drain.add(tasks(items), self.clock.at(self.now), self.now);
    }

    fn hint(&self, leaving: u64, now: Moment) -> Duration {
        let turned = Duration::from_nanos(self.turned.load(Ordering::Relaxed));
        self.drain.pace(What::Tasks, now, turned).time_for(leaving)
    }
}

#[test]
fn a_steady_worker_is_foretold_exactly() {
    let mut worker = Worker::at_rest();
    worker.turn(true);
    for _ in 0..200 {
        worker.batch(10, secs(0.1));
    }
    assert!((worker.hint(1000, worker.now).as_secs_f64() - 10.0).abs() < 0.5);
    let bytes = worker.drain.pace(What::Bytes, worker.now, Moment::ZERO);
    assert!((bytes.time_for(100_000).as_secs_f64() - 10.0).abs() < 0.5);
    let predictions = worker.drain.pace(What::Predictions, worker.now, Moment::ZERO);
    assert_eq!(predictions.rate, 0.0, "none were made");
}

#[test]
fn a_quiet_night_does_not_make_the_morning_look_hopeless() {
    let mut worker = Worker::at_rest();
    worker.turn(true);
    for _ in 0..20 {
        worker.batch(10, secs(0.1));
    }
    worker.turn(false);
    worker.now += secs(40_000.0);
    worker.turn(true);
    worker.now += secs(0.05); // the first batch of the morning runs
    let hint = worker.hint(1000, worker.now).as_secs_f64();
    assert!((9.0..12.0).contains(&hint), "{hint}");
}

#[test]
fn a_worker_that_has_stopped_working_looks_slower_and_slower() {
    let mut worker = Worker::at_rest();
    worker.turn(true);
    for _ in 0..100 {
        worker.batch(10, secs(0.1));
    }
    let mut last = worker.hint(1000, worker.now);
    for minutes in 1..5 {
        let hint = worker.hint(1000, worker.now + secs(60.0 * f64::from(minutes)));
        assert!(hint > last, "{hint:?} after {last:?}");
        last = hint;
    }
    // Its processes have died: nothing is in its hands, and the queue is full all the same.
    worker.turn(false);
    let later = worker.now + secs(600.0);
    assert!(worker.hint(1000, later) > Duration::from_secs(300));
}

#[test]
fn before_anything_is_done_it_takes_as_long_again_as_it_has_taken() {
    let mut worker = Worker::at_rest();
    assert_eq!(worker.hint(5, secs(0.0)), SHORTEST, "never zero");
    assert_eq!(worker.hint(5, secs(7.0)), secs(7.0));
    worker.now = secs(8.0);
    worker.turn(true);
    assert_eq!(worker.hint(5, secs(20.0)), secs(12.0));
    assert_eq!(worker.hint(5, secs(90_000.0)), LONGEST);
}

#[test]
fn models_side_by_side_work_off_what_is_queued_together() {
    let mut fast = Worker::at_rest();
    fast.turn(true);
    let mut slow = Worker::at_rest();
    slow.turn(true);
    for _ in 0..100 {
        fast.batch(10, secs(0.1));
        slow.batch(1, secs(0.1));
    }
    let pace = |worker: &Worker| worker.drain.pace(What::Tasks, worker.now, Moment::ZERO);
    let both = pace(&fast).plus(pace(&slow)).plus(Pace::default());
    assert!((both.time_for(1100).as_secs_f64() - 10.0).abs() < 0.5);
}

/// A small repeatable source of chance.
struct Dice(u64);

impl Dice {
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Between the two, their orders of magnitude alike.
    fn between(&mut self, low: f64, high: f64) -> f64 {
        low * (high / low).powf(self.unit())
    }
}

/// Queues of every size before workers of every speed, whose batches vary: whoever obeys a hint finds room when it is over,
/// or soon after, and is not kept away for much longer than it took.
#[test]
fn whoever_obeys_a_hint_finds_room_and_did_not_wait_much_too_long() {
    let (mut early, mut late, mut all) = (0, 0, 0);
    for seed in 1..300_u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let batch = dice.between(1.0, 64.0) as u64;
        let each = dice.between(0.002, 30.0);
        let limit = dice.between(20.0, 20_000.0) as u64;
        let mut worker = Worker::at_rest();
        worker.now = secs(dice.between(0.1, 10_000.0));
        worker.turn(true);
        // Some work before the rush, then a queue that is kept full until the hint, and not afterwards.
        for _ in 0..dice.between(3.0, 100.0) as u64 {
            worker.batch(batch, secs(each * (0.5 + dice.unit())));
        }
        let asked = worker.now + secs(each * 0.5 * dice.unit());
        let leaving = (limit / 10).max(1);
        let hint = worker.hint(leaving, asked);
        assert!((SHORTEST..=LONGEST).contains(&hint));
        let mut left = 0;
        while left < leaving {
            worker.batch(batch, secs(each * (0.5 + dice.unit())));
            left += batch;
        }
        let took = worker
            .now
            .saturating_sub(asked)
            .clamp(SHORTEST, LONGEST)
            .as_secs_f64();
        let told = hint.as_secs_f64();
        all += 1;
        // One batch more or less is no mistake.
        let slack = 2.0 * each + 1.0;
        if told < took / 1.5 - slack {
            early += 1;
            eprintln!("seed {seed}: told {told:.2}, took {took:.2}");
        }
        if told > took * 1.5 + slack {
            late += 1;
            eprintln!("seed {seed}: told {told:.2}, took {took:.2}");
        }
    }
    assert!(
        early * 20 <= all && late * 20 <= all,
        "{early} too early, {late} too late, of {all}"
    );
}
