//! One tensor as a NumPy `.npy` file: versions 1.0, 2.0 and 3.0, row-major, little-endian.
//!
//! Reading shares the file's memory. Only what is already laid out as Cresset keeps tensors is taken: turning columns
//! into rows or swapping bytes would be a copy that nobody asked for, and the caller's NumPy does it in one word, which
//! the error names. The header is a Python literal; what is read of it is the one dictionary that NumPy writes, by hand
//! and in one pass, never by anything that evaluates.

use bytes::Bytes;

use crate::dtype::DType;
use crate::tensor::{RANK_MAX, Shape, Tensor};

mod header;

/// What every file begins with.
const MAGIC: &[u8; 6] = b"\x93NUMPY";
/// Data begins at a multiple of this, as in files that NumPy writes.
const ALIGNMENT: usize = 64;

/// The file is not one that is read here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NpyError {
    /// It does not begin as such files do.
    #[error("it does not begin with the bytes \\x93NUMPY")]
    Magic,
    /// It ends within its header.
    #[error("it ends within its header")]
    CutShort,
    /// It is of a version that is not known.
    #[error("it has version {0}.{1}; known are 1.0, 2.0 and 3.0")]
    Version(u8, u8),
    /// The header is not the dictionary that NumPy writes.
    #[error("its header is wrong at byte {at}: {what}")]
    Header {
        /// From the file's first byte.
        at: usize,
        /// What is wrong there.
        what: &'static str,
    },
    /// There are more or fewer bytes behind the header than it says.
    #[error("its header says {dtype} {shape:?}: {want} bytes of data, got {got}")]
    Length {
        /// The element type in the header.
        dtype: DType,
        /// The shape in the header.
        shape: Shape,
        /// What they ask for.
        want: usize,
        /// What there is.
        got: usize,
    },
    /// The header's shape needs more bytes than can be counted, or has too many dimensions.
    #[error("its shape is too large, or has more than {RANK_MAX} dimensions")]
    Shape,
    /// A sound file, but column by column.
    #[error("it is in Fortran order (columns first); save numpy.ascontiguousarray(x)")]
    FortranOrder,
    /// A sound file, but with the high bytes first.
    #[error("its elements are big-endian ({0}); save x.astype(x.dtype.newbyteorder('<'))")]
    BigEndian(String),
    /// A sound file, but of elements that no tensor has.
    #[error(
        "its elements are of NumPy's type {0}, which no input has; save x.astype(...) with the declared type"
    )]
    ElementType(String),
}

impl NpyError {
    /// True when the file is sound, but holds what is not taken; false when it is damaged or no such file at all.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        matches!(
            self,
            Self::FortranOrder | Self::BigEndian(_) | Self::ElementType(_)
        )
    }
}

/// The element type has no name in NumPy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} has no .npy form: NumPy does not know the type")]
pub struct NoNpyForm(pub DType);

/// True when the element type has a name in NumPy.
#[must_use]
pub const fn has_form(dtype: DType) -> bool {
    kind(dtype).is_some()
}

/// Reads a whole file. The data shares `file`'s memory. Never panics on foreign bytes.
pub fn parse(file: &Bytes) -> Result<(DType, Shape, Bytes), NpyError> {
    let (text, start) = locate(file)?;
    let head = header::read(&file[text..start], text)?;
    let dtype = element_type(head.descr)?;
    if head.fortran_order {
        return Err(NpyError::FortranOrder);
    }
    let want = head
        .shape
        .iter()
        .try_fold(dtype.size(), |n, d| n.checked_mul(*d))
        .ok_or(NpyError::Shape)?;
    let data = file.slice(start..);
    if data.len() != want {
        let got = data.len();
        let shape = head.shape;
        return Err(NpyError::Length {
            dtype,
            shape,
            want,
            got,
        });
    }
    Ok((dtype, head.shape, data))
}

