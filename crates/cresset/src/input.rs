//! Input that a command was given as text, in a file, or on stdin: read whole, checked to be one JSON value, its digits
//! untouched.

use std::io::Read as _;
use std::path::Path;

use serde_json::value::RawValue;

use crate::exit::{Exit, Trouble};

/// The largest single input that is read into memory; servers take 64 MiB by default.
const INPUT_MAX: u64 = 1 << 30;

/// Reads `path`, or stdin when it is `-`.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Trouble> {
    let mut bytes = Vec::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin()
            .lock()
            .take(INPUT_MAX + 1)
            .read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(INPUT_MAX + 1).read_to_end(&mut bytes))
    };
    read.map_err(|error| Trouble::file("read", path, &error).hint("check the path; `-` reads from stdin"))?;
    if bytes.len() as u64 > INPUT_MAX {
        return Err(Trouble::new(
            Exit::DATA,
            format!("{} is larger than {INPUT_MAX} bytes", path.display()),
        )
        .hint("many inputs go into one file as JSON Lines: `cresset submit MODEL --jsonl FILE`"));
    }
    Ok(bytes)
}

/// `bytes` as one JSON value; `what` names where they came from.
pub(crate) fn json(bytes: &[u8], what: &str) -> Result<Box<RawValue>, Trouble> {
    serde_json::from_slice(bytes).map_err(|error| {
        Trouble::new(Exit::DATA, format!("{what} is not JSON: {error}"))
            .hint(r#"write it as JSON, such as '{"text": "hello"}', '[0.5, 1]' or '"hello"' (quoted once more for the shell)"#)
    })
}

/// What is given as `--metadata`: a JSON object.
pub(crate) fn metadata(text: &str) -> Result<Box<RawValue>, Trouble> {
    let raw = json(text.as_bytes(), "--metadata")?;
    if raw.get().starts_with('{') {
        Ok(raw)
    } else {
        Err(Trouble::new(Exit::DATA, "--metadata must be a JSON object")
            .hint(r#"such as --metadata '{"user": 7}'"#))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_json_is_refused_with_its_place() {
        let text = |bytes: &[u8]| json(bytes, "--json").unwrap_err().to_string();
        assert!(text(b"hello").starts_with("error: --json is not JSON: expected value at line 1 column 1"));
        assert!(
            text(b"[1] [2]").contains("trailing characters"),
            "{}",
            text(b"[1] [2]")
        );
        assert!(text(b"").contains("EOF"), "{}", text(b""));
        assert_eq!(json(b" [1.50] ", "--json").unwrap().get(), "[1.50]");
    }
}
