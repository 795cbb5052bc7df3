//! The policy's promises, each on an example.

#![expect(clippy::panic, reason = "helpers of tests fail by panicking")]

use std::time::Duration;

use cresset_batch::{
    Ahead, BULK_HEADWAY, Batcher, Class, CostRule, Decision, Entry, Limits, STRICT_STEP, Seat, Seats, Turn,
};

const IDLE: Seats<'_> = Seats { idle: 1, behind: &[] };
const STEP: Duration = ms(100);
/// Behind a batch of which nobody knows how long it takes.
const UNKNOWN: &[Ahead] = &[Ahead {
    began: ms(0),
    ends: None,
    callers: 0,
}];

const fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn limits() -> Limits {
    Limits {
        max_items: 4,
        max_bytes: 100,
        ..Limits::default()
    }
}

fn entry(item: u32, class: Class, at: Duration) -> Entry<u32> {
    prioritised(item, class, at, 0, STEP)
}

fn prioritised(item: u32, class: Class, at: Duration, priority: i8, step: Duration) -> Entry<u32> {
    let worth = step.as_nanos() as i64 * i64::from(priority);
    Entry {
        item,
        bytes: 10,
        cost: 1,
        bucket: 0,
        length: 0,
        class,
        turn: match class {
            Class::Interactive => Turn::interactive(at, priority, step),
            Class::Bulk => Turn::bulk(at, at.as_nanos() as i64 - worth, priority, step),
        },
        arrived: at,
        deadline: None,
    }
}

fn behind(seats: &[Ahead]) -> Seats<'_> {
    Seats {
        idle: 0,
        behind: seats,
    }
}

/// Behind a batch that began at 0 and should end then.
fn ends_at(ends: Duration) -> [Ahead; 1] {
    [Ahead {
        began: ms(0),
        ends: Some(ends),
        callers: 0,
    }]
}

fn next(batcher: &mut Batcher<u32>, now: Duration, seats: Seats<'_>) -> Decision<u32> {
    batcher.next(now, seats, |_| true, |_| panic!("nothing should be dropped"))
}

fn items(decision: Decision<u32>) -> (Vec<u32>, Seat) {
    match decision {
        Decision::Run { batch, seat, .. } => (batch.into_iter().map(|e| e.item).collect(), seat),
        other => panic!("expected a batch, got {other:?}"),
    }
}

/// What an idle instance is given, time after time.
fn order(batcher: &mut Batcher<u32>, now: Duration) -> Vec<Vec<u32>> {
    let mut batches = Vec::new();
    while !batcher.is_empty() {
        batches.push(items(next(batcher, now, IDLE)).0);
    }
    batches
}

/// A batcher that has measured a model of `own` ms a batch and `each` ms an item.
fn measured(limits: Limits, own: u64, each: u64) -> Batcher<u32> {
    let mut b = Batcher::new(limits);
    for _ in 0..20 {
        [1, 4, 16].iter().for_each(|n| b.observe(*n, ms(own + each * n)));
    }
    b
}

#[test]
fn an_idle_instance_takes_what_is_there_at_once() {
    let mut b = measured(limits(), 100, 1);
    b.push(entry(1, Class::Bulk, ms(0)));
    assert_eq!(items(next(&mut b, ms(0), IDLE)), (vec![1], Seat::Idle));
    assert_eq!(next(&mut b, ms(0), IDLE), Decision::Rest);
}

#[test]
fn without_a_seat_nothing_moves() {
    let mut b = Batcher::new(limits());
    b.push(entry(1, Class::Interactive, ms(0)));
    assert_eq!(next(&mut b, ms(900), Seats::default()), Decision::Rest);
    assert_eq!(b.len(), 1);
}

#[test]
fn behind_a_batch_of_unknown_length_it_waits_for_a_full_one_but_not_longer_than_the_delay() {
    let mut b = Batcher::new(limits());
    b.push(entry(1, Class::Bulk, ms(10)));
    assert_eq!(next(&mut b, ms(11), behind(UNKNOWN)), Decision::WaitUntil(ms(12)));
    assert_eq!(
        items(next(&mut b, ms(12), behind(UNKNOWN))),
        (vec![1], Seat::Behind)
    );
    for i in 0..4 {
        b.push(entry(i, Class::Bulk, ms(20)));
    }
    assert_eq!(
        items(next(&mut b, ms(20), behind(UNKNOWN))),
        (vec![0, 1, 2, 3], Seat::Behind)
    );
}

