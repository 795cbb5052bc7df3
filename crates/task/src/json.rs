//! JSON to tensors and back, without a tree in between.
//!
//! A request's array goes from its text straight into the bytes of a tensor: an image of 3 x 64 x 64 has 12,288 numbers,
//! and a tree of values would cost more than the model's own work on small models. The scanner checks the whole grammar
//! (RFC 8259) while it reads, so nothing but JSON passes: no `NaN`, no `+1`, no `01`, no `1.`.
//!
//! What it must not do: guess. A ragged array, a size that was not declared, a number that does not fit the element type
//! are errors with their place. Depth is bounded by the declared dimensions, memory by [`TENSOR_BYTES_MAX`].

mod fault;
mod narrow;
mod number;
mod parse;
mod scan;
mod write;

pub use write::{write_outputs, write_tensor};

use bytes::Bytes;

use crate::tensor::{Shape, Tensor, TensorSet, TensorSpec};
use parse::{RowSink, read_first_inputs, read_inputs, read_one};

/// Bytes of one tensor of one item at most. No request body is allowed to be larger, and four bytes of tensor from one
/// byte of JSON (`0,` as a float64) is the most there can be.
pub const TENSOR_BYTES_MAX: usize = 1 << 30;

/// A JSON value that is not the tensor that was declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InputError {
    /// Where, as a path from the value's root: `` (the value itself), `[3][1]`, `pixels[0]`.
    pub path: String,
    /// What was wrong and what would be right.
    pub message: String,
}

impl std::fmt::Display for InputError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let colon = if self.path.is_empty() { "" } else { ": " };
        write!(f, "{}{colon}{}", self.path, self.message)
    }
}

impl std::error::Error for InputError {}

/// One tensor from a nested JSON array (or bare number for a scalar).
pub fn parse_tensor(json: &[u8], spec: &TensorSpec) -> Result<Tensor, InputError> {
    let mut data = Vec::new();
    let shape = read_one(json, spec, &mut data)?;
    Ok(Tensor {
        dtype: spec.dtype,
        shape,
        data: Bytes::from(data),
    })
}

/// The same straight into `row`, such as a row of a batch in shared memory. Gives the shape and how many bytes of `row`
/// were written. On an error `row` may be partly written.
pub fn parse_tensor_into(
    json: &[u8],
    spec: &TensorSpec,
    row: &mut [u8],
) -> Result<(Shape, usize), InputError> {
    let mut sink = RowSink::new(row);
    let shape = read_one(json, spec, &mut sink)?;
    Ok((shape, sink.written()))
}

/// All inputs of one item at the start of `json`, as [`parse_inputs`] takes them, and how many bytes they are. What follows is
/// not looked at.
pub fn parse_first_inputs(json: &[u8], specs: &[TensorSpec]) -> Result<(TensorSet, usize), InputError> {
    Ok(read_first_inputs(json, specs)?)
}

/// All inputs of one item: a nested array when one input is declared, or an object from input name to array.
pub fn parse_inputs(json: &[u8], specs: &[TensorSpec]) -> Result<TensorSet, InputError> {
    Ok(read_inputs(json, specs)?)
}