/// The tensor as a file, of version 1.0.
pub fn write(tensor: &Tensor) -> Result<Vec<u8>, NoNpyForm> {
    let descr = descr(tensor.dtype).ok_or(NoNpyForm(tensor.dtype))?;
    let mut sizes: String = tensor.shape.iter().map(|size| format!("{size}, ")).collect();
    // A tuple of one keeps its comma, longer ones do without, as NumPy writes them.
    let kept = sizes.trim_end_matches(' ').len();
    sizes.truncate(if tensor.shape.len() == 1 {
        kept
    } else {
        kept.saturating_sub(1)
    });
    let mut text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({sizes}), }}");
    let before = MAGIC.len() + 4; // the version's two bytes and the length's two
    let end = (before + text.len() + 1).next_multiple_of(ALIGNMENT);
    text.extend(std::iter::repeat_n(' ', end - before - text.len() - 1));
    text.push('\n');
    let length = u16::try_from(text.len()).expect("RANK_MAX sizes of 20 digits are far below 64 KiB");
    let mut file = Vec::with_capacity(end + tensor.data.len());
    file.extend_from_slice(MAGIC);
    file.extend_from_slice(&[1, 0]);
    file.extend_from_slice(&length.to_le_bytes());
    file.extend_from_slice(text.as_bytes());
    file.extend_from_slice(&tensor.data);
    Ok(file)
}

/// Where the header's text begins and where it ends, which is where the data begins.
fn locate(file: &[u8]) -> Result<(usize, usize), NpyError> {
    let rest = file.strip_prefix(MAGIC).ok_or(NpyError::Magic)?;
    let (version, rest) = rest.split_first_chunk::<2>().ok_or(NpyError::CutShort)?;
    let (text, length) = match *version {
        [1, 0] => {
            let length = rest.first_chunk::<2>().ok_or(NpyError::CutShort)?;
            (10, u32::from(u16::from_le_bytes(*length)))
        }
        [2 | 3, 0] => {
            let length = rest.first_chunk::<4>().ok_or(NpyError::CutShort)?;
            (12, u32::from_le_bytes(*length))
        }
        [major, minor] => return Err(NpyError::Version(major, minor)),
    };
    let end = usize::try_from(length)
        .ok()
        .and_then(|length| length.checked_add(text))
        .filter(|end| *end <= file.len())
        .ok_or(NpyError::CutShort)?;
    Ok((text, end))
}

/// NumPy's name of an element type, without its byte order.
const fn kind(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::Bool => "b1",
        DType::Uint8 => "u1",
        DType::Int8 => "i1",
        DType::Int16 => "i2",
        DType::Int32 => "i4",
        DType::Int64 => "i8",
        DType::Float16 => "f2",
        DType::Bfloat16 => return None,
        DType::Float32 => "f4",
        DType::Float64 => "f8",
        DType::Uint16 => "u2",
        DType::Uint32 => "u4",
        DType::Uint64 => "u8",
    })
}

/// NumPy's name of an element type.
fn descr(dtype: DType) -> Option<String> {
    let order = if dtype.size() == 1 { '|' } else { '<' };
    Some(format!("{order}{}", kind(dtype)?))
}

/// The element type of a header's `descr`. A type of one byte may carry any byte order: it has none.
fn element_type(descr: &str) -> Result<DType, NpyError> {
    let unknown = || NpyError::ElementType(shown(descr));
    let name = descr.strip_prefix(['<', '>', '|', '=']).unwrap_or(descr);
    let dtype = DType::ALL
        .iter()
        .copied()
        .find(|dtype| kind(*dtype) == Some(name))
        .ok_or_else(unknown)?;
    match descr.as_bytes().first() {
        _ if dtype.size() == 1 => Ok(dtype),
        Some(b'<') => Ok(dtype),
        Some(b'>') => Err(NpyError::BigEndian(shown(descr))),
        // `=` is the order of the machine that wrote it, and no mark says nothing: neither is known here.
        _ => Err(unknown()),
    }
}

/// A type's name, short enough to be told back.
fn shown(descr: &str) -> String {
    const MAX: usize = 40;
    let cut = descr.char_indices().nth(MAX).map_or(descr.len(), |(at, _)| at);
    let more = if cut < descr.len() { "..." } else { "" };
    format!("{}{more}", descr[..cut].escape_debug())
}

#[cfg(test)]
mod tests;
