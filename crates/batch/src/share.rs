//! How many of the items that wait go to one instance, and how many are left for the others.
//!
//! Two batches side by side are done sooner than one, unless most of a batch's time is its own and not its items'. So the
//! work is shared out over the instances that are free, or will be by the time at which it begins, as far as the measured
//! times say that it is then done a good deal sooner.

use std::time::Duration;

use crate::entry::Moment;
use crate::seats::Ahead;

/// Sharing work with one more instance must end it sooner by this part of its time: each batch costs the machine its own
/// time once more, and takes room in which what comes next could have been together.
const GAIN: u32 = 4;
/// Instances looked at when they become free at different moments. With more the first in line are near enough.
const LOOKED_AT: usize = 8;

/// The share of one of `idle` instances, when `waiting` items are there for all of them.
pub(crate) fn idle(
    waiting: usize,
    max_items: usize,
    idle: usize,
    expected: impl Fn(usize) -> Option<Duration>,
) -> usize {
    let even = |over: usize| waiting.div_ceil(over).clamp(1, max_items);
    let time = |over: usize| {
        let rounds = waiting.min(max_items * idle).div_ceil(over * even(over));
        Some(expected(even(over))? * u32::try_from(rounds).unwrap_or(u32::MAX))
    };
    let mut best = (1, time(1));
    for over in 2..=idle {
        match (best.1, time(over)) {
            (Some(fewer), Some(more)) if more > fewer - fewer / GAIN => {}
            // Before anything is measured, the more the better.
            (_, time) => best = (over, time),
        }
    }
    even(best.0)
}

/// The share of the instance that is done first of those that `behind` names. A full batch is not shared: there is none
/// that costs less an item.
pub(crate) fn behind(
    waiting: usize,
    max_items: usize,
    behind: &[Ahead],
    expected: impl Fn(usize) -> Option<Duration>,
) -> usize {
    let all = waiting.clamp(1, max_items);
    let ends: &mut dyn Iterator<Item = Moment> = &mut behind.iter().map_while(|ahead| ahead.ends);
    let (Some(own), Some(took), true) = (ends.next(), expected(all), waiting < max_items) else {
        return all;
    };
    let mut best = (all, took);
    let mut others = [Moment::ZERO; LOOKED_AT];
    for (count, end) in ends.take(LOOKED_AT).enumerate() {
        others[count] = end.saturating_sub(own);
        let (share, took) = level(all, &others[..=count], &expected);
        if took <= best.1 - best.1 / GAIN {
            best = (share, took);
        }
    }
    best.0
}

/// The smallest own share with which the others, free so much later, are done no later with the rest; and its time.
fn level(all: usize, others: &[Duration], expected: impl Fn(usize) -> Option<Duration>) -> (usize, Duration) {
    let time = |items: usize| expected(items).unwrap_or_default();
    let fits = |by: Duration, later: Duration| smallest(0, all, |n| later + time(n + 1) > by);
    let share = smallest(1, all, |own| {
        let rest: usize = others.iter().map(|later| fits(time(own), *later)).sum();
        own + rest >= all
    });
    (share, time(share))
}

/// The smallest number from `low` to `high` for which `holds`, which holds for all beyond it; `high` if for none below.
fn smallest(mut low: usize, mut high: usize, holds: impl Fn(usize) -> bool) -> usize {
    while low < high {
        let middle = low.midpoint(high);
        if holds(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    low
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// A model of `own` ms a batch and `each` ms an item.
    fn model(own: u64, each: u64) -> impl Fn(usize) -> Option<Duration> {
        move |n| Some(ms(own + each * n as u64))
    }

    fn ahead(ends: &[u64]) -> Vec<Ahead> {
        let ahead = |end: &u64| Ahead {
            began: ms(0),
            ends: Some(ms(*end)),
            callers: 0,
        };
        ends.iter().map(ahead).collect()
    }

    #[test]
    fn idle_instances_share_evenly_before_anything_is_measured() {
        assert_eq!(idle(10, 32, 1, |_| None), 10);
        assert_eq!(idle(10, 32, 3, |_| None), 4);
        assert_eq!(idle(1, 32, 3, |_| None), 1);
        assert_eq!(idle(100, 32, 2, |_| None), 32);
    }

    #[test]
    fn work_is_shared_out_where_that_ends_it_sooner() {
        assert_eq!(idle(16, 32, 2, model(5, 3)), 8);
        assert_eq!(idle(16, 32, 4, model(5, 3)), 4);
        assert_eq!(idle(2, 32, 2, model(5, 3)), 1);
    }

    #[test]
    fn a_batch_whose_time_is_mostly_its_own_stays_whole() {
        assert_eq!(idle(16, 32, 2, model(100, 1)), 16);
        assert_eq!(
            idle(40, 32, 2, model(100, 1)),
            20,
            "it does not fit into one anyway"
        );
        assert_eq!(behind(16, 32, &ahead(&[10, 10]), model(100, 1)), 16);
    }

    #[test]
    fn the_instance_that_is_done_first_takes_more() {
        assert_eq!(behind(16, 32, &ahead(&[10, 10]), model(5, 3)), 8);
        assert_eq!(behind(16, 32, &ahead(&[10, 22]), model(5, 3)), 10);
        assert_eq!(behind(16, 32, &ahead(&[10, 500]), model(5, 3)), 16);
        assert_eq!(behind(100, 32, &ahead(&[10, 500]), model(5, 3)), 32);
    }

    proptest! {
        /// Some of it always goes, never more than there is or fits; and where the others are done no sooner, not so little
        /// that they end later than this one.
        #[test]
        fn a_share_is_something_and_not_too_much(
            waiting in 1_usize..100, max_items in 1_usize..40, own in 0_u64..50, each in 1_u64..50,
            ends in proptest::collection::vec(10_u64..300, 1..12),
        ) {
            let mut ends = ends;
            ends.sort_unstable();
            let expected = model(own, each);
            let most = waiting.min(max_items);
            let share = behind(waiting, max_items, &ahead(&ends), &expected);
            prop_assert!((1..=most).contains(&share));
            let even = idle(waiting, max_items, ends.len(), &expected);
            prop_assert!(even >= most.div_ceil(ends.len()) && even <= most);
            let rest = waiting - share;
            if share < most && ends.len() == 2 {
                let (first, second) = (ms(ends[0]) + expected(share).unwrap(), ms(ends[1]) + expected(rest).unwrap());
                prop_assert!(second <= first, "{second:?} after {first:?}");
            }
        }
    }

    #[test]
    fn without_a_known_end_all_of_it_goes() {
        let unknown = Ahead {
            began: ms(0),
            ends: None,
            callers: 0,
        };
        assert_eq!(behind(16, 32, &[unknown, unknown], model(5, 3)), 16);
        assert_eq!(behind(16, 32, &ahead(&[10, 10]), |_| None), 16);
    }
}
