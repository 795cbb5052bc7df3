//! Items of unequal size in one batch: how large their rows are, and how a smaller item fills one.
//!
//! Padding stands at the end of each dimension, so an item's elements keep their indices. Only inputs that declare what to
//! pad with are padded, and only along their free dimensions.

use cresset_task::{Shape, Tensor};

/// Makes `shape` large enough for `other` too. False when they have not the same rank.
pub(crate) fn widen(shape: &mut Shape, other: &[usize]) -> bool {
    shape
        .iter_mut()
        .zip(other)
        .for_each(|(size, other)| *size = (*size).max(*other));
    shape.len() == other.len()
}

/// Lays `tensor` into a row of this shape, the rest of which is `pad`, one element. `row` is made anew.
pub(crate) fn fill(row: &mut Vec<u8>, shape: &[usize], tensor: &Tensor, pad: &[u8]) {
    let size = tensor.dtype.size();
    let len = shape.iter().product::<usize>() * size;
    row.clear();
    match pad.iter().all(|byte| Some(byte) == pad.first()) {
        true => row.resize(len, pad.first().copied().unwrap_or(0)),
        false => {
            row.extend_from_slice(pad);
            while row.len() < len {
                row.extend_from_within(..row.len().min(len - row.len()));
            }
            row.truncate(len);
        }
    }
    lay(&tensor.shape, shape, size, &tensor.data, row);
}

/// Copies elements of `size` bytes from an array of the shape `from` into the corner of a larger one.
fn lay(from: &[usize], to: &[usize], size: usize, data: &[u8], into: &mut [u8]) {
    let (Some((_, inner_from)), Some((_, inner_to))) = (from.split_first(), to.split_first()) else {
        into.iter_mut().zip(data).for_each(|(to, from)| *to = *from);
        return;
    };
    if inner_from == inner_to {
        // The rest lies together on both sides.
        if let Some(into) = into.get_mut(..data.len()) {
            into.copy_from_slice(data);
        }
        return;
    }
    let step = |inner: &[usize]| inner.iter().product::<usize>() * size;
    let (step_from, step_to) = (step(inner_from), step(inner_to));
    if step_from == 0 || step_to == 0 {
        return;
    }
    let rows = data.chunks_exact(step_from).zip(into.chunks_exact_mut(step_to));
    rows.for_each(|(data, into)| lay(inner_from, inner_to, size, data, into));
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use cresset_task::DType;
    use proptest::prelude::*;

    use super::*;

    fn tensor(dtype: DType, shape: &[usize], data: &[u8]) -> Tensor {
        Tensor::new(dtype, shape.to_vec(), Bytes::copy_from_slice(data)).unwrap()
    }

    fn filled(shape: &[usize], tensor: &Tensor, pad: &[u8]) -> Vec<u8> {
        let mut row = vec![9; 3];
        fill(&mut row, shape, tensor, pad);
        row
    }

    #[test]
    fn the_end_of_each_dimension_is_padding() {
        let small = tensor(DType::Uint8, &[2, 3], b"abcdef");
        assert_eq!(filled(&[2, 3], &small, b"."), b"abcdef");
        assert_eq!(filled(&[3, 3], &small, b"."), b"abcdef...");
        assert_eq!(filled(&[2, 5], &small, b"."), b"abc..def..");
        assert_eq!(filled(&[3, 4], &small, b"."), b"abc.def.....");
        let none = tensor(DType::Uint8, &[2, 0], b"");
        assert_eq!(filled(&[2, 2], &none, b"."), b"....");
        assert_eq!(filled(&[2, 0], &none, b"."), b"");
        assert_eq!(filled(&[], &tensor(DType::Uint8, &[], b"x"), b"."), b"x");
    }

    #[test]
    fn wide_elements_are_padded_whole() {
        let small = tensor(DType::Int32, &[1], &7_i32.to_le_bytes());
        let row = filled(&[4], &small, &(-2_i32).to_le_bytes());
        let numbers: Vec<_> = row
            .chunks(4)
            .map(|b| i32::from_le_bytes(b.try_into().unwrap()))
            .collect();
        assert_eq!(numbers, [7, -2, -2, -2]);
    }

    #[test]
    fn shapes_of_one_rank_are_widened_together() {
        let mut shape = vec![2, 9];
        assert!(widen(&mut shape, &[4, 3]));
        assert_eq!(shape, [4, 9]);
        assert!(!widen(&mut shape, &[1]));
    }

    proptest! {
        /// Element by element, as one would write it down.
        #[test]
        fn every_element_stands_at_its_index(
            dims in proptest::collection::vec((0_usize..4, 0_usize..3), 0..4), wide in any::<bool>(),
        ) {
            let from: Vec<_> = dims.iter().map(|(size, _)| *size).collect();
            let to: Vec<_> = dims.iter().map(|(size, more)| size + more).collect();
            let (dtype, pad) = if wide { (DType::Int16, &[1_u8, 2][..]) } else { (DType::Uint8, &[3_u8][..]) };
            let size = dtype.size();
            let data: Vec<u8> = (0..from.iter().product::<usize>() * size).map(|n| n as u8 ^ 0x80).collect();
            let row = filled(&to, &tensor(dtype, &from, &data), pad);
            let count: usize = to.iter().product();
            prop_assert_eq!(row.len(), count * size);
            for at in 0..count {
                let mut rest = at;
                let mut index = vec![0; to.len()];
                for (place, dim) in index.iter_mut().zip(&to).rev() {
                    *place = rest % dim;
                    rest /= dim;
                }
                let inside = index.iter().zip(&from).all(|(i, n)| i < n);
                let flat = index.iter().zip(&from).fold(0, |sum, (i, n)| sum * n + i) * size;
                let want = if inside { &data[flat..flat + size] } else { pad };
                prop_assert_eq!(&row[at * size..(at + 1) * size], want);
            }
        }
    }
}
