//! The `Cache-Control` of a request, in the words of RFC 9111: what the model's result cache may do with it.
//!
//! `no-store` and `no-cache` are kept to the letter. `max-age` and `min-fresh` ask for a young result: what is computed anew is
//! as young as can be, so they count as `no-cache`. What a cache may do but need not, and words that are not known, have no
//! effect, as the standard has it.

use axum::http::{HeaderMap, HeaderName, header};
use cresset_task::CacheUse;

use crate::problem::Problem;
use crate::schema::FieldError;

/// The header of a prediction's answer: what the cache had to do with it.
pub(crate) const CRESSET_CACHE: HeaderName = HeaderName::from_static("cresset-cache");

/// What the request allows.
pub(crate) fn wanted(headers: &HeaderMap) -> Result<CacheUse, Problem> {
    let mut wanted = CacheUse::Allowed;
    for value in headers.get_all(header::CACHE_CONTROL) {
        let text = value.to_str().map_err(|_| wrong("is not plain text".into()))?;
        for directive in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            wanted = stricter(wanted, read(directive)?);
        }
    }
    Ok(wanted)
}

/// One directive.
fn read(directive: &str) -> Result<CacheUse, Problem> {
    let (name, value) = match directive.split_once('=') {
        Some((name, value)) => (name.trim(), Some(value.trim())),
        None => (directive, None),
    };
    match (name.to_ascii_lowercase().as_str(), value) {
        ("no-store", None) => Ok(CacheUse::NoStore),
        ("no-cache", None) => Ok(CacheUse::NoCache),
        (name @ ("no-store" | "no-cache"), Some(_)) => Err(wrong(format!(
            "has a value for `{name}`, which takes none in a request"
        ))),
        (name @ ("max-age" | "min-fresh"), value) => match value.is_some_and(is_seconds) {
            true => Ok(CacheUse::NoCache),
            false => Err(wrong(format!(
                "has no whole number of seconds for `{name}`; send `{name}=0`, or `no-cache`"
            ))),
        },
        ("only-if-cached", _) => Err(wrong(
            "asks for `only-if-cached`: what is not kept is always computed here; leave it out".into(),
        )),
        _ => Ok(CacheUse::Allowed),
    }
}

/// As a number, or as one in quotes, which is to be understood too.
fn is_seconds(value: &str) -> bool {
    let bare = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let digits = bare.unwrap_or(value);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

fn stricter(one: CacheUse, other: CacheUse) -> CacheUse {
    match one.code() > other.code() {
        true => one,
        false => other,
    }
}

fn wrong(message: String) -> Problem {
    Problem::fields(vec![FieldError {
        field: "Cache-Control".into(),
        message,
    }])
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[&str]) -> Option<CacheUse> {
        let headers = values
            .iter()
            .map(|v| (header::CACHE_CONTROL, HeaderValue::from_str(v).unwrap()))
            .collect();
        wanted(&headers).ok()
    }

    #[test]
    fn the_strictest_of_all_directives_counts() {
        use CacheUse::{Allowed, NoCache, NoStore};
        for (values, use_) in [
            (&[][..], Allowed),
            (&[""], Allowed),
            (&["no-cache"], NoCache),
            (&["No-Cache"], NoCache),
            (&[" no-store ,"], NoStore),
            (&["no-cache, no-store"], NoStore),
            (&["no-store", "no-cache"], NoStore),
            (&["max-age=0"], NoCache),
            (&["max-age=60"], NoCache),
            (&["min-fresh=\"5\""], NoCache),
            (&["max-stale, no-transform, x-theirs=1"], Allowed),
        ] {
            assert_eq!(of(values), Some(use_), "{values:?}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for value in [
            "no-store=1",
            "no-cache=\"set-cookie\"",
            "max-age",
            "max-age=soon",
            "max-age=-1",
            "max-age=\"\"",
            "only-if-cached",
            "no-cache, max-age=1.5",
        ] {
            assert_eq!(of(&[value]), None, "{value}");
        }
    }

    proptest! {
        /// However it is written, `no-store` is never lost among other words.
        #[test]
        fn no_store_is_found_anywhere(before in "[a-z ,-]{0,20}", after in "[a-z ,-]{0,20}") {
            let use_ = of(&[&format!("{before},no-store,{after}")]);
            prop_assert!(matches!(use_, None | Some(CacheUse::NoStore)), "{use_:?}");
        }
    }
}