#[test]
fn behind_a_batch_whose_end_is_known_it_waits_until_shortly_before() {
    let mut b = measured(limits(), 50, 1);
    b.push(entry(1, Class::Interactive, ms(1)));
    let Decision::WaitUntil(at) = next(&mut b, ms(1), behind(&ends_at(ms(50)))) else {
        panic!("it should wait")
    };
    assert!(at < ms(50) && at > ms(47), "{at:?}");
    b.push(entry(2, Class::Interactive, ms(48)));
    assert_eq!(items(next(&mut b, at, behind(&ends_at(ms(50))))).0, vec![1, 2]);
}

#[test]
fn a_full_batch_goes_early_behind_a_short_one_and_late_behind_a_long_one() {
    let mut b = measured(limits(), 1, 1);
    (0..4).for_each(|i| b.push(entry(i, Class::Bulk, ms(1))));
    let Decision::WaitUntil(at) = next(&mut b, ms(1), behind(&ends_at(ms(500)))) else {
        panic!("a prediction could still take its place")
    };
    b.push(entry(9, Class::Interactive, ms(2)));
    assert_eq!(
        items(next(&mut b, at, behind(&ends_at(ms(500))))).0,
        vec![9, 0, 1, 2]
    );
    (4..7).for_each(|i| b.push(entry(i, Class::Bulk, ms(500))));
    let seat = [Ahead {
        began: ms(500),
        ends: Some(ms(505)),
        callers: 0,
    }];
    assert_eq!(items(next(&mut b, ms(500), behind(&seat))).0, vec![3, 4, 5, 6]);
}

#[test]
fn once_the_running_batch_is_late_the_delay_counts_again_if_a_fuller_batch_pays() {
    let late = ends_at(ms(50));
    let mut pays = measured(limits(), 50, 1);
    pays.push(entry(1, Class::Interactive, ms(60)));
    assert_eq!(
        next(&mut pays, ms(60), behind(&late)),
        Decision::WaitUntil(ms(62))
    );
    let mut pays_not = measured(limits(), 0, 50);
    pays_not.push(entry(1, Class::Interactive, ms(60)));
    assert_eq!(items(next(&mut pays_not, ms(60), behind(&late))).0, vec![1]);
}

#[test]
fn a_deadline_ends_the_delay() {
    let mut b = measured(
        Limits {
            max_delay: ms(40),
            ..limits()
        },
        10,
        0,
    );
    b.push(entry(1, Class::Interactive, ms(0)));
    b.push(Entry {
        deadline: Some(ms(30)),
        ..entry(2, Class::Interactive, ms(0))
    });
    assert_eq!(next(&mut b, ms(0), behind(UNKNOWN)), Decision::WaitUntil(ms(20)));
    assert_eq!(items(next(&mut b, ms(20), behind(UNKNOWN))).0, vec![1, 2]);
}

#[test]
fn a_full_lane_goes_before_one_that_never_fills_up_only_within_the_delay() {
    let mut b = Batcher::new(limits());
    b.push(Entry {
        bucket: 7,
        ..entry(1, Class::Interactive, ms(0))
    });
    (2..10).for_each(|i| b.push(entry(i, Class::Interactive, ms(1))));
    assert_eq!(items(next(&mut b, ms(1), behind(UNKNOWN))).0, vec![2, 3, 4, 5]);
    assert_eq!(items(next(&mut b, ms(2), behind(UNKNOWN))).0, vec![1]);
    assert_eq!(items(next(&mut b, ms(2), behind(UNKNOWN))).0, vec![6, 7, 8, 9]);
}

#[test]
fn work_is_shared_out_over_idle_instances() {
    let mut b = Batcher::new(limits());
    for i in 0..4 {
        b.push(entry(i, Class::Bulk, ms(0)));
    }
    let two = Seats { idle: 2, behind: &[] };
    assert_eq!(items(next(&mut b, ms(0), two)).0, vec![0, 1]);
    assert_eq!(items(next(&mut b, ms(0), IDLE)).0, vec![2, 3]);
}

#[test]
fn work_of_another_shape_is_left_for_the_other_instance() {
    let mut b = Batcher::new(limits());
    (0..4).for_each(|i| b.push(entry(i, Class::Bulk, ms(0))));
    b.push(Entry {
        bucket: 7,
        ..entry(4, Class::Bulk, ms(1))
    });
    let two = Seats { idle: 2, behind: &[] };
    assert_eq!(items(next(&mut b, ms(1), two)).0, vec![0, 1, 2, 3]);
}

