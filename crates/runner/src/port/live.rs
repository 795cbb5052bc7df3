//! What an instance says of a job before its end.

use std::time::Duration;

use bytes::Bytes;

/// An instance says how far it has come this often at most, and what it says more often is not passed on. Fast enough for
/// people to watch.
pub const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// How far an item has come, as the model's code says.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Which items of the batch, counted from 0; `None` is all of them.
    pub items: Option<Vec<u32>>,
    /// 0 to 1.
    pub fraction: f64,
    /// In the model's words, bounded.
    pub message: Option<String>,
}

/// How much a log line matters, as the model's code says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// For whoever mends the model.
    Debug,
    /// In passing.
    Info,
    /// Worth a look.
    Warning,
    /// Something is wrong.
    Error,
}

impl LogLevel {
    /// The name in the API and the runner protocol.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        }
    }
}

/// A line that the model's code wrote about some items.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Which items of the batch, counted from 0; `None` is all of them.
    pub items: Option<Vec<u32>>,
    /// How much it matters.
    pub level: LogLevel,
    /// It, bounded.
    pub text: String,
}

/// A piece of the result of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Which item of the batch, counted from 0.
    pub item: u32,
    /// Its JSON text.
    pub text: Bytes,
}
