//! Every key inside `[[inputs]]` and `[[outputs]]`: what it takes, its bounds, its words.

use cresset_task::DType;

use crate::field::{Field, Key};
use crate::model_values::{set_dtype, set_tensor_name};

/// One of `[[inputs]]` or `[[outputs]]`, as far as it has been read.
#[derive(Default)]
pub(crate) struct TensorDraft {
    pub(crate) name: Option<String>,
    pub(crate) dtype: Option<DType>,
    pub(crate) shape: Option<Vec<i64>>,
    pub(crate) allow_non_finite: bool,
    /// The number as JSON would write it.
    pub(crate) pad: Option<String>,
}

/// The keys of one of `[[inputs]]` or `[[outputs]]`.
pub(crate) const TENSOR_KEYS: &[Key<TensorDraft>] = &[
    Key {
        path: "name",
        doc: "The tensor's name, by which requests and results call it. Unique among the inputs, and among the outputs.",
        default: Some("required"),
        example: Some(r#""pixels""#),
        field: Field::Text {
            form: "a name in quotes",
            get: |t| t.name.clone(),
            set: set_tensor_name,
        },
    },
    Key {
        path: "dtype",
        doc: "The element type: `bool`, `uint8`, `int8`, `int16`, `int32`, `int64`, `float16`, `bfloat16`, `float32`, \
              `float64`, `uint16`, `uint32` or `uint64`.",
        default: Some("required"),
        example: Some(r#""float32""#),
        field: Field::Text {
            form: "an element type in quotes, such as \"float32\"",
            get: |t| t.dtype.map(|d| d.to_string()),
            set: set_dtype,
        },
    },
    Key {
        path: "shape",
        doc: "The size along each dimension of one item, without the batch dimension; -1 is free; `[]` is a single number.",
        default: Some("required"),
        example: Some("[1, 8, 8]"),
        field: Field::ByHand("array of sizes, each 1 or more, or -1"),
    },
    Key {
        path: "allow_non_finite",
        doc: "For an output: NaN and infinity are a result, given as null, and not an error.",
        default: None,
        example: None,
        field: Field::Bool {
            get: |t| t.allow_non_finite,
            set: |t, b| t.allow_non_finite = b,
        },
    },
    Key {
        path: "pad",
        doc: "For an input with free dimensions: items of unequal size go into one batch, and the smaller ones are filled up \
              with this number, at the end of each free dimension, to the largest of the batch. The model sees the padded \
              tensor only and must tell padding by its value, or by another input such as a mask; what it gives back is \
              not cut. See `batching.max_padding`.",
        default: Some("none: only items of equal shape go together"),
        example: Some("0"),
        field: Field::ByHand("number that the element type can hold"),
    },
];
