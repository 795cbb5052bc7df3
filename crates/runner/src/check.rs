//! Is what an instance answered what the model declares? Turns an answer into the ends of the batch's items.
//!
//! A wrong name, element type or shape is the model's mistake and fails every item of the batch, saying what was given
//! and what model.toml says. NaN and infinity fail the items that hold them. Bytes that are not where the protocol lets
//! them be are no mistake of the model but of the instance: [`BrokenRules`], and the instance is killed.

use std::sync::Arc;

use bytes::Bytes;
use cresset_task::{Code, DType, Failure, Payload, Stage, Tensor, TensorSet, TensorSpec};

use crate::port::{ItemEnd, JobEnd};
use crate::slab::Slab;
use crate::wire::{Answer, Descriptor, ItemAnswer, Kind, SlotInfo, WireError, WireFailure};

/// The name of the one output of a model that names none.
const OUTPUT_NAME: &str = "output";

/// The answer breaks the runner protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BrokenRules {
    #[error("an output of {len} bytes at {at} is not in the output region of slot {slot}")]
    OutsideRegion { at: u64, len: u64, slot: u32 },
    #[error("{0} outputs of a model that declares none came without names")]
    NoNames(usize),
    #[error("a piece of a result is not JSON: {0}")]
    Chunk(String),
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// The slot that an answer may lie in.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) number: u32,
    pub(crate) info: SlotInfo,
    pub(crate) slab: Arc<Slab>,
}

/// Ends of the items of a batch that was answered with tensors.
pub(crate) fn tensors(
    specs: &[TensorSpec],
    answer: Answer,
    slot: &Slot,
    batch: usize,
) -> Result<JobEnd, BrokenRules> {
    let all_fail = |message: String| {
        let end = ItemEnd::Failed(failure(Code::BadOutput, message));
        Ok(JobEnd::Items(vec![end; batch]))
    };
    let order = match order(specs, &answer)? {
        Ok(order) => order,
        Err(message) => return all_fail(message),
    };
    for (name, spec, at) in &order {
        if let Err(message) = fits(name, *spec, &answer.tensors[*at], batch) {
            return all_fail(message);
        }
    }
    let mut sets = vec![Vec::with_capacity(order.len()); batch];
    let mut fails: Vec<Option<Failure>> = vec![None; batch];
    for (name, spec, at) in order {
        let tensor = &answer.tensors[at];
        let data = bytes_of(tensor, &answer, slot)?;
        let shape: Vec<usize> = tensor.dims[1..].iter().map(|d| *d as usize).collect();
        let row = data.len() / batch;
        let check = tensor.dtype.is_float() && !spec.is_some_and(|s| s.allow_non_finite);
        for (i, (set, fail)) in sets.iter_mut().zip(&mut fails).enumerate() {
            let data = data.slice(i * row..(i + 1) * row);
            if check && fail.is_none() && has_non_finite(tensor.dtype, &data) {
                *fail = Some(non_finite(&name, tensor.dtype, &shape, &data));
            }
            set.push((
                name.clone(),
                Tensor {
                    dtype: tensor.dtype,
                    shape: shape.clone(),
                    data,
                },
            ));
        }
    }
    let ends = sets.into_iter().zip(fails).map(|(set, fail)| match fail {
        None => ItemEnd::Done(Payload::Tensors(TensorSet(set))),
        Some(fail) => ItemEnd::Failed(fail),
    });
    Ok(JobEnd::Items(ends.collect()))
}

/// Ends of the items of a batch that was answered with JSON values.
pub(crate) fn objects(answers: Vec<ItemAnswer>) -> Result<JobEnd, BrokenRules> {
    let ends = answers.into_iter().map(|answer| match answer {
        ItemAnswer::Skipped => Ok(ItemEnd::Skipped),
        ItemAnswer::Failure(text) => Ok(ItemEnd::Failed(
            WireFailure::decode(Kind::DoneObjects, &text)?.into_failure(),
        )),
        ItemAnswer::Result(text) => Ok(match is_json(&text) {
            Ok(()) => ItemEnd::Done(Payload::Json(text)),
            Err(why) => ItemEnd::Failed(failure(Code::BadOutput, format!("the result is not JSON: {why}"))),
        }),
    });
    Ok(JobEnd::Items(ends.collect::<Result<_, BrokenRules>>()?))
}

/// A piece of a result is a JSON value.
pub(crate) fn chunk(text: &[u8]) -> Result<(), BrokenRules> {
    is_json(text).map_err(BrokenRules::Chunk)
}

fn is_json(text: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(text).map_err(|e| e.to_string())?;
    serde_json::from_str::<serde::de::IgnoredAny>(text)
        .map(drop)
        .map_err(|e| e.to_string())
}

fn failure(code: Code, message: String) -> Failure {
    let type_ = if code == Code::NonFiniteOutput {
        "NonFiniteOutput"
    } else {
        "BadOutput"
    };
    Failure {
        stage: Some(Stage::Output),
        ..Failure::new(code, type_, message)
    }
}

type Ordered<'a> = Vec<(Arc<str>, Option<&'a TensorSpec>, usize)>;

