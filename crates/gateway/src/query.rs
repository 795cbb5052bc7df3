//! Query strings. Unknown parameters are refused: a misspelt `wait` would otherwise be a silent busy loop of a client.

use std::time::Duration;

use axum::extract::Query;
use axum::http::Uri;
use cresset_task::Code;

use crate::duration;
use crate::nearest::nearest;
use crate::problem::Problem;

/// Longer names are cut in messages.
const SHOWN_MAX: usize = 64;

/// Refuses any parameter.
pub(crate) fn none(uri: &Uri) -> Result<(), Problem> {
    match pairs(uri)?.first() {
        None => Ok(()),
        Some((name, _)) => Err(unknown(name, &[])),
    }
}

/// Refuses any parameter of a request with a JSON body; `options` are those that such a body has beside its input.
pub(crate) fn none_with_json(uri: &Uri, options: &[&str]) -> Result<(), Problem> {
    match pairs(uri)?.first() {
        Some((name, _)) if options.contains(&&**name) => Err(bad(format!(
            "`{name}` is a parameter with binary bodies only; a JSON body has it beside `input`"
        ))),
        Some((name, _)) => Err(unknown(name, &[])),
        None => Ok(()),
    }
}

/// The parameters, each one of `known` and given once.
pub(crate) fn options(uri: &Uri, known: &[&str]) -> Result<Vec<(String, String)>, Problem> {
    let pairs = pairs(uri)?;
    for (i, (name, _)) in pairs.iter().enumerate() {
        if !known.contains(&&**name) {
            return Err(unknown(name, known));
        }
        if pairs[..i].iter().any(|(before, _)| before == name) {
            return Err(bad(format!("`{name}` is given twice")));
        }
    }
    Ok(pairs)
}

/// `?wait=30s`, at most `max`; `None` when it is not given.
pub(crate) fn wait(uri: &Uri, max: Duration) -> Result<Option<Duration>, Problem> {
    let mut wait = None;
    for (name, value) in pairs(uri)? {
        if name != "wait" {
            return Err(unknown(&name, &["wait"]));
        }
        if wait.is_some() {
            return Err(bad("`wait` is given twice"));
        }
        let asked = duration::parse(&value).ok_or_else(|| {
            bad(format!(
                "`wait` is `{}`; it must be {}",
                cut(&value),
                duration::FORM
            ))
        })?;
        if asked > max {
            return Err(bad(format!(
                "`wait` is {}; the longest wait here is {}",
                cut(&value),
                duration::show(max)
            )));
        }
        wait = Some(asked);
    }
    Ok(wait)
}

fn pairs(uri: &Uri) -> Result<Vec<(String, String)>, Problem> {
    // The usual case, without going through serde.
    if uri.query().is_none_or(str::is_empty) {
        return Ok(Vec::new());
    }
    match Query::try_from_uri(uri) {
        Ok(Query(pairs)) => Ok(pairs),
        Err(error) => Err(bad(format!("the query is not `name=value` pairs: {error}"))),
    }
}

fn unknown(name: &str, known: &[&str]) -> Problem {
    let hint = match (nearest(name, known), known) {
        (Some(near), _) => format!("did you mean `{near}`?"),
        (None, []) => "this path takes none".into(),
        (None, known) => format!(
            "this path takes {}",
            known
                .iter()
                .map(|k| format!("`{k}`"))
                .collect::<Vec<_>>()
                .join(", ")
        ),
    };
    bad(format!("there is no parameter `{}`; {hint}", cut(name)))
}

/// A query that is wrong, and why.
pub(crate) fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(Code::BadQuery, detail)
}

/// What a caller sent, short enough to be told back.
pub(crate) fn cut(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}...", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: Duration = Duration::from_secs(300);

    fn uri(query: &str) -> Uri {
        format!("/v1/tasks/x{query}").parse().unwrap()
    }

    #[test]
    fn a_wait_is_read() {
        for (query, seconds) in [
            ("?wait=30s", 30),
            ("?wait=5m", 300),
            ("?wait=7", 7),
            ("?wait=%37s", 7),
        ] {
            assert_eq!(
                wait(&uri(query), MAX).unwrap(),
                Some(Duration::from_secs(seconds)),
                "{query}"
            );
        }
        for query in ["", "?"] {
            assert_eq!(wait(&uri(query), MAX).unwrap(), None);
            assert!(none(&uri(query)).is_ok());
        }
    }

    #[test]
    fn what_is_told_back_is_short() {
        assert_eq!(cut(&"é".repeat(100)), format!("{}...", "é".repeat(SHOWN_MAX)));
        assert_eq!(cut("short"), "short");
    }
}
