//! The `Prefer` header of a request (RFC 7240): how long its caller is willing to wait.
//!
//! Preferences that are not known, or not understood, are ignored, as the standard asks; `Preference-Applied` says which was not.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName};

/// The header of an answer.
pub(crate) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// `Prefer: wait=N`: the seconds, at most `longest`; `None` when the caller does not want to wait. The first one counts.
pub(crate) fn wait(headers: &HeaderMap, longest: Duration) -> Option<Duration> {
    let texts = headers
        .get_all(PREFER)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut preferences = texts.flat_map(|text| text.split(','));
    let seconds = preferences.find_map(|preference| {
        let (token, _parameters) = preference.split_once(';').unwrap_or((preference, ""));
        let (name, value) = token.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim())
    })?;
    let quoted = seconds.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let seconds = quoted.unwrap_or(seconds).parse().ok()?;
    Some(Duration::from_secs(seconds).min(longest))
}

/// What `Preference-Applied` says of a wait.
pub(crate) fn waited(wait: Duration) -> String {
    format!("wait={}", wait.as_secs())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn of(values: &[&'static str]) -> Option<u64> {
        let pair = |value: &&'static str| (PREFER, HeaderValue::from_static(value));
        wait(&values.iter().map(pair).collect(), Duration::from_secs(300)).map(|wait| wait.as_secs())
    }

    #[test]
    fn a_wait_is_read_among_other_preferences() {
        for values in [
            &["wait=10"][..],
            &["Wait = 10 ; x=y"],
            &["return=minimal, wait=\"10\", wait=20"],
            &["respond-async", "handling=strict, wait=10"],
        ] {
            assert_eq!(of(values), Some(10), "{values:?}");
        }
        assert_eq!(of(&["wait=86400"]), Some(300), "the longest wait here");
        assert_eq!(of(&["wait=0"]), Some(0));
    }

    #[test]
    fn what_is_not_understood_is_ignored() {
        for values in [
            &[][..],
            &["respond-async"],
            &["wait"],
            &["wait=soon"],
            &["wait=-1"],
            &["wait=1.5"],
            &["wait=\"10"],
            &["await=10"],
            &[",,;=,"],
        ] {
            assert_eq!(of(values), None, "{values:?}");
        }
    }
}
