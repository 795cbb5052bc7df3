//! The `cresset` program as its user sees it: started as a process, against a server that is a mock in this process.
//!
//! One test binary, so that it is linked once.

#![expect(
    clippy::unwrap_used,
    reason = "these are tests, though not every function in them is marked as one"
)]

mod batch;
mod clients;
mod doctor;
mod jsonl;
mod local;
mod mock;
mod program;
mod store;
