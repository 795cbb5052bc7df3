//! What is wrong with what is stored, or with what was to be.

use std::fmt;

/// Trouble that has nothing to do with the store itself. A backend makes it an error of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// What is stored makes no sense, or was made by something else.
    Damaged(String),
    /// The caller broke a rule of the port.
    Misuse(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Damaged(text) | Self::Misuse(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Fault {}
