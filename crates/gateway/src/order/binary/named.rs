//! A body of named tensors, for a model of any number of inputs: a safetensors file.
//!
//! The file says names, types and shapes itself; each is held to the declaration, and everything that differs is told at
//! once, by the input's name.

use std::sync::Arc;

use axum::http::HeaderMap;
use bytes::Bytes;
use cresset_task::safetensors::{self, SafetensorsError};
use cresset_task::{Code, DType, Tensor, TensorSet, TensorSpec};

use super::{INPUT, check_bools, error, title};
use crate::media::{DTYPE, SHAPE};
use crate::nearest::nearest;
use crate::problem::{FIELD_ERRORS_MAX, Problem};
use crate::schema::FieldError;

/// What is known of the tensors before their bytes.
pub(super) struct Named {
    specs: Vec<TensorSpec>,
}

impl Named {
    /// Refuses headers that say what the file says.
    pub(super) fn new(specs: &[TensorSpec], headers: &HeaderMap, errors: &mut Vec<FieldError>) -> Self {
        for (name, what) in [(&SHAPE, "shapes"), (&DTYPE, "types")] {
            if headers.contains_key(name) {
                let message =
                    format!("goes with a body of one tensor; a safetensors file says its {what} itself");
                errors.push(error(title(name), message));
            }
        }
        Self {
            specs: specs.to_vec(),
        }
    }

    /// How many of the body's bytes its reading looks at: the header, and every bool.
    pub(super) fn work(&self, body: &[u8]) -> usize {
        if self.specs.iter().any(|spec| spec.dtype == DType::Bool) {
            return body.len();
        }
        safetensors::head_len(body)
    }

    /// The tensors, in declared order.
    pub(super) fn read(self, body: &Bytes) -> Result<TensorSet, Problem> {
        let TensorSet(given) = safetensors::parse(body).map_err(|error| refused(&error))?;
        let mut errors = Vec::new();
        let mut found: Vec<Option<Tensor>> = self.specs.iter().map(|_| None).collect();
        for (name, tensor) in given {
            match self.specs.iter().position(|spec| spec.name == name) {
                None => errors.push(wrong(&name, self.unknown(&name))),
                Some(at) => match fits(&tensor, &self.specs[at]) {
                    Err(message) => errors.push(wrong(&name, message)),
                    Ok(()) => found[at] = Some(tensor),
                },
            }
            // One more than will be told, so that "more" can be said.
            if errors.len() > FIELD_ERRORS_MAX {
                return Err(Problem::fields(errors));
            }
        }
        let mut set = Vec::with_capacity(found.len());
        for (spec, tensor) in self.specs.iter().zip(found) {
            let is_wrong = || errors.iter().any(|e| e.field == field(&spec.name));
            match tensor {
                Some(tensor) => set.push((Arc::clone(&spec.name), tensor)),
                None if is_wrong() => {}
                None => errors.push(wrong(
                    &spec.name,
                    format!("is missing; must be {}", declared(spec)),
                )),
            }
        }
        if errors.is_empty() {
            Ok(TensorSet(set))
        } else {
            Err(Problem::fields(errors))
        }
    }

    fn unknown(&self, name: &str) -> String {
        let known: Vec<&str> = self.specs.iter().map(|spec| &*spec.name).collect();
        match nearest(name, &known) {
            Some(near) => format!("no such input; did you mean \"{near}\"?"),
            None => {
                let known: Vec<_> = known.iter().map(|name| format!("\"{name}\"")).collect();
                format!("no such input; the inputs are {}", known.join(", "))
            }
        }
    }
}

/// Holds a tensor to its declaration.
fn fits(tensor: &Tensor, spec: &TensorSpec) -> Result<(), String> {
    if tensor.dtype != spec.dtype || !spec.admits(&tensor.shape) {
        return Err(format!(
            "is {} {:?}; must be {}",
            tensor.dtype,
            tensor.shape,
            declared(spec)
        ));
    }
    check_bools(tensor)
}

/// `float32 [1, 8, 8]`.
fn declared(spec: &TensorSpec) -> String {
    format!("{} {:?}", spec.dtype, spec.shape)
}

/// The path of an input, as it is in a JSON body.
fn field(name: &str) -> String {
    /// As long as declared names may be, in characters.
    const SHOWN_MAX: usize = 128;
    let name: String = name.chars().take(SHOWN_MAX).collect();
    format!("{INPUT}.{name}")
}

fn wrong(name: &str, message: String) -> FieldError {
    error(&field(name), message)
}

fn refused(error: &SafetensorsError) -> Problem {
    match error.tensor() {
        Some(name) => Problem::fields(vec![wrong(name, error.to_string())]),
        None => Problem::new(
            Code::MalformedBody,
            format!("the body is not a whole safetensors file: {error}"),
        ),
    }
}
