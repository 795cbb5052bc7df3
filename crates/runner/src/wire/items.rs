//! Item lists: the bodies of RUN_OBJECTS and DONE_OBJECTS.

use bytes::{BufMut, Bytes, BytesMut};

use super::header::Header;
use super::{BODY_MAX, Reader, WireError};

/// One item of a DONE_OBJECTS, its text not looked at yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ItemAnswer {
    /// Should be a JSON value.
    Result(Bytes),
    /// Should be a JSON failure.
    Failure(Bytes),
    /// It was cancelled, and not run to its end.
    Skipped,
}

/// The body of a RUN_OBJECTS appended to `out`, or `None` when it would be over the limit of a frame.
pub(crate) fn encode_items(items: &[&Bytes], out: &mut BytesMut) -> Option<u32> {
    let texts = items.iter().try_fold(0_usize, |n, i| n.checked_add(i.len()))?;
    let len = u32::try_from(texts.checked_add(items.len().checked_mul(4)?)?)
        .ok()
        .filter(|n| *n <= BODY_MAX)?;
    out.reserve(len as usize);
    for item in items {
        out.put_u32_le(item.len() as u32);
    }
    for item in items {
        out.put_slice(item);
    }
    Some(len)
}

/// Reads the body of a DONE_OBJECTS whose header is `header`; the items share its memory.
pub(crate) fn decode_answers(header: &Header, body: &Bytes) -> Result<Vec<ItemAnswer>, WireError> {
    const HEAD: usize = 8;
    let mut reader = Reader::new(header.kind, body);
    // The heads are taken whole first: a batch that promises more items than the body has room for allocates nothing.
    let heads_len = (header.batch as usize)
        .checked_mul(HEAD)
        .ok_or(WireError::Cut(header.kind.name()))?;
    let mut heads = Reader::new(header.kind, reader.take(heads_len)?);
    let mut at = heads_len;
    let mut answers = Vec::with_capacity(header.batch as usize);
    for _ in 0..header.batch {
        let status = heads.u8()?;
        if heads.u8()? != 0 || heads.u16()? != 0 {
            return Err(WireError::Padding);
        }
        let len = heads.u32()? as usize;
        reader.take(len)?;
        let text = body.slice(at..at + len);
        at += len;
        answers.push(match status {
            0 => ItemAnswer::Result(text),
            1 => ItemAnswer::Failure(text),
            2 if text.is_empty() => ItemAnswer::Skipped,
            2 => return Err(WireError::SkippedText(len)),
            other => return Err(WireError::Status(other)),
        });
    }
    reader.end()?;
    Ok(answers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Kind;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn foreign_bodies_are_refused_without_a_panic(
            mut body in proptest::collection::vec(any::<u8>(), 0..100), batch in prop_oneof![1_u32..9, any::<u32>()], tame: bool,
        ) {
            if tame {
                for head in body.chunks_mut(8) {
                    head[0] &= 3;
                    head.iter_mut().skip(1).for_each(|b| *b = 0);
                }
            }
            let header = Header { batch, ..Header::plain(Kind::DoneObjects, body.len() as u32) };
            if let Ok(answers) = decode_answers(&header, &Bytes::from(body)) {
                prop_assert_eq!(answers.len(), batch as usize);
            }
        }
    }
}
