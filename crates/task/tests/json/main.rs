//! Reading and writing tensors as JSON, held against serde_json and the standard library.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of these tests may")]

mod differential;
mod examples;
mod oracle;
mod properties;

use cresset_task::json::{InputError, parse_tensor};
use cresset_task::{DType, Tensor, TensorSpec};

fn spec(name: &str, dtype: DType, shape: &[i64]) -> TensorSpec {
    TensorSpec {
        name: name.into(),
        dtype,
        shape: shape.into(),
        allow_non_finite: false,
        pad: None,
    }
}

fn read(text: &str, dtype: DType, shape: &[i64]) -> Result<Tensor, InputError> {
    parse_tensor(text.as_bytes(), &spec("x", dtype, shape))
}

fn floats(tensor: &Tensor) -> Vec<f32> {
    tensor
        .data
        .chunks_exact(4)
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

fn complain(text: &str, dtype: DType, shape: &[i64]) -> String {
    read(text, dtype, shape).unwrap_err().to_string()
}
