use std::collections::VecDeque;
use std::time::Duration;

use cresset_task::DType;
use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);

fn bounds(max_bytes: u64, max_entries: usize) -> ResultCache {
    ResultCache {
        enabled: true,
        ttl: HOUR,
        max_bytes,
        max_entries,
    }
}

fn key(number: u64) -> Key {
    Key::numbered(number)
}

fn json(len: usize) -> Payload {
    Payload::Json("1".repeat(len).into())
}

#[test]
fn a_result_is_kept_for_its_time_and_no_longer() {
    let mut shelf = Shelf::new(bounds(1 << 20, 9));
    let began = Duration::from_secs(5);
    assert_eq!(shelf.keep(key(1), json(3), 1, began), 0);
    let end = began + HOUR;
    assert_eq!(
        shelf.look(&key(1), end - Duration::from_nanos(1)),
        Look::Found(json(3))
    );
    assert_eq!(shelf.look(&key(1), end), Look::Old);
    assert_eq!(shelf.look(&key(1), end), Look::Nothing);
    assert_eq!((shelf.len(), shelf.bytes()), (0, 0));
}

#[test]
fn what_was_not_used_for_the_longest_time_goes_first() {
    let mut shelf = Shelf::new(bounds(1 << 20, 2));
    for number in 1..=2 {
        shelf.keep(key(number), json(1), number, Duration::ZERO);
    }
    assert_eq!(shelf.look(&key(1), Duration::ZERO), Look::Found(json(1)));
    assert_eq!(shelf.keep(key(3), json(1), 3, Duration::ZERO), 1);
    assert_eq!(shelf.look(&key(2), Duration::ZERO), Look::Nothing);
    assert_eq!(shelf.look(&key(1), Duration::ZERO), Look::Found(json(1)));
}

#[test]
fn a_result_that_is_larger_than_all_of_it_throws_nothing_out() {
    let mut shelf = Shelf::new(bounds(1024, 9));
    shelf.keep(key(1), json(1), 1, Duration::ZERO);
    assert_eq!(shelf.keep(key(2), json(1024), 2, Duration::ZERO), 0);
    assert_eq!(shelf.len(), 1);
    assert_eq!(shelf.look(&key(2), Duration::ZERO), Look::Nothing);
}

#[test]
fn an_older_computation_that_ends_later_changes_nothing() {
    let mut shelf = Shelf::new(bounds(1 << 20, 9));
    shelf.keep(key(1), json(2), 2, Duration::ZERO);
    shelf.keep(key(1), json(1), 1, Duration::ZERO);
    assert_eq!(shelf.look(&key(1), Duration::ZERO), Look::Found(json(2)));
    shelf.keep(key(1), json(3), 3, Duration::ZERO);
    assert_eq!(shelf.look(&key(1), Duration::ZERO), Look::Found(json(3)));
    assert_eq!(shelf.len(), 1);
}

#[test]
fn a_kept_result_does_not_hold_the_memory_of_its_batch() {
    let batch = Bytes::from(vec![7; 64]);
    let tensor = Tensor::new(DType::Uint8, vec![4], batch.slice(8..12)).unwrap();
    for result in [
        Payload::Json(batch.slice(8..12)),
        Payload::Tensors(TensorSet(vec![("y".into(), tensor)])),
    ] {
        let kept = apart(&result);
        assert_eq!(kept, result);
        let data = match &kept {
            Payload::Json(text) => text.clone(),
            Payload::Tensors(set) => set.0[0].1.data.clone(),
        };
        assert!(!batch.as_ptr_range().contains(&data.as_ptr()));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Keep(u64, usize),
    Look(u64),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..8_u64, 0..600_usize).prop_map(|(number, len)| Step::Keep(number, len)),
        (0..8_u64).prop_map(Step::Look),
        (0..1500_u64).prop_map(Step::Wait),
    ]
}

/// The same as a list, the least used first: number, weight, length, end.
#[derive(Default)]
struct Simple(VecDeque<(u64, u64, usize, Duration)>);

impl Simple {
    fn bytes(&self) -> u64 {
        self.0.iter().map(|entry| entry.1).sum()
    }
}

proptest! {
    /// Whatever is kept and asked for, the bounds hold, and it is a list in the order of use.
    #[test]
    fn it_is_a_bounded_list_in_the_order_of_use(
        steps in proptest::collection::vec(step(), 0..80), max_bytes in 1024..4096_u64, max_entries in 1..6_usize
    ) {
        let mut shelf = Shelf::new(bounds(max_bytes, max_entries));
        let (mut simple, mut now) = (Simple::default(), Duration::ZERO);
        for (at, step) in steps.into_iter().enumerate() {
            match step {
                Step::Wait(seconds) => now += Duration::from_secs(seconds),
                Step::Keep(number, len) => {
                    let weight = ENTRY_BYTES + len as u64;
                    simple.0.retain(|entry| entry.0 != number);
                    let mut gone = 0;
                    while simple.0.len() >= max_entries || simple.bytes() + weight > max_bytes {
                        simple.0.pop_front();
                        gone += 1;
                    }
                    simple.0.push_back((number, weight, len, now + HOUR));
                    prop_assert_eq!(shelf.keep(key(number), json(len), at as u64, now), gone);
                }
                Step::Look(number) => {
                    let found = simple.0.iter().position(|entry| entry.0 == number);
                    let wanted = match found.and_then(|at| simple.0.remove(at)) {
                        Some(entry) if now < entry.3 => {
                            simple.0.push_back(entry);
                            Look::Found(json(entry.2))
                        }
                        Some(_) => Look::Old,
                        None => Look::Nothing,
                    };
                    prop_assert_eq!(shelf.look(&key(number), now), wanted);
                }
            }
            prop_assert_eq!((shelf.len(), shelf.bytes()), (simple.0.len(), simple.bytes()));
            prop_assert!(shelf.bytes() <= max_bytes && shelf.len() <= max_entries);
        }
    }
}
