//! What is told of work that has ended, to whoever draws traces, and the port that it is told to.
//!
//! Whoever tells need not know whether somebody records: what is not sampled is told to nobody.

use std::borrow::Cow;
use std::fmt;

use crate::time::Timestamp;
use crate::trace::{SpanId, Trace};

/// Whose work a span is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanKind {
    /// Ours, asked for by another.
    Server,
    /// Ours.
    Inner,
    /// Another's, asked for by us.
    Client,
}

/// What is said of a span.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word {
    /// A text.
    Text(Cow<'static, str>),
    /// A number.
    Number(i64),
}

impl From<&'static str> for Word {
    fn from(text: &'static str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Word {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<i64> for Word {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Word {
    fn from(number: u32) -> Self {
        Self::Number(number.into())
    }
}

impl From<usize> for Word {
    fn from(number: usize) -> Self {
        Self::Number(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

/// Work that has ended. Inputs and results are no part of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Its own place: the trace, and its own id.
    pub place: Trace,
    /// The span that it is a part of.
    pub parent: Option<SpanId>,
    /// Whose work it is.
    pub kind: SpanKind,
    /// One of few names.
    pub name: Cow<'static, str>,
    /// When it began.
    pub began: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// What is said of it, by name.
    pub words: Vec<(&'static str, Word)>,
    /// Other spans that have to do with it.
    pub links: Vec<Trace>,
    /// Why it failed.
    pub error: Option<String>,
}

/// Records spans. Neither call waits for anything, and neither fails.
pub trait Spans: Send + Sync + fmt::Debug {
    /// A request has come in, with what its caller said of the trace. Gives the place of the request's own span, in the caller's trace or one of our own,
    /// and in it whether the trace is recorded.
    fn begin(&self, caller: Option<Trace>) -> Trace;

    /// Work has ended. What is not sampled is left out.
    fn ended(&self, span: Span);
}
