//! How long a batch takes, by its size: measured while serving, never declared.
//!
//! Sizes fall into classes, each twice as large as the one before. A class remembers the mean size and the mean time of
//! the batches that fell into it lately; between two classes the time is a straight line, as it is for most models. So a
//! model of which nothing is assumed (steps on a GPU, caches on a CPU) is followed where it is used, and guessed elsewhere.

use std::time::Duration;

/// Classes, up to sizes of 2^39: more than the elements of the largest batch there is memory for.
const CLASSES: usize = 40;
/// How much a new batch counts against what was known: about the last sixteen make the figure. So a model that becomes
/// slower is noticed soon, and the times of short batches, which are noise for the most part, stand still enough.
const WEIGHT: f64 = 1.0 / 16.0;
/// A batch that took more than this many times what was expected counts as if it had taken that: a pause of the machine
/// says little of the model, while one that has truly become slower gets there in two or three steps.
const OUTLIER: f64 = 4.0;

#[derive(Clone, Copy, Debug, Default)]
struct Point {
    size: f64,
    nanos: f64,
    batches: u32,
}

/// The measured times of one model's batches.
#[derive(Clone, Debug)]
pub(crate) struct Latency {
    points: [Point; CLASSES],
    /// A bit for each class that has been measured.
    measured: u64,
}

impl Default for Latency {
    fn default() -> Self {
        Self {
            points: [Point::default(); CLASSES],
            measured: 0,
        }
    }
}

impl Latency {
    /// A batch of this size took this long.
    pub(crate) fn observe(&mut self, size: u64, took: Duration) {
        let expected = self.nanos(size);
        let took = took.as_nanos() as f64;
        let took = expected.map_or(took, |expected| took.min(OUTLIER * expected.max(1.0)));
        let point = &mut self.points[class(size)];
        point.batches = point.batches.saturating_add(1);
        let weight = WEIGHT.max(1.0 / f64::from(point.batches));
        point.size += (size as f64 - point.size) * weight;
        point.nanos += (took - point.nanos) * weight;
        self.measured |= 1 << class(size);
    }

    /// How long a batch of this size should take; `None` before anything was measured.
    pub(crate) fn estimate(&self, size: u64) -> Option<Duration> {
        self.nanos(size).map(|n| Duration::from_nanos(n as u64))
    }

    /// True when two sizes that differ have been measured, so that what a larger batch costs is known and not guessed.
    pub(crate) fn knows_growth(&self) -> bool {
        self.measured.count_ones() > 1
    }

    fn nanos(&self, size: u64) -> Option<f64> {
        let up_to = up_to(class(size));
        let size = size as f64;
        let own = last(self.measured & up_to);
        let low = match own {
            Some(own) if self.points[own].size > size => last(self.measured & (up_to >> 1)),
            other => other,
        };
        let high = first(self.measured & !low.map_or(0, self::up_to));
        match (low, high) {
            (Some(low), Some(high)) => Some(self.line(low, high, size)),
            // Beyond the largest: as steep as between the last two; in proportion, where there is only one.
            (Some(end), None) => Some(match last(self.measured & (self::up_to(end) >> 1)) {
                Some(before) => self.line(before, end, size),
                None => self.in_proportion(end, size),
            }),
            // Below the smallest: as steep as between the first two; where there is only one, nothing is saved.
            (None, Some(start)) => Some(match first(self.measured & !self::up_to(start)) {
                Some(after) => self.line(start, after, size).max(self.in_proportion(start, size)),
                None => self.points[start].nanos,
            }),
            (None, None) => None,
        }
    }

    /// The straight line through two points; it never falls.
    fn line(&self, low: usize, high: usize, size: f64) -> f64 {
        let (a, b) = (self.points[low], self.points[high]);
        let slope = (b.nanos - a.nanos).max(0.0) / (b.size - a.size).max(1.0);
        a.nanos + slope * (size - a.size)
    }

    fn in_proportion(&self, at: usize, size: f64) -> f64 {
        let point = self.points[at];
        point.nanos * size / point.size.max(1.0)
    }
}

