//! Payloads in files of their own: which ones, what becomes of the files, and what when one is lost.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

#[path = "../common/mod.rs"]
mod common;
mod damage;
mod house;
mod placing;
mod sweep;
