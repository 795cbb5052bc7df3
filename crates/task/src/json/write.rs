//! Tensors to JSON: nested arrays of the shortest numbers that read back as the same value in the same type.

use super::narrow::{widen_bfloat16, widen_float16};
use crate::dtype::DType;
use crate::tensor::{Tensor, TensorSet};

/// Bytes that a number and its comma take, usually: room for them is made beforehand.
const USUAL_LEN: usize = 12;

/// Appends the set as JSON: a nested array when there is one tensor, else an object from name to array.
pub fn write_outputs(set: &TensorSet, out: &mut Vec<u8>) {
    if let [(_, tensor)] = set.0.as_slice() {
        return write_tensor(tensor, out);
    }
    out.push(b'{');
    for (i, (name, tensor)) in set.0.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        out.extend_from_slice(serde_json::Value::from(&**name).to_string().as_bytes());
        out.push(b':');
        write_tensor(tensor, out);
    }
    out.push(b'}');
}

/// Appends one tensor as a nested array, or a bare number for a scalar. NaN and infinity, which JSON has not, become
/// null; they get here only from outputs that are declared to allow them.
pub fn write_tensor(tensor: &Tensor, out: &mut Vec<u8>) {
    out.reserve(tensor.data.len() / tensor.dtype.size() * USUAL_LEN);
    let data = &tensor.data[..];
    let shape = &tensor.shape[..];
    match tensor.dtype {
        DType::Bool => arrays(shape, data, out, |[b]: [u8; 1], out| {
            out.extend_from_slice(if b == 0 { b"false" } else { b"true" })
        }),
        DType::Uint8 => arrays(shape, data, out, |b, out| integer(u8::from_le_bytes(b), out)),
        DType::Int8 => arrays(shape, data, out, |b, out| integer(i8::from_le_bytes(b), out)),
        DType::Int16 => arrays(shape, data, out, |b, out| integer(i16::from_le_bytes(b), out)),
        DType::Int32 => arrays(shape, data, out, |b, out| integer(i32::from_le_bytes(b), out)),
        DType::Int64 => arrays(shape, data, out, |b, out| integer(i64::from_le_bytes(b), out)),
        DType::Uint16 => arrays(shape, data, out, |b, out| integer(u16::from_le_bytes(b), out)),
        DType::Uint32 => arrays(shape, data, out, |b, out| integer(u32::from_le_bytes(b), out)),
        DType::Uint64 => arrays(shape, data, out, |b, out| integer(u64::from_le_bytes(b), out)),
        DType::Float16 => arrays(shape, data, out, |b, out| {
            float32(widen_float16(u16::from_le_bytes(b)), out)
        }),
        DType::Bfloat16 => arrays(shape, data, out, |b, out| {
            float32(widen_bfloat16(u16::from_le_bytes(b)), out)
        }),
        DType::Float32 => arrays(shape, data, out, |b, out| float32(f32::from_le_bytes(b), out)),
        DType::Float64 => arrays(shape, data, out, |b, out| float64(f64::from_le_bytes(b), out)),
    }
}

/// `data`, elements of `N` bytes, as arrays nested along `shape`. A tensor has exactly the bytes of its shape, so every
/// division here is exact.
fn arrays<const N: usize>(
    shape: &[usize],
    data: &[u8],
    out: &mut Vec<u8>,
    write: impl Fn([u8; N], &mut Vec<u8>) + Copy,
) {
    let Some((size, inner)) = shape.split_first() else {
        if let Some(bytes) = data.first_chunk() {
            write(*bytes, out);
        }
        return;
    };
    out.push(b'[');
    if inner.is_empty() {
        for (i, bytes) in data.as_chunks().0.iter().enumerate() {
            if i > 0 {
                out.push(b',');
            }
            write(*bytes, out);
        }
    } else {
        let len = data.len().checked_div(*size).unwrap_or(0);
        for i in 0..*size {
            if i > 0 {
                out.push(b',');
            }
            arrays(inner, &data[i * len..(i + 1) * len], out, write);
        }
    }
    out.push(b']');
}

fn integer(n: impl itoa::Integer, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(n).as_bytes());
}

fn float32(x: f32, out: &mut Vec<u8>) {
    if x.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(x).as_bytes());
    } else {
        out.extend_from_slice(b"null");
    }
}

fn float64(x: f64, out: &mut Vec<u8>) {
    if x.is_finite() {
        out.extend_from_slice(zmij::Buffer::new().format_finite(x).as_bytes());
    } else {
        out.extend_from_slice(b"null");
    }
}
