//! Unpacks a body as it comes, in steps that are small whatever it claims to hold.
//!
//! There is no bound on how much smaller a packed body may be than what is in it: a blank picture is a thousand times smaller,
//! and no bomb. What is unpacked counts as what comes unpacked does, so the largest bomb costs what the largest body costs.

use std::io::{self, ErrorKind, Write};

use bytes::{Buf, Bytes};
use flate2::write::MultiGzDecoder;
use zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer};

use super::Coding;

/// About what one step gives at most: some tenths of a millisecond.
const STEP_BYTES: usize = 64 << 10;
/// What inflating takes: the window, the buffer that it is written to, and the state.
const GZIP_BYTES: usize = 96 << 10;
/// The largest window, as a power of two: 8 MiB, which RFC 9659 sets for what goes over HTTP.
const WINDOW_LOG_MAX: u32 = 23;

/// A body on its way out of its coding.
pub(crate) enum Unpacker {
    Gzip(Box<MultiGzDecoder<Vec<u8>>>),
    Zstd {
        context: DCtx<'static>,
        /// The last frame that began has come to its end.
        whole: bool,
        /// The last step had no room for all that it had.
        more: bool,
    },
}

impl Unpacker {
    pub(crate) fn new(coding: Coding) -> io::Result<Self> {
        Ok(match coding {
            Coding::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(Vec::new()))),
            Coding::Zstd => {
                let mut context = DCtx::create();
                let window = DParameter::WindowLogMax(WINDOW_LOG_MAX);
                context.set_parameter(window).map_err(unsound)?;
                Self::Zstd {
                    context,
                    whole: false,
                    more: false,
                }
            }
        })
    }

    /// True when a step may give something though no more has come.
    pub(crate) fn has_more(&self) -> bool {
        matches!(self, Self::Zstd { more: true, .. })
    }

    /// Takes from what has come, and gives what is in it; both may be little.
    pub(crate) fn step(&mut self, came: &mut Bytes) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(decoder) => {
                let taken = decoder.write(came).map_err(in_words)?;
                came.advance(taken);
                Ok(std::mem::take(decoder.get_mut()))
            }
            Self::Zstd { context, whole, more } => {
                let mut given = Vec::with_capacity(STEP_BYTES);
                let (left, taken) = {
                    let mut to = OutBuffer::around(&mut given);
                    let mut from = InBuffer::around(came);
                    let left = context.decompress_stream(&mut to, &mut from).map_err(unsound)?;
                    (left, from.pos())
                };
                came.advance(taken);
                *whole = left == 0;
                *more = left > 0 && given.len() == given.capacity();
                Ok(given)
            }
        }
    }

    /// All has come: gives the last of it, or says that it is cut short.
    pub(crate) fn end(&mut self) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(decoder) => {
                decoder.try_finish().map_err(in_words)?;
                Ok(std::mem::take(decoder.get_mut()))
            }
            Self::Zstd { whole: true, .. } => Ok(Vec::new()),
            Self::Zstd { whole: false, .. } => Err(cut_short()),
        }
    }

    /// The memory that it takes by now.
    pub(crate) fn memory(&self) -> usize {
        match self {
            Self::Gzip(_) => GZIP_BYTES,
            Self::Zstd { context, .. } => context.sizeof(),
        }
    }
}

fn cut_short() -> io::Error {
    io::Error::new(ErrorKind::UnexpectedEof, "it is cut short")
}

fn in_words(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::UnexpectedEof => cut_short(),
        _ => error,
    }
}

fn unsound(code: usize) -> io::Error {
    let name = zstd_safe::get_error_name(code);
    let words = match name.contains("too much memory") {
        true => "its window is larger than 8 MiB, the most that HTTP allows (RFC 9659)".to_owned(),
        false => name.to_ascii_lowercase(),
    };
    io::Error::new(ErrorKind::InvalidData, words)
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::coding::pack::pack;

    /// All of it, in pieces of this size.
    fn unpacked(coding: Coding, packed: &[u8], piece: usize) -> io::Result<Vec<u8>> {
        let mut unpacker = Unpacker::new(coding)?;
        let mut all = Vec::new();
        for piece in packed.chunks(piece) {
            let mut piece = Bytes::copy_from_slice(piece);
            while !piece.is_empty() || unpacker.has_more() {
                let step = unpacker.step(&mut piece)?;
                assert!(step.len() <= 2 * STEP_BYTES, "a step of {}", step.len());
                all.extend(step);
            }
        }
        all.extend(unpacker.end()?);
        Ok(all)
    }

    #[test]
    fn a_bomb_is_unpacked_in_small_steps() {
        let zeros = vec![0; 4 << 20];
        for coding in Coding::ALL {
            let bomb = pack(coding, &zeros);
            assert!(bomb.len() < zeros.len() / 50);
            assert_eq!(unpacked(coding, &bomb, usize::MAX).unwrap(), zeros);
        }
    }

    #[test]
    fn what_is_cut_short_or_followed_by_something_is_found() {
        for coding in Coding::ALL {
            let whole = pack(coding, b"some text, some text, some text");
            for length in 0..whole.len() {
                assert!(
                    unpacked(coding, &whole[..length], 7).is_err(),
                    "{coding:?} {length}"
                );
            }
            let twice = [whole.clone(), whole.clone()].concat();
            assert_eq!(
                unpacked(coding, &twice, 7).unwrap().len(),
                62,
                "two in a row are one"
            );
            let more = [whole, b"garbage after it".to_vec()].concat();
            assert!(unpacked(coding, &more, 7).is_err(), "{coding:?}");
        }
    }

    #[test]
    fn a_window_that_no_caller_needs_is_refused() {
        // A frame header of RFC 8878 with a window of 1 GiB, and no size.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, 20 << 3, 0x01, 0x00, 0x00];
        let error = unpacked(Coding::Zstd, &frame, 9).unwrap_err();
        assert!(error.to_string().contains("RFC 9659"), "{error}");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn what_is_packed_comes_out_as_it_was(data in proptest::collection::vec(0_u8..4, 0..5000), piece in 1_usize..200) {
            for coding in Coding::ALL {
                prop_assert_eq!(&unpacked(coding, &pack(coding, &data), piece).unwrap(), &data);
            }
        }

        #[test]
        fn garbage_ends_in_words(data in proptest::collection::vec(any::<u8>(), 0..500), piece in 1_usize..50) {
            for coding in Coding::ALL {
                let _either = unpacked(coding, &data, piece);
            }
        }
    }
}