/// Which tensor is which output: in declared order, or as the model named them.
fn order<'a>(specs: &'a [TensorSpec], answer: &Answer) -> Result<Result<Ordered<'a>, String>, BrokenRules> {
    let given = answer.tensors.len();
    if specs.is_empty() {
        return match &answer.names {
            _ if given == 0 => Ok(Err("the model gave no output".into())),
            Some(names) => match first_twice(names) {
                Some(twice) => Ok(Err(format!("the model gave two outputs named `{twice}`"))),
                None => Ok(Ok(names
                    .iter()
                    .enumerate()
                    .map(|(at, n)| (n.as_str().into(), None, at))
                    .collect())),
            },
            None if given == 1 => Ok(Ok(vec![(OUTPUT_NAME.into(), None, 0)])),
            None => Err(BrokenRules::NoNames(given)),
        };
    }
    let declared = || {
        specs
            .iter()
            .map(|s| format!("`{}`", s.name))
            .collect::<Vec<_>>()
            .join(", ")
    };
    if let Some(names) = &answer.names {
        if let Some(extra) = names.iter().find(|n| specs.iter().all(|s| *s.name != ***n)) {
            return Ok(Err(format!(
                "the model gave an output `{extra}`, model.toml declares {}",
                declared()
            )));
        }
        let found = specs.iter().map(|spec| {
            let at = names.iter().position(|n| **n == *spec.name);
            at.map(|at| (spec.name.clone(), Some(spec), at)).ok_or_else(|| {
                format!(
                    "output `{}` is missing, model.toml declares {}",
                    spec.name,
                    declared()
                )
            })
        });
        return Ok(found.collect());
    }
    if given != specs.len() {
        let plural = if given == 1 { "" } else { "s" };
        return Ok(Err(format!(
            "the model gave {given} output{plural}, model.toml declares {}: {}",
            specs.len(),
            declared()
        )));
    }
    Ok(Ok(specs
        .iter()
        .enumerate()
        .map(|(at, spec)| (spec.name.clone(), Some(spec), at))
        .collect()))
}

fn first_twice(names: &[String]) -> Option<&String> {
    names
        .iter()
        .enumerate()
        .find(|(i, name)| names[..*i].contains(name))
        .map(|(_, name)| name)
}

fn fits(name: &str, spec: Option<&TensorSpec>, tensor: &Descriptor, batch: usize) -> Result<(), String> {
    let rows = tensor.dims[0] as usize;
    if rows != batch {
        let plural = if rows == 1 { "" } else { "s" };
        return Err(format!(
            "output `{name}` has {rows} row{plural} for a batch of {batch}; its first dimension is the batch"
        ));
    }
    let Some(spec) = spec else { return Ok(()) };
    if tensor.dtype != spec.dtype {
        return Err(format!(
            "output `{name}` is {}, model.toml says {}",
            tensor.dtype, spec.dtype
        ));
    }
    let shape: Vec<usize> = tensor.dims[1..].iter().map(|d| *d as usize).collect();
    if !spec.admits(&shape) {
        return Err(format!(
            "output `{name}` has shape {shape:?}, model.toml says {:?}",
            spec.shape
        ));
    }
    Ok(())
}

/// The private bytes of a stacked output.
fn bytes_of(tensor: &Descriptor, answer: &Answer, slot: &Slot) -> Result<Bytes, BrokenRules> {
    let (at, len) = (tensor.offset, tensor.nbytes);
    let outside = || BrokenRules::OutsideRegion {
        at,
        len,
        slot: slot.number,
    };
    if let Some(inline) = &answer.inline {
        let end = at
            .checked_add(len)
            .filter(|end| *end <= inline.len() as u64)
            .ok_or_else(outside)?;
        return Ok(inline.slice(at as usize..end as usize));
    }
    let region = slot.info.output_offset..=slot.info.output_offset + slot.info.output_len;
    match at.checked_add(len) {
        Some(end) if region.contains(&at) && region.contains(&end) => {
            slot.slab.read(at, len).map_err(|_| outside())
        }
        _ => Err(outside()),
    }
}

/// True when an element is NaN or infinite, that is, all its exponent bits are set. Looks at every element rather than
/// stopping at the first: almost always there is none, and the loop without an exit is vectorised.
fn has_non_finite(dtype: DType, data: &[u8]) -> bool {
    fn any<const N: usize>(data: &[u8], bad: impl Fn([u8; N]) -> bool) -> bool {
        data.as_chunks()
            .0
            .iter()
            .fold(false, |found, element| found | bad(*element))
    }
    match dtype {
        DType::Float32 => any(data, |e| is_full(u32::from_le_bytes(e), 0x7f80_0000)),
        DType::Float64 => any(data, |e| is_full(u64::from_le_bytes(e), 0x7ff0_0000_0000_0000)),
        DType::Float16 => any(data, |e| is_full(u16::from_le_bytes(e), 0x7c00)),
        DType::Bfloat16 => any(data, |e| is_full(u16::from_le_bytes(e), 0x7f80)),
        _ => false,
    }
}

fn is_full<T: Copy + PartialEq + std::ops::BitAnd<Output = T>>(bits: T, exponent: T) -> bool {
    bits & exponent == exponent
}

/// Names the first element that is not finite.
fn non_finite(name: &str, dtype: DType, shape: &[usize], data: &[u8]) -> Failure {
    let size = dtype.size();
    let mut at = data
        .chunks_exact(size)
        .position(|e| has_non_finite(dtype, e))
        .unwrap_or(0);
    let mut index = vec![0; shape.len()];
    for (place, size) in index.iter_mut().zip(shape).rev() {
        *place = at % size;
        at /= size;
    }
    let place = if index.is_empty() {
        String::new()
    } else {
        format!(" at {index:?}")
    };
    failure(
        Code::NonFiniteOutput,
        format!("output `{name}` is NaN or infinite{place}"),
    )
}

#[cfg(test)]
mod tests;
