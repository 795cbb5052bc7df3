//! Where things lie in the slab. Pure arithmetic, so that it can be tested apart from the memory.

use cresset_config::ModelConfig;
use cresset_task::TensorSpec;

use crate::wire::{ALIGN, SlabInfo, SlotInfo};

/// Batches in flight in one instance: one runs while the next is filled. Measured: a second one nearly doubles the
/// batches per second when server and instance sit on different cores, a third adds nothing.
pub(crate) const SLOTS: usize = 2;

/// Slot regions start and end at multiples of this, a page on the machines we know.
const PAGE: u64 = 4096;
/// A region for tensors whose size is not known beforehand.
const REGION_DEFAULT: u64 = 1 << 20;
/// The largest region made before a batch asks for it: `max_batch_size` large tensors could be more than the machine
/// has. Larger batches make the slab grow (inputs) or come inline (outputs).
const REGION_INITIAL_MAX: u64 = 64 << 20;
/// The largest input region at all. A batch beyond it fails.
pub(crate) const REGION_MAX: u64 = 1 << 30;

const fn round_up(n: u64, to: u64) -> u64 {
    n.div_ceil(to).saturating_mul(to)
}

/// The lengths of the regions of every slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Regions {
    pub(crate) input: u64,
    pub(crate) output: u64,
}

impl Regions {
    /// What the model's declaration asks for, within bounds.
    pub(crate) fn of(config: &ModelConfig) -> Self {
        let batch = config.batching.max_batch_size as u64;
        Self {
            input: region(&config.inputs, batch),
            output: region(&config.outputs, batch),
        }
    }

    /// Regions for inputs of `needed` bytes, with room to spare so that a slowly growing batch does not make a new slab
    /// each time. `None` when that is beyond what we give.
    pub(crate) fn grown_for(self, needed: u64) -> Option<Self> {
        if needed > REGION_MAX {
            return None;
        }
        let input = needed
            .checked_next_power_of_two()?
            .clamp(PAGE, REGION_MAX)
            .max(self.input);
        Some(Self { input, ..self })
    }

    /// The slab with these regions.
    pub(crate) fn slab(self) -> SlabInfo {
        let slots = (0..SLOTS as u64).map(|i| {
            let start = i * (self.input + self.output);
            SlotInfo {
                input_offset: start,
                input_len: self.input,
                output_offset: start + self.input,
                output_len: self.output,
            }
        });
        SlabInfo {
            size: SLOTS as u64 * (self.input + self.output),
            slots: slots.collect(),
        }
    }
}

fn region(specs: &[TensorSpec], batch: u64) -> u64 {
    let whole = specs.iter().try_fold(0_u64, |sum, spec| {
        let one = spec.fixed_bytes()? as u64;
        sum.checked_add(round_up(one.checked_mul(batch)?, ALIGN))
    });
    let fixed = specs.iter().all(|s| s.fixed_bytes().is_some()) && !specs.is_empty();
    let wanted = match whole {
        Some(bytes) if fixed => bytes,
        None if fixed => REGION_INITIAL_MAX, // the product overflows
        _ => REGION_DEFAULT,
    };
    round_up(wanted.clamp(1, REGION_INITIAL_MAX), PAGE)
}

/// Where tensors of these sizes start when laid one after the other from `start`, and the bytes they take in all.
pub(crate) fn place(start: u64, sizes: impl IntoIterator<Item = u64>) -> Option<(Vec<u64>, u64)> {
    let mut at = start;
    let mut offsets = Vec::new();
    for size in sizes {
        at = at.checked_next_multiple_of(ALIGN)?;
        offsets.push(at);
        at = at.checked_add(size)?;
    }
    Some((offsets, at - start))
}

#[cfg(test)]
mod tests {
    use super::*;
    use cresset_task::DType;
    use proptest::prelude::*;

    fn spec(shape: &[i64]) -> TensorSpec {
        TensorSpec {
            name: "x".into(),
            dtype: DType::Float32,
            shape: shape.to_vec(),
            allow_non_finite: false,
            pad: None,
        }
    }

    #[test]
    fn regions_follow_the_declaration_within_bounds() {
        assert_eq!(region(&[spec(&[1, 8, 8])], 32), 8192);
        assert_eq!(region(&[spec(&[3])], 1), PAGE, "never less than a page");
        assert_eq!(region(&[spec(&[-1, 8])], 32), REGION_DEFAULT, "a free dimension");
        assert_eq!(region(&[], 32), REGION_DEFAULT, "nothing declared");
        assert_eq!(region(&[spec(&[3, 1024, 1024])], 65_536), REGION_INITIAL_MAX);
        assert_eq!(
            region(&[spec(&[i64::MAX / 8]), spec(&[i64::MAX / 8])], 65_536),
            REGION_INITIAL_MAX
        );
    }

    #[test]
    fn a_region_grows_with_room_to_spare_up_to_the_limit() {
        let regions = Regions {
            input: 8192,
            output: 4096,
        };
        assert_eq!(
            regions.grown_for(9000),
            Some(Regions {
                input: 16384,
                output: 4096
            })
        );
        assert_eq!(regions.grown_for(REGION_MAX).map(|r| r.input), Some(REGION_MAX));
        assert_eq!(regions.grown_for(REGION_MAX + 1), None);
    }

    proptest! {
        #[test]
        fn slots_do_not_overlap_and_fill_the_slab(input in 1_u64..1000, output in 1_u64..1000) {
            let slab = Regions { input: input * PAGE, output: output * PAGE }.slab();
            let mut at = 0;
            for slot in &slab.slots {
                prop_assert_eq!(slot.input_offset, at);
                prop_assert_eq!(slot.output_offset, at + slot.input_len);
                prop_assert_eq!(slot.input_offset % PAGE, 0);
                prop_assert_eq!(slot.output_offset % PAGE, 0);
                at = slot.output_offset + slot.output_len;
            }
            prop_assert_eq!(at, slab.size);
            prop_assert_eq!(slab.slots.len(), SLOTS);
        }

        #[test]
        fn placed_tensors_are_aligned_and_apart(pages in 0_u64..9, sizes in proptest::collection::vec(0_u64..500, 0..6)) {
            let start = pages * PAGE;
            let (offsets, taken) = place(start, sizes.iter().copied()).unwrap();
            let mut end = start;
            for (at, size) in offsets.iter().zip(&sizes) {
                prop_assert_eq!(at % ALIGN, 0);
                prop_assert!(*at >= end);
                end = at + size;
            }
            prop_assert_eq!(taken, end - start);
        }

        #[test]
        fn absurd_sizes_have_no_place(size in u64::MAX - 4095..=u64::MAX) {
            prop_assert_eq!(place(4096, [size]), None);
        }
    }
}
