//! `retry` of a submit: how the task is tried again, in the words of the model's `[retry]`. What it leaves out is the model's.

use std::fmt;
use std::time::Duration;

use cresset_config::ModelConfig;
use cresset_config::retry::{
    EXCEPTION_CLASS_MAX, RETRIES_MAX, RETRY_DELAY_MAX, RETRY_ON_MAX, is_exception_class,
};
use cresset_task::RetryTerms;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::fields;
use super::options::Raw;
use crate::duration;
use crate::nearest::nearest;
use crate::query::cut;
use crate::schema::FieldError;

const KEYS: [&str; 4] = ["max_retries", "delay", "max_delay", "on"];
/// Longer than this it has more than the four keys can mean: 64 classes of their length, each character escaped.
const TEXT_MAX: usize = 256 << 10;
/// Keys that are read; further ones are not told of one by one.
const KEYS_MAX: usize = 32;

/// The terms, or each wrong field; `at` is what the whole is called. `None` when they leave everything to the model.
pub(super) fn read(
    at: &str,
    raw: &str,
    config: &ModelConfig,
) -> Result<Option<Box<RetryTerms>>, Vec<FieldError>> {
    let wrong = |field: String, message: String| FieldError { field, message };
    let whole = |message: String| vec![wrong(at.to_owned(), message)];
    if !raw.starts_with('{') {
        return Err(whole(format!(
            "must be an object such as {{\"max_retries\": 5, \"on\": [\"TimeoutError\"]}}, not {}",
            cut(raw)
        )));
    }
    if raw.len() > TEXT_MAX {
        let length = raw.len();
        return Err(whole(format!(
            "has {length} bytes; it may have at most {TEXT_MAX}"
        )));
    }
    let Pairs(pairs) =
        serde_json::from_str(raw).map_err(|error| whole(format!("is not an object of JSON: {error}")))?;
    let (mut terms, mut errors) = (RetryTerms::default(), Vec::new());
    for (i, (key, value)) in pairs.iter().enumerate() {
        let is_twice = pairs.iter().take(i).any(|(before, _)| before == key);
        let read = match key.as_str() {
            _ if is_twice => Err("is given twice".into()),
            _ if !KEYS.contains(&key.as_str()) => Err(unknown(key)),
            _ if value.get() == "null" => Ok(()),
            "max_retries" => max_retries(value.get()).map(|n| terms.max_retries = Some(n)),
            "delay" => delay(value.get()).map(|wait| terms.delay = Some(wait)),
            "max_delay" => delay(value.get()).map(|wait| terms.max_delay = Some(wait)),
            _ => match classes(value.get()) {
                Ok(on) => {
                    terms.on = Some(on);
                    Ok(())
                }
                Err((place, message)) => {
                    errors.push(wrong(format!("{at}.on{place}"), message));
                    Ok(())
                }
            },
        };
        errors.extend(
            read.err()
                .map(|message| wrong(format!("{at}.{}", cut(key)), message)),
        );
    }
    if errors.is_empty()
        && let Err((key, message)) = fit(&terms, config)
    {
        errors.push(wrong(format!("{at}.{key}"), message));
    }
    match errors.is_empty() {
        true => Ok((!terms.is_empty()).then(|| Box::new(terms))),
        false => Err(errors),
    }
}

fn unknown(key: &str) -> String {
    if let Some(near) = nearest(key, &KEYS) {
        return format!("is not a known key; did you mean `{near}`?");
    }
    format!("is not a known key; known here are `{}`", KEYS.join("`, `"))
}

fn max_retries(text: &str) -> Result<u32, String> {
    serde_json::from_str::<u32>(text)
        .ok()
        .filter(|retries| *retries <= RETRIES_MAX)
        .ok_or_else(|| {
            format!(
                "must be a whole number from 0 to {RETRIES_MAX}, not {}",
                cut(text)
            )
        })
}

/// To the millisecond, as it is kept; never shorter than was said.
fn delay(text: &str) -> Result<Duration, String> {
    let millis = |wait: Duration| wait.as_nanos().div_ceil(1_000_000);
    fields::duration_of(Raw::Json(text))
        .filter(|wait| *wait <= RETRY_DELAY_MAX)
        .and_then(|wait| u64::try_from(millis(wait)).ok())
        .map(Duration::from_millis)
        .ok_or_else(|| {
            format!(
                "must be {}, at most {}, not {}",
                duration::FORM,
                duration::show(RETRY_DELAY_MAX),
                cut(text)
            )
        })
}

