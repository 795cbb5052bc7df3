//! What every reader of foreign bytes is held to, as functions from bytes to nothing: one for each target. They panic when a
//! reader does, or breaks its word.
//!
//! cargo-fuzz (`fuzz/fuzz_targets`) and the test `replay` run the same functions: the one for hours with coverage, the other for
//! seconds in every run. What must not happen here: a reader's own work; each function calls what the server calls.

#![expect(clippy::panic, reason = "it is how a reader that breaks its word is told of")]

mod settings;

#[path = "../../../crates/task/tests/json/oracle.rs"]
mod json_oracle;
#[path = "../../../crates/task/tests/readers/oracle.rs"]
mod readers_oracle;

pub mod mutate;

pub use cresset_gateway::fuzzing::{durations, request};
pub use cresset_keys::fuzzing::token;
pub use cresset_queue_sql::fuzzing::row;
pub use cresset_runner::fuzzing::frame;
pub use settings::{cresset_toml, model_toml};

/// Numbers in JSON, held to serde_json and the standard library.
pub fn json(data: &[u8]) {
    json_oracle::agree(data);
}

/// The binary forms of tensors.
pub fn readers(data: &[u8]) {
    readers_oracle::survive(data);
}

/// A reader of foreign bytes.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name: of the cargo-fuzz target, and of the folder in `fuzz/corpus`.
    pub name: &'static str,
    /// What it is held to.
    pub hold: fn(&[u8]),
    /// Longer inputs say nothing that shorter ones do not.
    pub bytes_max: usize,
}

/// All of them.
pub const TARGETS: &[Target] = &[
    Target {
        name: "json",
        hold: json,
        bytes_max: 400,
    },
    Target {
        name: "readers",
        hold: readers,
        bytes_max: 1_024,
    },
    Target {
        name: "request",
        hold: request,
        bytes_max: 1_024,
    },
    Target {
        name: "durations",
        hold: durations,
        bytes_max: 64,
    },
    Target {
        name: "frame",
        hold: frame,
        bytes_max: 1_024,
    },
    Target {
        name: "row",
        hold: row,
        bytes_max: 1_024,
    },
    Target {
        name: "model_toml",
        hold: model_toml,
        bytes_max: 1_024,
    },
    Target {
        name: "cresset_toml",
        hold: cresset_toml,
        bytes_max: 1_024,
    },
    Target {
        name: "token",
        hold: token,
        bytes_max: 1_024,
    },
];
