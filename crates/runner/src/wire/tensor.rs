//! Tensor descriptors, and the body of DONE.

use bytes::{BufMut, Bytes, BytesMut};
use cresset_task::DType;

use super::header::{FLAG_INLINE, FLAG_NAMED, Header, Kind};
use super::{RANK_MAX, Reader, WireError};

/// Tensors in the slab start at multiples of this.
pub(crate) const ALIGN: u64 = 64;

/// Where a stacked tensor lies, and what it is. `dims[0]` is the batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Descriptor {
    pub(crate) dtype: DType,
    pub(crate) dims: Vec<i64>,
    pub(crate) offset: u64,
    pub(crate) nbytes: u64,
}

/// The body of a DONE.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) tensors: Vec<Descriptor>,
    /// With NAMED: a name for each.
    pub(crate) names: Option<Vec<String>>,
    /// With INLINE: the bytes that the offsets count in. Otherwise they count in the slab.
    pub(crate) inline: Option<Bytes>,
}

pub(crate) fn encode_descriptors(descriptors: &[Descriptor], out: &mut BytesMut) {
    for descriptor in descriptors {
        out.put_u8(descriptor.dtype.code());
        out.put_u8(descriptor.dims.len() as u8);
        out.put_u16_le(0);
        out.put_u32_le(0);
        for dim in &descriptor.dims {
            out.put_i64_le(*dim);
        }
        out.put_u64_le(descriptor.offset);
        out.put_u64_le(descriptor.nbytes);
    }
}

/// Reads the body of a DONE whose header is `header`.
pub(crate) fn decode_answer(header: &Header, body: &Bytes) -> Result<Answer, WireError> {
    let mut reader = Reader::new(header.kind, body);
    let count = usize::from(header.n_tensors);
    let names = (header.flags & FLAG_NAMED != 0)
        .then(|| decode_names(&mut reader, count))
        .transpose()?;
    let tensors = (0..count)
        .map(|_| decode_descriptor(&mut reader))
        .collect::<Result<Vec<_>, _>>()?;
    if header.flags & FLAG_INLINE == 0 {
        reader.end()?;
        if let Some(crooked) = tensors.iter().find(|t| t.offset % ALIGN != 0) {
            return Err(WireError::Alignment(crooked.offset));
        }
        return Ok(Answer {
            tensors,
            names,
            inline: None,
        });
    }
    let start = body.len() - reader.rest.len();
    let mut want = 0_u64;
    for tensor in &tensors {
        if tensor.offset != want {
            return Err(WireError::InlineOffset {
                is: tensor.offset,
                want,
            });
        }
        want = want
            .checked_add(tensor.nbytes)
            .ok_or(WireError::Cut(header.kind.name()))?;
    }
    reader.take(usize::try_from(want).map_err(|_| WireError::Cut(header.kind.name()))?)?;
    reader.end()?;
    Ok(Answer {
        tensors,
        names,
        inline: Some(body.slice(start..)),
    })
}

fn decode_names(reader: &mut Reader<'_>, tensors: usize) -> Result<Vec<String>, WireError> {
    let count = usize::from(reader.u16()?);
    if count != tensors {
        return Err(WireError::NameCount(count, tensors));
    }
    (0..count)
        .map(|_| {
            let len = usize::from(reader.u16()?);
            let raw = reader.take(len)?;
            std::str::from_utf8(raw)
                .map(str::to_owned)
                .map_err(|_| WireError::Utf8(Kind::Done.name()))
        })
        .collect()
}

fn decode_descriptor(reader: &mut Reader<'_>) -> Result<Descriptor, WireError> {
    let code = reader.u8()?;
    let rank = reader.u8()?;
    if reader.u16()? != 0 || reader.u32()? != 0 {
        return Err(WireError::Padding);
    }
    let dtype = DType::from_code(code).ok_or(WireError::DType(code))?;
    if rank == 0 || usize::from(rank) > RANK_MAX {
        return Err(WireError::Rank(rank));
    }
    let mut dims = Vec::with_capacity(usize::from(rank));
    for _ in 0..rank {
        let dim = reader.u64()? as i64;
        if dim < 0 {
            return Err(WireError::Dimension(dim));
        }
        dims.push(dim);
    }
    let (offset, nbytes) = (reader.u64()?, reader.u64()?);
    let size = dims
        .iter()
        .try_fold(dtype.size() as u64, |n, d| n.checked_mul(*d as u64));
    if size != Some(nbytes) {
        return Err(WireError::Size { dtype, dims, nbytes });
    }
    Ok(Descriptor {
        dtype,
        dims,
        offset,
        nbytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header(flags: u8, n_tensors: u16, body_len: usize) -> Header {
        Header {
            flags,
            n_tensors,
            batch: 1,
            seq: 1,
            ..Header::plain(Kind::Done, body_len as u32)
        }
    }

    fn any_descriptor() -> impl Strategy<Value = Descriptor> {
        (
            0..DType::ALL.len(),
            proptest::collection::vec(0_i64..5, 1..5),
            0_u64..1 << 40,
        )
            .prop_map(|(d, dims, at)| {
                let dtype = DType::ALL[d];
                let nbytes = dtype.size() as u64 * dims.iter().product::<i64>() as u64;
                Descriptor {
                    dtype,
                    dims,
                    offset: at * ALIGN,
                    nbytes,
                }
            })
    }

    proptest! {
        #[test]
        fn descriptors_are_read_back(tensors in proptest::collection::vec(any_descriptor(), 0..5)) {
            let mut body = BytesMut::new();
            encode_descriptors(&tensors, &mut body);
            let header = header(0, tensors.len() as u16, body.len());
            let answer = decode_answer(&header, &body.freeze()).unwrap();
            prop_assert_eq!(answer.tensors, tensors);
        }

        #[test]
        fn foreign_bodies_are_refused_without_a_panic(
            body in proptest::collection::vec(any::<u8>(), 0..200), flags in 0_u8..4, n in 0_u16..=256,
        ) {
            let _ = decode_answer(&header(flags, n, body.len()), &Bytes::from(body));
        }

        #[test]
        fn bent_bodies_are_refused_without_a_panic(
            tensors in proptest::collection::vec(any_descriptor(), 1..3), at in 0_usize..80, with: u8, flags in 0_u8..4,
        ) {
            let mut body = BytesMut::new();
            if flags & FLAG_NAMED != 0 {
                body.put_u16_le(tensors.len() as u16);
                tensors.iter().for_each(|_| { body.put_u16_le(1); body.put_u8(b'x'); });
            }
            encode_descriptors(&tensors, &mut body);
            if let Some(byte) = body.get_mut(at) { *byte = with; }
            let header = header(flags, tensors.len() as u16, body.len());
            if let Ok(answer) = decode_answer(&header, &body.freeze()) {
                for t in &answer.tensors {
                    let end = t.offset.checked_add(t.nbytes);
                    let inside = |all: &Bytes| end.is_some_and(|e| e <= all.len() as u64);
                    prop_assert!(answer.inline.as_ref().is_none_or(inside));
                }
            }
        }
    }
}
