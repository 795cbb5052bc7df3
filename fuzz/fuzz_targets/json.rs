//! The scanner of numbers in JSON, held to serde_json and the standard library. The oracle is that of the tests, which
//! also read everything in `corpus/json`.

#![no_main]

use libfuzzer_sys::fuzz_target;

#[path = "../../crates/task/tests/json/oracle.rs"]
mod oracle;

fuzz_target!(|data: &[u8]| oracle::agree(data));
