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

/// A piece of the result of an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// Which item of the batch, counted from 0.
    pub item: u32,
    /// Its JSON text.
    pub text: Bytes,
}
