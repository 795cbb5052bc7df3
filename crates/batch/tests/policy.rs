//! The policy's promises, on chosen examples and on random traffic.

#![expect(clippy::panic, reason = "helpers of tests fail by panicking")]

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use cresset_batch::{BULK_HEADWAY, Batcher, Class, Decision, Entry, Limits, Seat, Seats};
use proptest::prelude::*;

const IDLE: Seats = Seats { idle: 1, behind: 1 };
const BEHIND: Seats = Seats { idle: 0, behind: 1 };
const NONE: Seats = Seats { idle: 0, behind: 0 };

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn limits() -> Limits {
    Limits {
        max_items: 4,
        max_bytes: 100,
        max_delay: ms(2),
    }
}

fn entry(item: u32, class: Class, at: Duration) -> Entry<u32> {
    Entry {
        item,
        bytes: 10,
        bucket: 0,
        class,
        arrived: at,
    }
}

fn next(batcher: &mut Batcher<u32>, now: Duration, seats: Seats) -> Decision<u32> {
    batcher.next(now, seats, |_| true, |_| panic!("nothing should be dropped"))
}

fn items(decision: Decision<u32>) -> (Vec<u32>, Seat) {
    match decision {
        Decision::Run { batch, seat } => (batch.into_iter().map(|e| e.item).collect(), seat),
        other => panic!("expected a batch, got {other:?}"),
    }
}

#[test]
fn an_idle_instance_takes_what_is_there_at_once() {
    let mut b = Batcher::new(limits());
    b.push(entry(1, Class::Bulk, ms(0)));
    assert_eq!(items(next(&mut b, ms(0), IDLE)), (vec![1], Seat::Idle));
    assert_eq!(next(&mut b, ms(0), IDLE), Decision::Rest);
}

#[test]
fn behind_a_running_batch_it_waits_for_a_full_one_but_not_longer_than_the_delay() {
    let mut b = Batcher::new(limits());
    b.push(entry(1, Class::Bulk, ms(10)));
    assert_eq!(next(&mut b, ms(11), BEHIND), Decision::WaitUntil(ms(12)));
    assert_eq!(items(next(&mut b, ms(12), BEHIND)), (vec![1], Seat::Behind));
    for i in 0..4 {
        b.push(entry(i, Class::Bulk, ms(20)));
    }
    assert_eq!(
        items(next(&mut b, ms(20), BEHIND)),
        (vec![0, 1, 2, 3], Seat::Behind)
    );
}

#[test]
fn without_a_seat_nothing_moves() {
    let mut b = Batcher::new(limits());
    b.push(entry(1, Class::Interactive, ms(0)));
    assert_eq!(next(&mut b, ms(900), NONE), Decision::Rest);
    assert_eq!(b.len(), 1);
}

#[test]
fn work_is_shared_out_over_idle_instances() {
    let mut b = Batcher::new(limits());
    for i in 0..4 {
        b.push(entry(i, Class::Bulk, ms(0)));
    }
    let two = Seats { idle: 2, behind: 2 };
    assert_eq!(items(next(&mut b, ms(0), two)).0, vec![0, 1]);
    assert_eq!(
        items(next(&mut b, ms(0), Seats { idle: 1, behind: 3 })).0,
        vec![2, 3]
    );
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
    let order: Vec<_> = (0..3).map(|_| items(next(&mut b, ms(100), IDLE)).0[0]).collect();
    assert_eq!(order, vec![2, 1, 3]);
}

#[test]
fn a_sealed_group_goes_first_and_alone() {
    let mut b = Batcher::new(limits());
    b.push(entry(1, Class::Interactive, ms(0)));
    b.push_sealed(vec![entry(8, Class::Bulk, ms(9)), entry(9, Class::Bulk, ms(9))]);
    assert_eq!(items(next(&mut b, ms(9), IDLE)).0, vec![8, 9]);
    assert_eq!(items(next(&mut b, ms(9), IDLE)).0, vec![1]);
}

#[test]
fn a_single_item_heavier_than_the_limit_goes_alone() {
    let mut b = Batcher::new(limits());
    b.push(Entry {
        bytes: 1_000,
        ..entry(1, Class::Bulk, ms(0))
    });
    b.push(entry(2, Class::Bulk, ms(0)));
    assert_eq!(items(next(&mut b, ms(0), IDLE)).0, vec![1]);
    assert_eq!(items(next(&mut b, ms(0), IDLE)).0, vec![2]);
}