/// The class of a size: the place of its highest bit.
fn class(size: u64) -> usize {
    (size.max(1).ilog2() as usize).min(CLASSES - 1)
}

/// The bits of the classes from 0 to this one.
fn up_to(class: usize) -> u64 {
    u64::MAX >> (63 - class)
}

fn last(of: u64) -> Option<usize> {
    of.checked_ilog2().map(|class| class as usize)
}

fn first(of: u64) -> Option<usize> {
    (of != 0).then(|| of.trailing_zeros() as usize)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn us(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    /// A model of `own` us a batch and `each` us an item, seen at these sizes.
    fn seen(own: u64, each: u64, sizes: &[u64]) -> Latency {
        let mut latency = Latency::default();
        for _ in 0..50 {
            sizes.iter().for_each(|n| latency.observe(*n, us(own + each * n)));
        }
        latency
    }

    #[test]
    fn nothing_is_said_before_anything_is_measured() {
        assert_eq!(Latency::default().estimate(1), None);
        assert!(!seen(10, 1, &[4]).knows_growth() && seen(10, 1, &[4, 9]).knows_growth());
    }

    #[test]
    fn a_linear_model_is_known_everywhere_from_a_few_sizes() {
        let latency = seen(100, 10, &[1, 5, 32]);
        for n in [1, 2, 3, 5, 8, 17, 32, 64, 1000] {
            let (is, want) = (latency.estimate(n).unwrap(), us(100 + 10 * n));
            assert!(is.abs_diff(want) <= us(1), "{n}: {is:?}, not {want:?}");
        }
    }

    #[test]
    fn below_what_was_measured_it_is_not_less_than_in_proportion() {
        let latency = seen(0, 100, &[10, 20]);
        assert_eq!(latency.estimate(1).unwrap(), us(100));
        let steep = {
            let mut latency = Latency::default();
            (0..50).for_each(|_| {
                latency.observe(10, us(100));
                latency.observe(20, us(2_000));
            });
            latency
        };
        assert!(steep.estimate(1).unwrap() >= us(10));
    }

    #[test]
    fn one_size_alone_says_nothing_of_what_fewer_would_save() {
        let latency = seen(100, 0, &[8]);
        assert_eq!(latency.estimate(2).unwrap(), us(100));
        assert_eq!(latency.estimate(16).unwrap(), us(200));
    }

    #[test]
    fn a_pause_of_the_machine_is_forgotten_and_a_slower_model_is_believed() {
        let mut latency = seen(100, 0, &[8]);
        latency.observe(8, Duration::from_secs(5));
        assert!(
            latency.estimate(8).unwrap() < us(140),
            "{:?}",
            latency.estimate(8)
        );
        (0..80).for_each(|_| latency.observe(8, us(1_000)));
        assert!(latency.estimate(8).unwrap() > us(950));
        (0..80).for_each(|_| latency.observe(8, us(50)));
        assert!(latency.estimate(8).unwrap() < us(60));
    }

    proptest! {
        #[test]
        fn it_never_falls_with_size_on_a_model_that_does_not(
            sizes in proptest::collection::vec(1_u64..5_000, 1..40), own in 0_u64..500, each in 0_u64..50,
        ) {
            let mut latency = Latency::default();
            sizes.iter().for_each(|n| latency.observe(*n, us(own + each * n)));
            let mut before = Duration::ZERO;
            for n in 0..2_000_u64 {
                let now = latency.estimate(n * 3 + 1).unwrap();
                prop_assert!(now + us(1) >= before, "{n}: {now:?} after {before:?}");
                before = now;
            }
        }

        #[test]
        fn any_observation_is_taken(sizes in proptest::collection::vec((any::<u64>(), any::<u32>()), 1..40)) {
            let mut latency = Latency::default();
            for (size, micros) in &sizes {
                latency.observe(*size, us(u64::from(*micros)));
                prop_assert!(latency.estimate(*size).is_some());
            }
        }
    }
}
