//! The options beside `input`, each from its raw text. An `Err` says what is wrong and what would be right.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use cresset_task::{BadCallbackUrl, CallbackUrl, Events, Timestamp};
use serde_json::Number;

use super::options::Raw;
use super::{DEPTH_MAX, is_deeper};
use crate::duration;
use crate::query::cut;

/// The largest `metadata`, as it was written: it is kept with the task and given back with every answer.
pub(super) const METADATA_MAX: usize = 16 << 10;

const PRIORITIES: std::ops::RangeInclusive<i64> = -100..=100;

/// The longest delay, and the longest time to expire: what is further off is a mistake of units.
const FURTHEST: Duration = Duration::from_secs(5 * 366 * 24 * 3600);

/// A whole number from -100 to 100.
pub(super) fn priority(raw: Raw<'_>) -> Result<i8, String> {
    let text = shown(raw);
    serde_json::from_str::<i64>(text)
        .ok()
        .filter(|p| PRIORITIES.contains(p))
        .and_then(|p| i8::try_from(p).ok())
        .ok_or_else(|| {
            format!(
                "must be a whole number from -100 (last) to 100 (first), not {}",
                cut(text)
            )
        })
}

/// Any object, kept as it was written. A copy: it is small, and must not keep the whole body alive.
pub(super) fn metadata(raw: Raw<'_>) -> Result<Bytes, String> {
    let text = shown(raw);
    if !text.starts_with('{') {
        return Err(format!("must be an object, not {}", cut(text)));
    }
    if text.len() > METADATA_MAX {
        return Err(format!(
            "has {} bytes; it may have at most {METADATA_MAX}",
            text.len()
        ));
    }
    if is_deeper(text, DEPTH_MAX) {
        return Err(format!("is nested deeper than {DEPTH_MAX} levels"));
    }
    Ok(Bytes::copy_from_slice(text.as_bytes()))
}

/// How long a prediction may take.
pub(super) fn timeout(raw: Raw<'_>, longest: Duration) -> Result<Duration, String> {
    within(duration_of(raw), shown(raw), longest)
}

/// An instant; one that has passed is "at once".
pub(super) fn eta(raw: Raw<'_>) -> Result<Timestamp, String> {
    instant(raw).ok_or_else(|| {
        format!(
            "must be an instant such as `2026-01-31T08:00:00Z`, not {}",
            shown(raw)
        )
    })
}

/// How long from now.
pub(super) fn countdown(raw: Raw<'_>) -> Result<Duration, String> {
    duration_of(raw)
        .filter(|delay| *delay <= FURTHEST)
        .ok_or_else(|| {
            format!(
                "must be {}, at most five years, not {}",
                duration::FORM,
                shown(raw)
            )
        })
}

/// An instant, or how long from `now`. An instant that has passed is taken, and the task revoked: one who sends an earlier submit
/// again must be told what became of it.
pub(super) fn end(raw: Raw<'_>, now: Timestamp) -> Result<Timestamp, String> {
    let after = duration_of(raw).filter(|after| !after.is_zero() && *after <= FURTHEST);
    let end = instant(raw).or_else(|| after.map(|after| now.plus(after)));
    end.ok_or_else(|| {
        format!(
            "must be an instant such as `2026-01-31T08:00:00Z`, or {}, more than 0, at most five years, not {}",
            duration::FORM,
            shown(raw)
        )
    })
}

/// An address to call.
pub(super) fn callback_url(raw: Raw<'_>) -> Result<CallbackUrl, String> {
    let text = match raw {
        Raw::Text(text) => Cow::Borrowed(text),
        Raw::Json(json) => serde_json::from_str::<Cow<'_, str>>(json)
            .map_err(|_| format!("must be a URL in a string, not {}", cut(json)))?,
    };
    text.parse().map_err(|error: BadCallbackUrl| error.to_string())
}

/// Names of events: a list, or in a query one text with commas.
pub(super) fn callback_events(raw: Raw<'_>) -> Result<Events, String> {
    let names: Vec<Cow<'_, str>> = match raw {
        Raw::Text(text) => text.split(',').map(|name| name.trim().into()).collect(),
        Raw::Json(json) => serde_json::from_str(json).map_err(|_| {
            format!(
                "must be a list of events such as [\"succeeded\", \"failed\"], not {}",
                cut(json)
            )
        })?,
    };
    Events::read(names.iter().map(|name| &**name)).map_err(|error| error.to_string())
}

fn instant(raw: Raw<'_>) -> Option<Timestamp> {
    match raw {
        Raw::Json(json) => serde_json::from_str::<Cow<'_, str>>(json).ok()?.parse().ok(),
        Raw::Text(text) => text.parse().ok(),
    }
}

/// `"2s"` or seconds.
pub(super) fn duration_of(raw: Raw<'_>) -> Option<Duration> {
    let json = match raw {
        Raw::Json(json) => json,
        Raw::Text(text) => return duration::parse(text),
    };
    match serde_json::from_str::<Cow<'_, str>>(json) {
        Ok(text) => duration::parse(&text),
        // `f64` must not round what the caller wrote to infinity: serde_json's number refuses that.
        Err(_) => serde_json::from_str::<Number>(json)
            .ok()
            .and_then(|n| Duration::try_from_secs_f64(n.as_f64()?).ok()),
    }
}

fn shown(raw: Raw<'_>) -> &str {
    let (Raw::Json(text) | Raw::Text(text)) = raw;
    text
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
