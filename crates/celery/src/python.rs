//! Values as Python's `repr` shows them, where Celery's texts have them so.

use std::fmt::Write as _;

/// Longer arguments are not shown to people.
const SHOWN_MAX: usize = 256;

/// `'it\'s'`: Python prefers single quotes, unless the text has them and no double ones.
#[must_use]
pub fn repr_str(text: &str) -> String {
    let quote = if text.contains('\'') && !text.contains('"') {
        '"'
    } else {
        '\''
    };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c == quote => {
                out.push('\\');
                out.push(c);
            }
            c if (c as u32) < 0x20 || c as u32 == 0x7f => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push(quote);
    out
}

/// `{'a', 'b'}`, or `set()`.
#[must_use]
pub fn repr_strs<'a>(items: impl Iterator<Item = &'a str>) -> String {
    let items: Vec<_> = items.map(repr_str).collect();
    if items.is_empty() {
        return "set()".into();
    }
    format!("{{{}}}", items.join(", "))
}

/// Any JSON value.
pub(crate) fn repr(value: &serde_json::Value) -> String {
    use serde_json::Value;
    match value {
        Value::Null => "None".into(),
        Value::Bool(true) => "True".into(),
        Value::Bool(false) => "False".into(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => repr_str(text),
        Value::Array(items) => format!("[{}]", items.iter().map(repr).collect::<Vec<_>>().join(", ")),
        Value::Object(map) => {
            let entries = map.iter().map(|(k, v)| format!("{}: {}", repr_str(k), repr(v)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
    }
}

/// Arguments as a tuple, for people.
pub(crate) fn repr_args(args: &[String]) -> String {
    let one = |text: &String| match text.len() <= SHOWN_MAX {
        true => {
            serde_json::from_str(text).map_or_else(|_| "...".into(), |value: serde_json::Value| repr(&value))
        }
        false => "...".into(),
    };
    match args {
        [only] => format!("({},)", one(only)),
        several => cut(format!(
            "({})",
            several.iter().map(one).collect::<Vec<_>>().join(", ")
        )),
    }
}

/// A text for people, not longer than they would read.
pub(crate) fn cut(text: String) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((at, _)) => format!("{}...", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_as_python_does() {
        assert_eq!(repr_str("boom"), "'boom'");
        assert_eq!(repr_str("it's"), "\"it's\"");
        assert_eq!(repr_str("'\""), "'\\'\"'");
        assert_eq!(repr_str("a\n\\\u{1}é"), "'a\\n\\\\\\x01é'");
        assert_eq!(repr_strs(["a", "b"].into_iter()), "{'a', 'b'}");
        assert_eq!(
            repr(&serde_json::json!({"a": [1, null, true]})),
            "{'a': [1, None, True]}"
        );
    }
}
