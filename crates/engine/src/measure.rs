//! What an item is to the batching policy: what it weighs, with whom it goes, whose turn it is. Follows from the model's
//! declaration; looked at once for each item.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use cresset_batch::{CostRule, Entry, Limits, Moment, STRICT_STEP, Turn};
use cresset_config::{Batching, Cost, ModelConfig, ModelKind, Priorities};
use cresset_task::{Payload, Tensor, TensorSpec};

use crate::item::{Item, Origin};

/// How the items of one model are measured.
#[derive(Debug)]
pub(crate) struct Measure {
    /// Items that are sure to have one shape are not looked at.
    fixed: bool,
    by_size: bool,
    pads: bool,
    step: Duration,
}

/// How much age a point of priority is worth.
pub(crate) fn step(batching: &Batching) -> Duration {
    match batching.priorities {
        Priorities::Aged => batching.priority_step,
        Priorities::Strict => STRICT_STEP,
    }
}

impl Measure {
    pub(crate) fn of(config: &ModelConfig) -> Self {
        Self {
            fixed: config.inputs.iter().all(|spec| !spec.shape.contains(&-1)),
            by_size: config.batching.group_by_size && config.kind() == ModelKind::Object,
            pads: config.inputs.iter().any(|spec| spec.pad.is_some()),
            step: step(&config.batching),
        }
    }

    /// The bounds of the model's batches.
    pub(crate) fn limits(&self, batching: &Batching) -> Limits {
        Limits {
            max_items: batching.max_batch_size,
            max_bytes: batching.max_batch_bytes,
            max_cost: batching.max_batch_cost,
            cost: match batching.cost {
                Cost::Sum => CostRule::Sum,
                Cost::Padded => CostRule::Padded,
            },
            max_delay: batching.max_delay,
            max_padding: (self.pads || self.by_size).then_some(batching.max_padding),
        }
    }

    /// The item as the batcher wants it.
    pub(crate) fn entry(&self, item: Item, specs: &[TensorSpec], now: Moment) -> Entry<Item> {
        let bytes = item.payload.weight();
        let (cost, bucket, length) = match &item.payload {
            Payload::Json(_) => (bytes as u64, 0, bytes as u64),
            Payload::Tensors(set) => {
                let tensors = || set.0.iter().map(|(_, tensor)| tensor);
                let cost = tensors().map(elements).sum();
                let (bucket, length) = if self.fixed {
                    (0, 0)
                } else {
                    shape(specs, tensors())
                };
                (cost, bucket, length)
            }
        };
        let (turn, deadline) = match &item.origin {
            Origin::Caller { deadline, .. } => (Turn::interactive(now, 0, self.step), Some(*deadline)),
            Origin::Queue(task) => (Turn::bulk(now, task.line, task.priority, self.step), None),
        };
        Entry {
            bytes,
            cost,
            bucket,
            length,
            class: item.class(),
            turn,
            arrived: now,
            deadline,
            item,
        }
    }
}

fn elements(tensor: &Tensor) -> u64 {
    (tensor.data.len() / tensor.dtype.size()) as u64
}

/// The bucket of an item, and its length: the elements of the inputs that are padded. Items of equal bucket can be stacked;
/// a collision of hashes would only make the runner refuse one batch.
fn shape<'a>(specs: &[TensorSpec], tensors: impl Iterator<Item = &'a Tensor>) -> (u64, u64) {
    let mut hash = DefaultHasher::new();
    let (mut length, mut free, mut differ) = (0, None, false);
    let padded = |at: usize| specs.get(at).filter(|spec| spec.pad.is_some());
    let mut free_sizes = DefaultHasher::new();
    for (at, tensor) in tensors.enumerate() {
        let Some(spec) = padded(at) else {
            tensor.shape.hash(&mut hash);
            continue;
        };
        length += elements(tensor);
        differ |= spec.shape.iter().filter(|size| **size < 0).count() > 1;
        for (size, declared) in tensor.shape.iter().zip(&spec.shape) {
            if *declared >= 0 {
                continue;
            }
            differ |= *free.get_or_insert(*size) != *size;
            half_octave(*size).hash(&mut free_sizes);
        }
    }
    // Where all free dimensions of an item are one number, such as the tokens of a text in several inputs, its length says
    // all of it. Where they differ, as those of images do, 1 x 100 and 100 x 1 have one length and must not meet: each
    // dimension has to be about the same.
    if differ {
        free_sizes.finish().hash(&mut hash);
    }
    (hash.finish(), length)
}

/// The class of a size, such that sizes of one class differ by less than the root of two.
fn half_octave(size: usize) -> u32 {
    (size as u128 * size as u128).checked_ilog2().map_or(0, |n| n + 1)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use cresset_task::DType;

    use super::*;

    fn spec(name: &str, shape: &[i64], pad: bool) -> TensorSpec {
        TensorSpec {
            name: name.into(),
            dtype: DType::Int16,
            shape: shape.to_vec(),
            allow_non_finite: false,
            pad: pad.then(|| Bytes::from_static(&[0, 0])),
        }
    }

    fn tensor(shape: &[usize]) -> Tensor {
        let data = vec![0; 2 * shape.iter().product::<usize>()];
        Tensor::new(DType::Int16, shape.to_vec(), data.into()).unwrap()
    }

    fn of(specs: &[TensorSpec], shapes: &[&[usize]]) -> (u64, u64) {
        let tensors: Vec<_> = shapes.iter().map(|shape| tensor(shape)).collect();
        shape(specs, tensors.iter())
    }

    #[test]
    fn without_padding_equal_shapes_go_together() {
        let specs = [spec("a", &[-1, 2], false), spec("b", &[-1], false)];
        let is = |a, b| of(&specs, &[&[a, 2], &[b]]);
        assert_eq!(is(3, 4), is(3, 4));
        assert_ne!(is(3, 4), is(4, 3));
        assert_eq!(is(3, 4).1, 0);
    }

    #[test]
    fn inputs_of_one_padded_length_go_together_by_it() {
        let specs = [
            spec("ids", &[-1], true),
            spec("mask", &[-1], true),
            spec("k", &[-1], false),
        ];
        let is = |n, k| of(&specs, &[&[n], &[n], &[k]]);
        assert_eq!(is(10, 1).0, is(700, 1).0);
        assert_eq!((is(10, 1).1, is(700, 1).1), (20, 1400));
        assert_ne!(is(10, 1).0, is(10, 2).0, "the third is not padded");
    }

    #[test]
    fn several_free_sizes_must_each_be_alike() {
        let specs = [spec("image", &[3, -1, -1], true)];
        let is = |h, w| of(&specs, &[&[3, h, w]]);
        assert_ne!(is(100, 1).0, is(1, 100).0);
        assert_eq!(is(100, 110).0, is(101, 112).0);
        assert_eq!(is(64, 64).0, is(64, 65).0);
        assert_eq!(is(8, 9).1, 216);
    }

    #[test]
    fn sizes_of_one_class_differ_by_less_than_the_root_of_two() {
        for size in 0_usize..300 {
            let class = half_octave(size);
            let same = (0..300).filter(|other| half_octave(*other) == class);
            assert!(
                same.clone().max().unwrap() as f64 <= 1.415 * size.max(1) as f64,
                "{size}"
            );
        }
    }
}
