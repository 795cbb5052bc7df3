//! The runner protocol as bytes: docs/reference/runner-protocol.md in code.
//!
//! Pure: no I/O, no clocks, no memory but what it is given. Whatever an instance sends is foreign: every decoder checks
//! lengths before it reads and refuses instead of guessing; none panics. What the bytes *mean* for a batch (is this the
//! declared output? is it finite?) is not decided here but in `check`.

mod header;
mod items;
mod live;
mod message;
mod tensor;

#[cfg(test)]
mod golden;

pub(crate) use header::{HEADER_LEN, Header, Kind, PROTOCOL};
pub(crate) use items::{ItemAnswer, decode_answers, encode_items};
pub(crate) use live::{Report, WireChunk, WireLine, decode_chunks, decode_lines, decode_progress};
pub(crate) use message::{
    BoardInfo, BoardSlot, Hello, InstanceInfo, ModelInfo, Note, Ready, Resize, Returns, SlabInfo, SlotInfo,
    Traces, WireFailure,
};
pub(crate) use tensor::{ALIGN, Answer, Descriptor, decode_answer, encode_descriptors};

use cresset_task::DType;

/// The longest body of any frame.
pub(crate) const BODY_MAX: u32 = 1 << 30;
/// The longest JSON body taken from an instance: a failure at its documented bounds, every byte escaped, is under it.
pub(crate) const JSON_BODY_MAX: u32 = 512 * 1024;
/// The longest CHUNKS: a step of a large batch, each piece a short text; or a few pieces as long as one may be.
pub(crate) const CHUNKS_BODY_MAX: u32 = 16 << 20;

/// The most dimensions on the wire, batch dimension included.
const RANK_MAX: usize = cresset_task::tensor::RANK_MAX + 1;

/// Bytes that are not the runner protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WireError {
    #[error("frame kind {0} is not known")]
    Kind(u8),
    #[error("the reserved field of a {0} frame is {1}, not 0")]
    Reserved(&'static str, u32),
    #[error("a {0} frame with flags {1:#x}")]
    Flags(&'static str, u8),
    #[error("a {kind} frame of {len} bytes, over the limit of {max}")]
    TooLong { kind: &'static str, len: u32, max: u32 },
    #[error("a {0} frame has {1} tensors")]
    TensorCount(&'static str, u16),
    #[error("a {0} frame for no items")]
    EmptyBatch(&'static str),
    #[error("a {0} frame has a body")]
    UnexpectedBody(&'static str),
    #[error("the body of a {0} frame is cut short")]
    Cut(&'static str),
    #[error("the body of a {0} frame has {1} bytes left over")]
    LeftOver(&'static str, usize),
    #[error("element type {0} is not known")]
    DType(u8),
    #[error("a tensor of rank {0}; the batch dimension makes 1 the least, and {RANK_MAX} is the most")]
    Rank(u8),
    #[error("the padding of a tensor descriptor is not 0")]
    Padding,
    #[error("a tensor with dimension {0}")]
    Dimension(i64),
    #[error("a {dtype} tensor of shape {dims:?} does not have {nbytes} bytes")]
    Size {
        dtype: DType,
        dims: Vec<i64>,
        nbytes: u64,
    },
    #[error("a tensor at offset {0}, which is not a multiple of {ALIGN}")]
    Alignment(u64),
    #[error("inline tensors are packed: offset {is}, not {want}")]
    InlineOffset { is: u64, want: u64 },
    #[error("{0} output names for {1} tensors")]
    NameCount(usize, usize),
    #[error("text in a {0} frame is not UTF-8")]
    Utf8(&'static str),
    #[error("item status {0} is not known")]
    Status(u8),
    #[error("a {0} frame for item {1} of a batch of {2}")]
    Item(&'static str, u32, u32),
    #[error("a fraction of {0}; it must be from 0 to 1")]
    Fraction(String),
    #[error("a piece of a result of {0} bytes; it has at most {max}", max = live::CHUNK_MAX)]
    ChunkTooLong(usize),
    #[error("a skipped item has a text of {0} bytes")]
    SkippedText(usize),
    #[error("the JSON of a {0} frame: {1}")]
    Json(&'static str, String),
}

/// Reads little-endian fields off the front of a slice; every read is checked.
pub(crate) struct Reader<'a> {
    kind: &'static str,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn new(kind: Kind, bytes: &'a [u8]) -> Self {
        Self {
            kind: kind.name(),
            rest: bytes,
        }
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(n).ok_or(WireError::Cut(self.kind))?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(WireError::Cut(self.kind))?;
        self.rest = rest;
        Ok(*taken)
    }

    fn u8(&mut self) -> Result<u8, WireError> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16, WireError> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_le_bytes)
    }

    fn end(&self) -> Result<(), WireError> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(WireError::LeftOver(self.kind, self.rest.len()))
        }
    }
}