#[test]
fn items_nobody_waits_for_are_dropped_on_the_way() {
    let mut b = Batcher::new(limits());
    for i in 0..3 {
        b.push(entry(i, Class::Interactive, ms(0)));
    }
    let mut gone = Vec::new();
    let decision = b.next(ms(0), IDLE, |i| *i == 1, |i| gone.push(i));
    assert_eq!((items(decision).0, gone, b.len()), (vec![1], vec![0, 2], 0));
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
    assert_eq!(b.len(), 2);
    assert_eq!(items(next(&mut b, ms(0), IDLE)).0, vec![4]);
    assert_eq!(items(next(&mut b, ms(0), IDLE)).0, vec![2]);
}

#[derive(Clone, Debug)]
enum Step {
    Push {
        bytes: usize,
        bucket: u64,
        interactive: bool,
    },
    Seal(usize),
    Ask {
        idle: usize,
        behind: usize,
    },
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_usize..150, 0_u64..3, any::<bool>())
            .prop_map(|(bytes, bucket, interactive)| Step::Push { bytes, bucket, interactive }),
        1 => (0_usize..5).prop_map(Step::Seal),
        3 => (0_usize..3, 0_usize..3).prop_map(|(idle, behind)| Step::Ask { idle, behind }),
        1 => (0_u64..5).prop_map(Step::Pass),
    ]
}

proptest! {
    /// Size, bytes, one bucket, order within a class and bucket, nothing lost, nothing twice, nothing held past its time.
    #[test]
    fn every_batch_keeps_the_rules(steps in proptest::collection::vec(step(), 1..120)) {
        let limits = limits();
        let mut b = Batcher::new(limits);
        let mut now = ms(0);
        let mut fresh = 0_u32;
        let mut sealed_with: HashMap<u32, u32> = HashMap::new();
        let mut seen = HashSet::new();
        let mut last: HashMap<(u64, Class), u32> = HashMap::new();
        let drain = std::iter::repeat_n(Step::Ask { idle: 1, behind: 0 }, 1_000);
        for step in steps.into_iter().chain(drain) {
            match step {
                Step::Pass(by) => now += ms(by),
                Step::Push { bytes, bucket, interactive } => {
                    let class = if interactive { Class::Interactive } else { Class::Bulk };
                    b.push(Entry { item: fresh, bytes, bucket, class, arrived: now });
                    fresh += 1;
                }
                Step::Seal(n) => {
                    let group: Vec<_> = (0..n as u32).map(|i| entry(fresh + i, Class::Bulk, now)).collect();
                    for e in &group { sealed_with.insert(e.item, n as u32); }
                    fresh += n as u32;
                    b.push_sealed(group);
                }
                Step::Ask { idle, behind } => {
                    let before = b.len();
                    match next(&mut b, now, Seats { idle, behind }) {
                        Decision::Run { batch, seat } => {
                            prop_assert_eq!(seat == Seat::Idle, idle > 0);
                            prop_assert!(idle + behind > 0 && !batch.is_empty());
                            prop_assert_eq!(b.len() + batch.len(), before);
                            let first_seal = sealed_with.get(&batch[0].item);
                            if let Some(n) = first_seal {
                                prop_assert_eq!(batch.len(), *n as usize);
                            } else {
                                prop_assert!(batch.len() <= limits.max_items);
                                let bytes: usize = batch.iter().map(|e| e.bytes).sum();
                                prop_assert!(batch.len() == 1 || bytes <= limits.max_bytes);
                                for e in &batch {
                                    if let Some(prev) = last.insert((e.bucket, e.class), e.item) {
                                        prop_assert!(prev < e.item, "order within a class");
                                    }
                                }
                            }
                            for e in &batch {
                                prop_assert!(seen.insert(e.item), "an item went twice");
                                prop_assert_eq!(e.bucket, batch[0].bucket);
                                prop_assert_eq!(sealed_with.contains_key(&e.item), first_seal.is_some());
                            }
                        }
                        Decision::WaitUntil(at) => prop_assert!(idle == 0 && at > now && at <= now + limits.max_delay),
                        Decision::Rest => prop_assert!(before == 0 || idle + behind == 0),
                    }
                }
            }
        }
        prop_assert_eq!(b.len(), 0);
        prop_assert_eq!(seen.len() as u32, fresh, "an item was lost");
    }
}
