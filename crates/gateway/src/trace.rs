//! The trace that a request belongs to (W3C Trace Context): its caller's, where `traceparent` is what the standard says, else one of
//! its own. It is in the log's lines, so that they are found from the caller's side.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::http::{HeaderMap, HeaderName};

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// `00-<32 digits>-<16 digits>-<2 digits>`.
const LENGTH: usize = 55;

/// A trace's id; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TraceId(u128);

/// Random because its keys are; a counter through it makes numbers that nobody can guess, without a system call.
static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::new);
static COUNT: AtomicU64 = AtomicU64::new(0);

impl TraceId {
    /// The caller's, or a fresh one.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut given = headers.get_all(TRACEPARENT).iter();
        match (given.next(), given.next()) {
            // More than one is none: nobody knows whose is whose.
            (Some(one), None) => read(one.as_bytes()).unwrap_or_else(Self::fresh),
            _ => Self::fresh(),
        }
    }

    fn fresh() -> Self {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let half = |which: u8| u128::from(SEED.hash_one((count, which)));
        Self((half(0) << 64 | half(1)).max(1))
    }
}

/// As the standard has it, and nothing else: digits are small, ids are not zero, version `ff` is none, and a version that is newer may have
/// more behind another dash.
fn read(text: &[u8]) -> Option<TraceId> {
    let (known, more) = text.split_at_checked(LENGTH)?;
    let dashes = [known[2], known[35], known[52]] == [b'-'; 3];
    let (version, id, parent, flags) = (&known[..2], &known[3..35], &known[36..52], &known[53..]);
    let digits = |part: &[u8]| part.iter().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let is_zero = |part: &[u8]| part.iter().all(|b| *b == b'0');
    let fits = match version {
        b"00" => more.is_empty(),
        b"ff" => false,
        _ => more.is_empty() || more[0] == b'-',
    };
    let sound = dashes && fits && [version, id, parent, flags].into_iter().all(digits) && !is_zero(parent);
    let number = u128::from_str_radix(std::str::from_utf8(id).ok()?, 16).ok()?;
    (sound && number != 0).then_some(TraceId(number))
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_sound_trace_is_gone_on_with_and_any_other_is_begun_anew() {
        let id = |text: &str| read(text.as_bytes()).map(|id| id.to_string());
        let expected = Some("4bf92f3577b34da6a3ce929d0e0e4736".to_owned());
        assert_eq!(id(GOOD), expected);
        for newer in [
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(id(newer), expected, "{newer}");
        }
        for wrong in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01.more",
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473g-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x",
        ] {
            assert_eq!(id(wrong), None, "{wrong}");
        }
        let line = (TRACEPARENT, HeaderValue::from_static(GOOD));
        let twice = HeaderMap::from_iter([line.clone()]);
        assert_eq!(
            TraceId::of(&twice).to_string(),
            "4bf92f3577b34da6a3ce929d0e0e4736"
        );
        let mut twice = twice;
        twice.append(line.0, line.1);
        assert_ne!(Some(TraceId::of(&twice).to_string()), expected);
        assert_ne!(TraceId::fresh(), TraceId::fresh());
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _either = read(&bytes);
        }
    }
}