/// The classes; else the place of the wrong one below `on`, and why.
fn classes(text: &str) -> Result<Vec<String>, (String, String)> {
    let form = || {
        format!(
            "an exception's class of at most {EXCEPTION_CLASS_MAX} characters, such as \"TimeoutError\", or \"*\""
        )
    };
    let list: Vec<&RawValue> = serde_json::from_str(text).map_err(|_| {
        let message = format!("must be an array of exceptions' classes, not {}", cut(text));
        (String::new(), message)
    })?;
    if list.len() > RETRY_ON_MAX {
        let message = format!("has {} classes; it may have at most {RETRY_ON_MAX}", list.len());
        return Err((String::new(), message));
    }
    let class = |(i, one): (usize, &&RawValue)| {
        serde_json::from_str::<String>(one.get())
            .ok()
            .filter(|class| is_exception_class(class))
            .ok_or_else(|| {
                (
                    format!("[{i}]"),
                    format!("must be {}, not {}", form(), cut(one.get())),
                )
            })
    };
    list.iter().enumerate().map(class).collect()
}

/// A first wait above the longest would be cut to that without a word.
fn fit(terms: &RetryTerms, config: &ModelConfig) -> Result<(), (&'static str, String)> {
    let policy = config.retry.with(terms);
    let (delay, longest) = (duration::show(policy.delay), duration::show(policy.max_delay));
    match (terms.delay, terms.max_delay) {
        (None, None) => Ok(()),
        _ if policy.delay <= policy.max_delay => Ok(()),
        (_, Some(_)) => Err((
            "max_delay",
            format!("is {longest}, shorter than the first wait (`delay`), which is {delay}"),
        )),
        (Some(_), None) => Err((
            "delay",
            format!(
                "is {delay}, longer than this model's longest wait, {longest}; give a `max_delay` of {delay} or more too"
            ),
        )),
    }
}

/// The pairs of an object in their order, the values raw.
struct Pairs<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Pairs<'de> {
    fn deserialize<D: Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Pairs<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs<'de>, A::Error> {
                let mut pairs = Vec::new();
                while let Some(pair) = map.next_entry::<String, &RawValue>()? {
                    if pairs.len() < KEYS_MAX {
                        pairs.push(pair);
                    }
                }
                Ok(Pairs(pairs))
            }
        }
        input.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    fn read_of(raw: &str) -> Result<Option<Box<RetryTerms>>, Vec<String>> {
        let errors = |wrong: Vec<FieldError>| {
            wrong
                .into_iter()
                .map(|one| format!("{}: {}", one.field, one.message))
                .collect()
        };
        read("retry", raw, &fixture::tensors("m")).map_err(errors)
    }

    #[test]
    fn what_is_said_is_taken_and_the_rest_left_to_the_model() {
        let all = r#"{"max_retries": 0, "delay": "1.5s", "max_delay": 90, "on": ["*", "a.B"]}"#;
        let terms = RetryTerms {
            max_retries: Some(0),
            delay: Some(Duration::from_millis(1_500)),
            max_delay: Some(Duration::from_secs(90)),
            on: Some(vec!["*".into(), "a.B".into()]),
        };
        assert_eq!(read_of(all), Ok(Some(Box::new(terms))));
        for nothing in ["{}", r#"{"on": null, "delay": null}"#] {
            assert_eq!(read_of(nothing), Ok(None), "{nothing}");
        }
        let none = read_of(r#"{"on": []}"#).unwrap().unwrap();
        assert_eq!(none.on, Some(Vec::new()));
    }

    #[test]
    fn a_wait_is_kept_to_the_millisecond_and_never_shortened() {
        let terms = read_of(r#"{"delay": 0.0001}"#).unwrap().unwrap();
        assert_eq!(terms.delay, Some(Duration::from_millis(1)));
    }

    #[test]
    fn every_wrong_key_is_named_with_what_would_be_right() {
        let classes = vec!["\"A\""; RETRY_ON_MAX + 1].join(",");
        let long = "a".repeat(TEXT_MAX);
        let told: Vec<String> = [
            "5",
            "[]",
            r#"{"max_retries": -1, "delay": "soon", "max_delay": "25h", "on": "OSError"}"#,
            r#"{"max_retries": 1001}"#,
            r#"{"max_retries": 1.5}"#,
            r#"{"max_retry": 1, "colour": 1, "delay": 1, "delay": 2}"#,
            r#"{"on": ["OSError", "no class"]}"#,
            r#"{"on": [7]}"#,
            r#"{"delay": "1h"}"#,
            r#"{"max_delay": "500ms"}"#,
            r#"{"delay": "2m", "max_delay": "1m"}"#,
            &format!("{{\"on\": [{classes}]}}"),
            &format!("{{\"on\": [\"{long}\"]}}"),
        ]
        .into_iter()
        .flat_map(|raw| read_of(raw).expect_err("it is wrong"))
        .collect();
        insta::assert_snapshot!(told.join("\n"));
    }
}
