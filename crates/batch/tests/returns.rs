//! Waiting for callers that come back, each rule on an example. A model of 10 ms a batch and 2 ms an item.

#![expect(clippy::panic, reason = "helpers of tests fail by panicking")]

use std::time::Duration;

use cresset_batch::{Ahead, Batcher, Class, Decision, Entry, Limits, Seats, Turn};

const IDLE: Seats<'_> = Seats { idle: 1, behind: &[] };

const fn us(n: u64) -> Duration {
    Duration::from_micros(n)
}

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn caller(item: u32, at: Duration) -> Entry<u32> {
    Entry {
        item,
        bytes: 10,
        cost: 1,
        bucket: 0,
        length: 0,
        class: Class::Interactive,
        turn: Turn::interactive(at, 0, ms(100)),
        arrived: at,
        deadline: None,
    }
}

fn next(batcher: &mut Batcher<u32>, now: Duration, seats: Seats<'_>) -> Decision<u32> {
    batcher.next(now, seats, |_| true, |_| panic!("nothing should be dropped"))
}

fn taken(decision: Decision<u32>) -> Vec<u32> {
    match decision {
        Decision::Run { batch, .. } => batch.into_iter().map(|e| e.item).collect(),
        other => panic!("expected a batch, got {other:?}"),
    }
}

/// Three callers, a tenth of a millisecond apart, have been answered for the second time at 100 ms.
fn answered(limits: Limits) -> Batcher<u32> {
    let mut b = Batcher::new(limits);
    for _ in 0..20 {
        [1, 4, 16].iter().for_each(|n| b.observe(*n, ms(10 + 2 * n)));
    }
    b.answered(3, ms(50));
    (1..=3).for_each(|n| b.push(caller(n, ms(50) + us(100) * n)));
    assert_eq!(taken(next(&mut b, ms(51), IDLE)), [1, 2, 3], "all are back");
    b.answered(3, ms(100));
    b
}

#[test]
fn an_idle_instance_waits_until_those_who_are_due_are_back() {
    let mut b = answered(Limits::default());
    b.push(caller(1, us(100_100)));
    // Four gaps and half a millisecond after the last one that came.
    let until = us(100_100 + 4 * 100 + 500);
    assert_eq!(next(&mut b, us(100_100), IDLE), Decision::WaitUntil(until));
    b.push(caller(2, us(100_200)));
    b.push(caller(3, us(100_300)));
    assert_eq!(taken(next(&mut b, us(100_300), IDLE)), [1, 2, 3]);
}

#[test]
fn those_who_stay_away_are_waited_for_once() {
    let mut b = answered(Limits::default());
    b.push(caller(1, us(100_100)));
    let Decision::WaitUntil(until) = next(&mut b, us(100_100), IDLE) else {
        panic!("two are due");
    };
    assert_eq!(taken(next(&mut b, until, IDLE)), [1]);
    b.push(caller(4, ms(150)));
    assert_eq!(taken(next(&mut b, ms(150), IDLE)), [4]);
}

#[test]
fn a_deadline_and_the_delay_end_the_wait_and_without_a_delay_there_is_none() {
    let mut b = answered(Limits::default());
    let deadline = Some(us(100_200) + ms(12));
    b.push(Entry {
        deadline,
        ..caller(1, us(100_100))
    });
    // What it takes alone is 12 ms.
    assert!(matches!(next(&mut b, us(100_100), IDLE), Decision::WaitUntil(at) if at <= us(100_210)));

    let mut b = answered(Limits {
        max_delay: us(300),
        ..Limits::default()
    });
    b.push(caller(1, us(100_100)));
    // A sixteenth of 12 ms is more than the delay.
    assert_eq!(next(&mut b, us(100_100), IDLE), Decision::WaitUntil(us(100_850)));

    let mut b = answered(Limits {
        max_delay: Duration::ZERO,
        ..Limits::default()
    });
    b.push(caller(1, us(100_100)));
    assert_eq!(taken(next(&mut b, us(100_100), IDLE)), [1]);
}

#[test]
fn a_batch_behind_a_running_one_stays_back_for_the_callers_of_that_one() {
    let mut b = answered(Limits::default());
    b.push(caller(4, ms(101)));
    let ahead = |callers| {
        [Ahead {
            began: ms(100),
            ends: Some(ms(116)),
            callers,
        }]
    };
    let behind = |ahead: &[Ahead], b: &mut Batcher<u32>| {
        let seats = Seats {
            idle: 0,
            behind: ahead,
        };
        next(b, ms(115), seats)
    };
    // An eighth later than it should end, as it may be late.
    assert_eq!(behind(&ahead(3), &mut b), Decision::WaitUntil(ms(118)));
    assert_eq!(taken(behind(&ahead(0), &mut b)), [4]);
}