#[test]
fn work_is_not_shared_out_where_that_does_not_end_it_sooner() {
    let two = Seats { idle: 2, behind: &[] };
    let mut whole = measured(limits(), 50, 1);
    (0..4).for_each(|i| whole.push(entry(i, Class::Bulk, ms(0))));
    assert_eq!(items(next(&mut whole, ms(0), two)).0, vec![0, 1, 2, 3]);
    let mut halves = measured(limits(), 1, 50);
    (0..4).for_each(|i| halves.push(entry(i, Class::Bulk, ms(0))));
    assert_eq!(items(next(&mut halves, ms(0), two)).0, vec![0, 1]);
}

#[test]
fn interactive_items_go_ahead_of_bulk_but_do_not_starve_it() {
    let mut b = Batcher::new(Limits {
        max_items: 1,
        ..limits()
    });
    b.push(entry(1, Class::Bulk, ms(0)));
    b.push(entry(2, Class::Interactive, ms(40)));
    b.push(entry(3, Class::Interactive, BULK_HEADWAY + ms(1)));
    assert_eq!(order(&mut b, ms(100)).concat(), [2, 1, 3]);
}

#[test]
fn a_point_of_priority_is_worth_a_step_of_age() {
    let mut b = Batcher::new(limits());
    b.push(prioritised(1, Class::Interactive, ms(0), 0, STEP));
    b.push(prioritised(2, Class::Interactive, ms(99), 1, STEP));
    b.push(prioritised(3, Class::Interactive, ms(101), 1, STEP));
    b.push(prioritised(4, Class::Interactive, ms(101), -1, STEP));
    assert_eq!(order(&mut b, ms(101)).concat(), [2, 1, 3, 4]);
}

#[test]
fn strict_priorities_are_never_overtaken_by_age() {
    let mut b = Batcher::new(Limits {
        max_items: 1,
        ..limits()
    });
    let (day, step) = (Duration::from_secs(86_400), STRICT_STEP);
    b.push(prioritised(1, Class::Interactive, ms(0), -1, step));
    b.push(prioritised(2, Class::Interactive, ms(0), 0, step));
    b.push(prioritised(3, Class::Bulk, day, 1, step));
    b.push(prioritised(4, Class::Interactive, day, 1, step));
    b.push(prioritised(5, Class::Bulk, day, -100, step));
    assert_eq!(order(&mut b, day).concat(), [4, 3, 2, 1, 5]);
}

#[test]
fn bulk_items_keep_the_order_of_their_queue() {
    let mut b = Batcher::new(Limits {
        max_items: 1,
        ..limits()
    });
    let leased = |item, came: u64, line: i64, priority| Entry {
        turn: Turn::bulk(ms(came), line * 1_000_000, priority, STEP),
        ..entry(item, Class::Bulk, ms(came))
    };
    // An old one of low priority, and two that the queue had behind it; then one that the queue would have had before it.
    b.push(leased(1, 10, -9_000, -10));
    b.push(leased(2, 10, -8_000, 0));
    b.push(leased(3, 10, -7_000, 50));
    b.push(leased(4, 20, -9_500, 100));
    assert_eq!(order(&mut b, ms(30)).concat(), [4, 1, 2, 3]);
}

#[test]
fn costs_are_bounded_as_a_sum_or_as_the_largest_times_the_number() {
    let costs = [3, 1, 1, 4];
    for (rule, want) in [
        (CostRule::Sum, vec![vec![0, 1, 2], vec![3]]),
        (CostRule::Padded, vec![vec![0, 1], vec![2], vec![3]]),
    ] {
        let mut b = Batcher::new(Limits {
            max_cost: Some(6),
            cost: rule,
            ..limits()
        });
        for (i, cost) in costs.iter().enumerate() {
            b.push(Entry {
                cost: *cost,
                ..entry(i as u32, Class::Interactive, ms(0))
            });
        }
        assert_eq!(order(&mut b, ms(0)), want, "{rule:?}");
    }
}

#[test]
fn a_single_item_beyond_the_limits_goes_alone() {
    let mut b = Batcher::new(Limits {
        max_cost: Some(5),
        ..limits()
    });
    b.push(Entry {
        bytes: 1_000,
        ..entry(1, Class::Bulk, ms(0))
    });
    b.push(Entry {
        cost: 9,
        ..entry(2, Class::Bulk, ms(0))
    });
    b.push(entry(3, Class::Bulk, ms(0)));
    assert_eq!(order(&mut b, ms(0)), [[1], [2], [3]]);
}

