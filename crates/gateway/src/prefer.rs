//! The `Prefer` header of a request (RFC 7240): how long its caller is willing to wait.
//!
//! Preferences that are not known, or not understood, are ignored, as the standard asks; `Preference-Applied` says which was not.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName};

/// The header of an answer.
pub(crate) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
const RESPOND_ASYNC: &str = "respond-async";
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// What the caller of a request prefers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Preference {
    /// `wait=N`: how long it would wait for the end, at most as long as one may here. The first one counts.
    pub(crate) wait: Option<Duration>,
    /// `respond-async`: it would rather have a task than wait.
    pub(crate) respond_async: bool,
}

impl Preference {
    /// Of the headers of a request; a wait is cut to `longest`.
    pub(crate) fn of(headers: &HeaderMap, longest: Duration) -> Self {
        let mut preference = Self::default();
        let texts = headers
            .get_all(PREFER)
            .iter()
            .filter_map(|value| value.to_str().ok());
        for text in texts.flat_map(|text| text.split(',')) {
            let (token, _parameters) = text.split_once(';').unwrap_or((text, ""));
            let (name, value) = match token.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value.trim())),
                None => (token.trim(), None),
            };
            match value {
                // A value that is empty is none (RFC 7240, section 2).
                None | Some("" | "\"\"") if name.eq_ignore_ascii_case(RESPOND_ASYNC) => {
                    preference.respond_async = true;
                }
                Some(value) if name.eq_ignore_ascii_case("wait") && preference.wait.is_none() => {
                    preference.wait = seconds(value).map(|wait| wait.min(longest));
                }
                _ => {}
            }
        }
        preference
    }

    /// Whether the caller can be answered with a task, where it asked for a result.
    pub(crate) fn takes_a_task(&self) -> bool {
        self.respond_async || self.wait.is_some()
    }

    /// What `Preference-Applied` says of an answer that is a task (`in_place` of its result) or not; `None` when there is nothing to say.
    pub(crate) fn applied(&self, in_place: bool) -> Option<String> {
        let wait = self.wait.map(|wait| format!("wait={}", wait.as_secs()));
        match (self.respond_async && in_place, wait) {
            (true, Some(wait)) => Some(format!("{RESPOND_ASYNC}, {wait}")),
            (true, None) => Some(RESPOND_ASYNC.into()),
            (false, wait) => wait,
        }
    }
}

/// A number of seconds, bare or in quotes.
fn seconds(value: &str) -> Option<Duration> {
    let quoted = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    quoted.unwrap_or(value).parse().ok().map(Duration::from_secs)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn preference(values: &[&'static str]) -> Preference {
        let pair = |value: &&'static str| (PREFER, HeaderValue::from_static(value));
        Preference::of(&values.iter().map(pair).collect(), Duration::from_secs(300))
    }

    fn of(values: &[&'static str]) -> Option<u64> {
        preference(values).wait.map(|wait| wait.as_secs())
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
        assert_eq!(
            of(&["wait=soon, wait=5"]),
            Some(5),
            "the first that is understood"
        );
    }

    #[test]
    fn what_was_applied_is_told_in_the_words_of_the_standard() {
        for (values, applied) in [
            (&["wait=10"][..], Some("wait=10")),
            (&["Respond-Async"], Some("respond-async")),
            (
                &["wait=999", "respond-async=\"\";x=y"],
                Some("respond-async, wait=300"),
            ),
            (&["respond-async=yes, return=minimal"], None),
            (&[], None),
        ] {
            let preference = preference(values);
            assert_eq!(preference.applied(true).as_deref(), applied, "{values:?}");
            assert_eq!(preference.takes_a_task(), applied.is_some(), "{values:?}");
        }
        let both = preference(&["respond-async, wait=1"]);
        assert_eq!(
            both.applied(false).as_deref(),
            Some("wait=1"),
            "it was not answered so"
        );
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
