//! The options beside `input`, each from its raw JSON. An `Err` says what is wrong and what would be right.

use std::time::Duration;

use bytes::Bytes;
use serde_json::Number;

use super::{DEPTH_MAX, is_deeper};
use crate::duration;
use crate::query::cut;

/// The largest `metadata`, as it was written: it is kept with the task and given back with every answer.
pub(super) const METADATA_MAX: usize = 16 << 10;

const PRIORITIES: std::ops::RangeInclusive<i64> = -100..=100;

/// A whole number from -100 to 100.
pub(super) fn priority(raw: &str) -> Result<i8, String> {
    serde_json::from_str::<i64>(raw)
        .ok()
        .filter(|p| PRIORITIES.contains(p))
        .and_then(|p| i8::try_from(p).ok())
        .ok_or_else(|| {
            format!(
                "must be a whole number from -100 (last) to 100 (first), not {}",
                cut(raw)
            )
        })
}

/// Any object, kept as it was written. A copy: it is small, and must not keep the whole body alive.
pub(super) fn metadata(raw: &str) -> Result<Bytes, String> {
    if !raw.starts_with('{') {
        return Err(format!("must be an object, not {}", cut(raw)));
    }
    if raw.len() > METADATA_MAX {
        return Err(format!(
            "has {} bytes; it may have at most {METADATA_MAX}",
            raw.len()
        ));
    }
    if is_deeper(raw, DEPTH_MAX) {
        return Err(format!("is nested deeper than {DEPTH_MAX} levels"));
    }
    Ok(Bytes::copy_from_slice(raw.as_bytes()))
}

/// `2s` or seconds, as a query has it.
pub(super) fn timeout_text(text: &str, longest: Duration) -> Result<Duration, String> {
    within(duration::parse(text), text, longest)
}

/// `"2s"` or seconds.
pub(super) fn timeout(raw: &str, longest: Duration) -> Result<Duration, String> {
    let parsed = match serde_json::from_str::<String>(raw) {
        Ok(text) => duration::parse(&text),
        // `f64` must not round what the caller wrote to infinity: serde_json's number refuses that.
        Err(_) => serde_json::from_str::<Number>(raw)
            .ok()
            .and_then(|n| Duration::try_from_secs_f64(n.as_f64()?).ok()),
    };
    within(parsed, raw, longest)
}

/// What was read of `raw`: more than nothing, at most `longest`.
fn within(parsed: Option<Duration>, raw: &str, longest: Duration) -> Result<Duration, String> {
    match parsed {
        None | Some(Duration::ZERO) => Err(format!(
            "must be {}, more than 0, not {}",
            duration::FORM,
            cut(raw)
        )),
        Some(asked) if asked > longest => Err(format!(
            "is {}; this model answers within {} or not at all",
            cut(raw),
            duration::show(longest)
        )),
        Some(asked) => Ok(asked),
    }
}
