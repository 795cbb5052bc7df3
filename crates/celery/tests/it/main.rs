//! Against bytes that real Celery wrote, and against bytes that nobody would write.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

mod continuations;
mod foreign;
mod golden;
mod pickled;

use std::path::Path;

use serde_json::Value;

/// A capture by its file's name.
fn capture(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/captures")
        .join(name);
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// The names of all captures that start so.
fn captures(start: &str) -> Vec<String> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/captures");
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with(start))
        .collect();
    names.sort();
    names
}