#[test]
fn items_of_like_length_go_together_and_neighbours_only_while_little_is_padding() {
    let mut b = Batcher::new(Limits {
        max_items: 8,
        max_padding: Some(0.25),
        ..limits()
    });
    for (i, length) in [100, 10, 95, 60, 101, 11, 500].into_iter().enumerate() {
        b.push(Entry {
            bytes: 1,
            length,
            ..entry(i as u32, Class::Interactive, ms(i as u64))
        });
    }
    // 60 among those of about 100 is a tenth of padding; 10 and 11 would make it half.
    let mut batches = order(&mut b, ms(9));
    batches.iter_mut().for_each(|batch| batch.sort_unstable());
    assert_eq!(batches, [vec![0, 2, 3, 4], vec![1, 5], vec![6]]);
}

#[test]
fn without_padding_only_equal_lengths_go_together() {
    let mut b = Batcher::new(Limits {
        max_padding: Some(0.0),
        ..limits()
    });
    for (i, length) in [5, 6, 5, 0, 0].into_iter().enumerate() {
        b.push(Entry {
            length,
            ..entry(i as u32, Class::Interactive, ms(i as u64))
        });
    }
    assert_eq!(order(&mut b, ms(9)), [vec![0, 2], vec![1], vec![3, 4]]);
}

#[test]
fn a_deadline_drops_its_item_at_its_moment() {
    let mut b = Batcher::new(limits());
    let due = |item, at: u64| Entry {
        deadline: Some(ms(at)),
        ..entry(item, Class::Interactive, ms(0))
    };
    b.push(due(1, 30));
    b.push(due(2, 10));
    b.push(entry(3, Class::Interactive, ms(0)));
    b.push_sealed(vec![due(4, 20), entry(5, Class::Bulk, ms(0))]);
    assert_eq!((b.next_deadline(), b.expire(ms(9))), (Some(ms(10)), vec![]));
    assert_eq!((b.expire(ms(10)), b.next_deadline()), (vec![2], Some(ms(20))));
    assert_eq!((b.expire(ms(25)), b.next_deadline()), (vec![4], Some(ms(30))));
    assert_eq!((b.expire(ms(99)), b.next_deadline(), b.len()), (vec![1], None, 2));
    assert_eq!(order(&mut b, ms(99)), [[5], [3]]);
}

#[test]
fn items_nobody_waits_for_leave_when_told_and_on_the_way() {
    let mut b = Batcher::new(limits());
    (0..5).for_each(|i| b.push(entry(i, Class::Interactive, ms(0))));
    b.push_sealed(vec![entry(5, Class::Bulk, ms(0)), entry(6, Class::Bulk, ms(0))]);
    let mut swept = b.sweep(|i| *i % 3 != 0);
    swept.sort_unstable();
    assert_eq!((swept, b.len()), (vec![0, 3, 6], 4));
    assert_eq!(items(next(&mut b, ms(0), IDLE)).0, vec![5]);
    let mut gone = Vec::new();
    let decision = b.next(ms(0), IDLE, |i| *i == 2, |i| gone.push(i));
    assert_eq!((items(decision).0, gone, b.len()), (vec![2], vec![1, 4], 0));
}

#[test]
fn a_sealed_group_goes_first_and_alone() {
    let mut b = Batcher::new(limits());
    b.push(entry(1, Class::Interactive, ms(0)));
    b.push_sealed(vec![entry(8, Class::Bulk, ms(9)), entry(9, Class::Bulk, ms(9))]);
    assert_eq!(order(&mut b, ms(9)), [vec![8, 9], vec![1]]);
}

#[test]
fn a_class_can_be_taken_out() {
    let mut b = Batcher::new(limits());
    b.push(entry(1, Class::Interactive, ms(0)));
    b.push(entry(2, Class::Bulk, ms(0)));
    b.push_sealed(vec![
        entry(3, Class::Interactive, ms(0)),
        entry(4, Class::Bulk, ms(0)),
    ]);
    assert_eq!(b.take_class(Class::Interactive), vec![1, 3]);
    assert_eq!((b.len(), b.bulk_len()), (2, 1));
    assert_eq!(order(&mut b, ms(0)), [[4], [2]]);
    assert_eq!(b.bulk_len(), 0);
}
