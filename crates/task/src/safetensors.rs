//! Named tensors as one safetensors file: eight bytes of length, a JSON header of that length, the tensors' bytes.
//!
//! Reading shares the file's memory: the header is read, the data is only cut. It is stricter than the format's own
//! library where a caller would otherwise be misunderstood: a name that is given twice is an error (a map would keep one
//! of the two without a word), so is a key that no tensor has, and the header's length is bounded by what tensors of one
//! item can need. What the format demands is checked in full: every byte of the data belongs to exactly one tensor, and
//! every tensor has the bytes of its shape.

use bytes::Bytes;

use crate::dtype::DType;
use crate::tensor::{RANK_MAX, TENSORS_MAX, Tensor, TensorSet};

mod header;

/// The longest header that is read, in bytes. The most tensors a set may have, with the longest names and sizes, need a
/// third of it; what is beyond is `__metadata__`, which nobody reads here.
pub const HEADER_MAX: usize = 1 << 20;

/// What stands before the header: its length.
const LENGTH_BYTES: usize = size_of::<u64>();

/// Data begins at a multiple of this, which is the size of the largest element.
const ALIGNMENT: usize = 8;

/// The key that is no tensor: a map from text to text, about the file.
const METADATA: &str = "__metadata__";

/// The file is not one that is read here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SafetensorsError {
    /// It ends within its header.
    #[error("it ends within its header")]
    CutShort,
    /// The header is longer than any header of ours.
    #[error("its header has {0} bytes; at most {HEADER_MAX} are read")]
    HeaderTooLong(u64),
    /// The header is not the JSON object that it should be.
    #[error("its header is wrong at byte {at}: {what}")]
    Header {
        /// From the file's first byte.
        at: usize,
        /// What is wrong there.
        what: String,
    },
    /// A tensor lies where it must not, or has other bytes than its shape asks for.
    #[error("its tensor `{name}` {what}")]
    Place {
        /// The tensor's name.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// Bytes of the data belong to no tensor.
    #[error("its last {0} bytes belong to no tensor")]
    LeftOver(usize),
    /// A sound file, but for two tensors of one name.
    #[error("is in the file twice")]
    Twice {
        /// The name.
        name: String,
    },
    /// A sound file, but of elements that no tensor has.
    #[error("has elements of the type {dtype}, which no input has")]
    ElementType {
        /// The tensor's name.
        name: String,
        /// The type as the header names it.
        dtype: String,
    },
    /// A sound file, but with more dimensions than a tensor can have.
    #[error("has {rank} dimensions; a tensor has at most {RANK_MAX}")]
    Rank {
        /// The tensor's name.
        name: String,
        /// How many there are.
        rank: usize,
    },
}

impl SafetensorsError {
    /// The tensor that is not taken, when the file as such is sound; `None` when it is damaged or no such file at all.
    #[must_use]
    pub fn tensor(&self) -> Option<&str> {
        match self {
            Self::Twice { name } | Self::ElementType { name, .. } | Self::Rank { name, .. } => Some(name),
            _ => None,
        }
    }
}

/// The tensor's name is the one that the format keeps for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a tensor named {METADATA} has no safetensors form: the format keeps that name for itself")]
pub struct NoSafetensorsForm;

/// True when a tensor may have this name in a file.
#[must_use]
pub fn has_form(name: &str) -> bool {
    name != METADATA
}

/// How many of the file's bytes reading looks at: its length and its header; the data is only cut.
#[must_use]
pub fn head_len(file: &[u8]) -> usize {
    let announced = file
        .first_chunk::<LENGTH_BYTES>()
        .map_or(0, |n| u64::from_le_bytes(*n));
    let header = usize::try_from(announced).unwrap_or(usize::MAX).min(HEADER_MAX);
    file.len().min(LENGTH_BYTES + header)
}

/// Reads a whole file: its tensors, in the header's order. The data shares `file`'s memory. Never panics on foreign
/// bytes.
pub fn parse(file: &Bytes) -> Result<TensorSet, SafetensorsError> {
    let (length, rest) = file
        .split_first_chunk::<LENGTH_BYTES>()
        .ok_or(SafetensorsError::CutShort)?;
    let announced = u64::from_le_bytes(*length);
    let length = usize::try_from(announced)
        .ok()
        .filter(|length| *length <= HEADER_MAX)
        .ok_or(SafetensorsError::HeaderTooLong(announced))?;
    let text = rest.get(..length).ok_or(SafetensorsError::CutShort)?;
    let entries = header::read(text, LENGTH_BYTES)?;
    check_places(&entries, rest.len() - length)?;
    let data = file.slice(LENGTH_BYTES + length..);
    entries
        .into_iter()
        .map(|entry| tensor(entry, &data))
        .collect::<Result<_, _>>()
        .map(TensorSet)
}

