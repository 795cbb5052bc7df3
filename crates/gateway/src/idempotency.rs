//! The `Idempotency-Key` of a request: what makes it safe to send a submit again.
//!
//! The header is on its way to be a standard (draft-ietf-httpapi-idempotency-key-header), where its value is a quoted
//! string; most clients send it bare. Both are read, and `"k"` and `k` are one key.

use std::borrow::Cow;

use axum::http::{HeaderMap, HeaderName};
use cresset_engine::{IDEMPOTENCY_KEY_MAX, IdempotencyKey};

use crate::problem::Problem;
use crate::schema::FieldError;

/// The header, in.
pub(crate) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// The header of an answer that made no new task.
pub(crate) const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The key, if there is one.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Problem> {
    let mut given = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(value) = given.next() else {
        return Ok(None);
    };
    if given.next().is_some() {
        return Err(wrong("is there more than once; send one".into()));
    }
    let text = value.to_str().ok().map(str::trim).and_then(unquoted);
    match text.and_then(|text| text.parse().ok()) {
        Some(key) => Ok(Some(key)),
        None => Err(wrong(format!(
            "is not a key; send 1 to {IDEMPOTENCY_KEY_MAX} visible ASCII characters, such as a UUID, bare or in double quotes"
        ))),
    }
}

fn wrong(message: String) -> Problem {
    Problem::fields(vec![FieldError {
        field: "Idempotency-Key".into(),
        message,
    }])
}

/// What stands within the quotes of a structured string, its escapes undone; a bare text as it is.
fn unquoted(text: &str) -> Option<Cow<'_, str>> {
    let Some(rest) = text.strip_prefix('"') else {
        return Some(text.into());
    };
    let inside = rest.strip_suffix('"')?;
    let mut plain = String::with_capacity(inside.len());
    let mut chars = inside.chars();
    while let Some(c) = chars.next() {
        match c {
            '"' => return None,
            '\\' => match chars.next() {
                Some(escaped @ ('"' | '\\')) => plain.push(escaped),
                _ => return None,
            },
            _ => plain.push(c),
        }
    }
    Some(plain.into())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn of(values: &[&[u8]]) -> Result<Option<String>, Problem> {
        let headers = values
            .iter()
            .map(|v| (IDEMPOTENCY_KEY, HeaderValue::from_bytes(v).unwrap()))
            .collect();
        key(&headers).map(|key| key.map(|k| k.as_str().to_owned()))
    }

    #[test]
    fn a_key_is_read_bare_and_quoted() {
        assert_eq!(of(&[]).unwrap(), None);
        for (header, key) in [
            (&b"8e03978e-40d5"[..], "8e03978e-40d5"),
            (b"\"8e03978e-40d5\"", "8e03978e-40d5"),
            (b" k ", "k"),
            (br#""a\"b\\c""#, r#"a"b\c"#),
            (br"a\b", r"a\b"),
        ] {
            assert_eq!(of(&[header]).unwrap().as_deref(), Some(key));
        }
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let too_long = "k".repeat(IDEMPOTENCY_KEY_MAX + 1);
        for header in [
            &b""[..],
            b"\"",
            b"\"\"",
            b"\"open",
            b"\"a\"b\"",
            b"\"a\";p=1",
            br#""a\b""#,
            br#""a\""#,
            b"a b",
            b"caf\xc3\xa9",
            too_long.as_bytes(),
        ] {
            assert!(of(&[header]).is_err(), "{:?}", String::from_utf8_lossy(header));
        }
        assert!(of(&[b"a", b"a"]).is_err(), "twice");
    }
}
