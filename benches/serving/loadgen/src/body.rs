//! The requests of a run, built once and sent in turn.

use std::fs;

use crate::http::Target;
use crate::options::Common;

/// Bodies held at most; a file with more lines is cut there. They are sent again and again, so more would change nothing.
const MOST_BODIES: usize = 10_000;

/// Whole requests.
pub(crate) fn requests(common: &Common, target: &Target) -> Result<Vec<Vec<u8>>, crate::Failure> {
    let read =
        |path: &std::path::Path| fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let bodies: Vec<Vec<u8>> = match &common.lines {
        Some(path) => read(path)?
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .take(MOST_BODIES)
            .map(<[u8]>::to_vec)
            .collect(),
        None => common
            .body
            .iter()
            .map(|path| read(path))
            .collect::<Result<_, _>>()?,
    };
    if bodies.is_empty() {
        return Err("there is no body to send".into());
    }
    Ok(bodies
        .iter()
        .map(|body| target.post(&common.content_type, &common.header, body))
        .collect())
}