/// The tensors as a file. Elements of the larger types come first in its data, so that every tensor is aligned; the
/// header has the set's own order.
pub fn write(set: &TensorSet) -> Result<Vec<u8>, NoSafetensorsForm> {
    if !set.0.iter().all(|(name, _)| has_form(name)) {
        return Err(NoSafetensorsForm);
    }
    let mut order: Vec<usize> = (0..set.0.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(set.0[*i].1.dtype.size()));
    let mut starts = vec![0; order.len()];
    let mut at = 0;
    for i in &order {
        starts[*i] = at;
        at += set.0[*i].1.data.len();
    }
    let mut file = vec![0; LENGTH_BYTES];
    file.reserve(header::about(set) + set.data_len());
    header::write(set, &starts, &mut file);
    // White space is what the format pads a header with.
    file.resize(file.len().next_multiple_of(ALIGNMENT), b' ');
    let length = (file.len() - LENGTH_BYTES) as u64;
    file[..LENGTH_BYTES].copy_from_slice(&length.to_le_bytes());
    for i in order {
        file.extend_from_slice(&set.0[i].1.data);
    }
    Ok(file)
}

/// Every byte of the data belongs to exactly one tensor.
fn check_places(entries: &[header::Entry<'_>], data_len: usize) -> Result<(), SafetensorsError> {
    let data_len = data_len as u64;
    let mut order: Vec<&header::Entry<'_>> = entries.iter().collect();
    order.sort_by_key(|entry| entry.offsets);
    let mut at = 0;
    for entry in order {
        let [start, end] = entry.offsets;
        let what = if start > end {
            format!("ends (byte {end} of the data) before it begins (byte {start})")
        } else if start < at {
            format!("begins at byte {start} of the data, within another tensor")
        } else if start > at {
            format!("begins at byte {start} of the data; the bytes from {at} on belong to no tensor")
        } else if end > data_len {
            format!("ends at byte {end} of the data, of which there are {data_len}")
        } else {
            at = end;
            continue;
        };
        return Err(SafetensorsError::Place {
            name: shown(&entry.name),
            what,
        });
    }
    match data_len - at {
        0 => Ok(()),
        left => Err(SafetensorsError::LeftOver(left as usize)),
    }
}

/// One tensor of the file; its place has been checked.
fn tensor(entry: header::Entry<'_>, data: &Bytes) -> Result<(std::sync::Arc<str>, Tensor), SafetensorsError> {
    let name = || shown(&entry.name);
    let dtype = element_type(&entry.dtype).ok_or_else(|| SafetensorsError::ElementType {
        name: name(),
        dtype: shown(&entry.dtype),
    })?;
    let rank = entry.shape.len();
    if rank > RANK_MAX {
        return Err(SafetensorsError::Rank { name: name(), rank });
    }
    let [start, end] = entry.offsets.map(|at| at as usize);
    let wrong = || {
        let shape = &entry.shape;
        SafetensorsError::Place {
            name: name(),
            what: format!("is {dtype} {shape:?}, and has {} bytes", end - start),
        }
    };
    let shape = entry
        .shape
        .iter()
        .map(|size| usize::try_from(*size).ok())
        .collect::<Option<_>>();
    let tensor = Tensor::new(dtype, shape.ok_or_else(wrong)?, data.slice(start..end)).map_err(|_| wrong())?;
    Ok((entry.name.into(), tensor))
}

/// The format's name of an element type.
const fn type_name(dtype: DType) -> &'static str {
    match dtype {
        DType::Bool => "BOOL",
        DType::Uint8 => "U8",
        DType::Int8 => "I8",
        DType::Int16 => "I16",
        DType::Int32 => "I32",
        DType::Int64 => "I64",
        DType::Float16 => "F16",
        DType::Bfloat16 => "BF16",
        DType::Float32 => "F32",
        DType::Float64 => "F64",
        DType::Uint16 => "U16",
        DType::Uint32 => "U32",
        DType::Uint64 => "U64",
    }
}

/// The element type of this name; `None` for those of the format that no tensor here has (`F8_E4M3`, `C64`, ...).
fn element_type(name: &str) -> Option<DType> {
    DType::ALL.iter().copied().find(|dtype| type_name(*dtype) == name)
}

/// A name from the file, short enough to be told back.
fn shown(text: &str) -> String {
    /// As long as declared names may be, and those of types are far shorter.
    const MAX: usize = 128;
    let cut = text.char_indices().nth(MAX).map_or(text.len(), |(at, _)| at);
    let more = if cut < text.len() { "..." } else { "" };
    format!("{}{more}", &text[..cut])
}

/// What a header names: at most this many tensors.
const ENTRIES_MAX: usize = TENSORS_MAX;

#[cfg(test)]
mod tests;
