//! The name of one request in answers, logs and bug reports: the caller's `X-Request-Id` when it is sane, else ours.

use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;

/// The header, in and out.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id taken from a caller: longer than any tracing system makes, short enough for a log line.
const CALLER_ID_MAX: usize = 128;

/// An id of one request. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestId(HeaderValue);

/// Tells this process's ids from another's. Random because the hasher's keys are.
static PROCESS: LazyLock<u32> = LazyLock::new(|| RandomState::new().build_hasher().finish() as u32);
static COUNT: AtomicU64 = AtomicU64::new(0);

impl RequestId {
    /// The caller's id, or a fresh one when there is none or it does not look like one.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        match headers.get(X_REQUEST_ID) {
            Some(given) if is_sane(given.as_bytes()) => Self(given.clone()),
            _ => Self::fresh(),
        }
    }

    /// An id of our own: a random number for the process, and a counter. No system call, no lock.
    pub(crate) fn fresh() -> Self {
        let text = format!("{:08x}-{:08x}", *PROCESS, COUNT.fetch_add(1, Ordering::Relaxed));
        Self(
            HeaderValue::from_maybe_shared(Bytes::from(text))
                .expect("hex digits and a dash are a header value"),
        )
    }

    /// As text.
    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().expect("ids are checked to be ASCII")
    }

    /// As a header's value.
    pub(crate) fn into_header(self) -> HeaderValue {
        self.0
    }
}

/// Travels with an answer whose body has to say the id, and is written when the id is known.
#[derive(Clone, Debug)]
pub(crate) struct NamedLater(pub(crate) Arc<OnceLock<RequestId>>);

impl NamedLater {
    /// This is the id. Said once.
    pub(crate) fn name(&self, id: &RequestId) {
        self.0.get_or_init(|| id.clone());
    }
}

/// What is echoed into headers, JSON and logs must not be able to play tricks in any of them.
fn is_sane(id: &[u8]) -> bool {
    (1..=CALLER_ID_MAX).contains(&id.len())
        && id.iter().all(|b| {
            b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':' | b'/' | b'+' | b'=' | b'@')
        })
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(given: &str) -> RequestId {
        RequestId::of(&HeaderMap::from_iter([(
            X_REQUEST_ID,
            HeaderValue::from_str(given).unwrap(),
        )]))
    }

    #[test]
    fn a_sane_id_is_kept() {
        for id in [
            "a",
            "019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10",
            "Root=1-67891233-abcdef012345678912345678",
        ] {
            assert_eq!(of(id).as_str(), id);
        }
    }

    #[test]
    fn an_odd_id_is_replaced() {
        for id in [
            "",
            "a b",
            "x\"y",
            "<script>",
            "a,b",
            &"a".repeat(CALLER_ID_MAX + 1),
        ] {
            assert_ne!(of(id).as_str(), id);
        }
        let raw = HeaderValue::from_bytes(b"caf\xc3\xa9").unwrap();
        assert!(
            RequestId::of(&HeaderMap::from_iter([(X_REQUEST_ID, raw)]))
                .as_str()
                .is_ascii()
        );
    }

    #[test]
    fn fresh_ids_differ() {
        assert_ne!(RequestId::fresh(), RequestId::fresh());
    }
}
