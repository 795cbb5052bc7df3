//! The trace that work belongs to, as W3C Trace Context has it: read from a caller's headers, kept with its task, and said on to
//! whoever works for it.
//!
//! Words only: nothing here decides who is told, and nothing records spans.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::num::{NonZeroU64, NonZeroU128};
use std::str::FromStr;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};

mod state;

pub use state::{TRACE_STATE_MAX, TRACE_STATE_MEMBERS_MAX, TraceState};

/// `00-<32 digits>-<16 digits>-<2 digits>`.
const LENGTH: usize = 55;
/// The one flag that level 1 of the standard knows.
const SAMPLED: u8 = 1;

/// Random because its keys are; a counter through it makes numbers that nobody can guess, without a system call.
static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::new);
static COUNT: AtomicU64 = AtomicU64::new(0);

fn random(count: u64, half: u8) -> u64 {
    SEED.hash_one((count, half))
}

/// A trace's id; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TraceId(NonZeroU128);

impl TraceId {
    /// An id of our own.
    #[must_use]
    pub fn fresh() -> Self {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let number = u128::from(random(count, 0)) << 64 | u128::from(random(count, 1));
        Self(NonZeroU128::new(number).unwrap_or(NonZeroU128::MIN))
    }

    /// The 16 bytes of it.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.get().to_be_bytes()
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The id of a span within its trace; never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SpanId(NonZeroU64);

impl SpanId {
    /// An id of our own.
    #[must_use]
    pub fn fresh() -> Self {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(NonZeroU64::new(random(count, 2)).unwrap_or(NonZeroU64::MIN))
    }

    /// The 8 bytes of it.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.get().to_be_bytes()
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A place in a trace: the span that what comes next is a child of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    /// The trace.
    pub id: TraceId,
    /// The span.
    pub span: SpanId,
    /// Whether whoever began the trace records it.
    pub is_sampled: bool,
    /// What others have to say of it, passed on as it came.
    pub state: Option<TraceState>,
}

impl Trace {
    /// What a caller's `traceparent` says; `None` when it is not what the standard has. Digits are small, ids are not zero, version
    /// `ff` is none, and a version that is newer may have more behind another dash.
    #[must_use]
    pub fn read(traceparent: &[u8]) -> Option<Self> {
        let (known, more) = traceparent.split_at_checked(LENGTH)?;
        let dashes = [known[2], known[35], known[52]] == [b'-'; 3];
        let (version, id, span, flags) = (&known[..2], &known[3..35], &known[36..52], &known[53..]);
        let fits = match version {
            b"00" => more.is_empty(),
            b"ff" => false,
            _ => more.is_empty() || more[0] == b'-',
        };
        if !dashes || !fits {
            return None;
        }
        number(version)?;
        // Of flags that are not known yet nothing is made.
        let flags = number(flags)? as u8;
        Some(Self {
            id: TraceId(NonZeroU128::new(number(id)?)?),
            span: SpanId(NonZeroU64::new(number(span)? as u64)?),
            is_sampled: flags & SAMPLED != 0,
            state: None,
        })
    }

    /// A trace of our own, for a caller whose `traceparent` is none, or who has none.
    #[must_use]
    pub fn fresh(is_sampled: bool) -> Self {
        Self {
            id: TraceId::fresh(),
            span: SpanId::fresh(),
            is_sampled,
            state: None,
        }
    }

    /// The same trace, seen from this span.
    #[must_use]
    pub fn at(&self, span: SpanId) -> Self {
        Self { span, ..self.clone() }
    }

    /// As a header, and as it is kept.
    #[must_use]
    pub fn traceparent(&self) -> String {
        let flags = if self.is_sampled { SAMPLED } else { 0 };
        format!("00-{}-{}-{flags:02x}", self.id, self.span)
    }

    /// What a store keeps: the `traceparent` and, behind a space, the `tracestate`.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = self.traceparent();
        if let Some(state) = &self.state {
            text.push(' ');
            text.push_str(state.as_str());
        }
        text
    }
}

/// The text is no trace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a trace is kept as `00-<trace id>-<span id>-<flags>`, and its state behind a space")]
pub struct BadTrace;

impl FromStr for Trace {
    type Err = BadTrace;

    /// The reverse of [`Trace::to_text`].
    fn from_str(text: &str) -> Result<Self, BadTrace> {
        let (parent, state) = match text.split_once(' ') {
            Some((parent, state)) => (parent, Some(state)),
            None => (text, None),
        };
        let trace = Self::read(parent.as_bytes()).ok_or(BadTrace)?;
        let state = match state {
            Some(state) => Some(TraceState::read([state.as_bytes()]).ok_or(BadTrace)?),
            None => None,
        };
        Ok(Self { state, ..trace })
    }
}

/// Small hexadecimal digits, at most 32 of them.
fn number(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let value = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(value))
    })
}

#[cfg(test)]
mod tests;
