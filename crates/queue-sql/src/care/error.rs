//! Why something could not be done to a store at all. What is wrong *in* a store is a finding, not an error.

use std::error::Error;
use std::io::{self, ErrorKind};
use std::path::Path;

use cresset_queue::QueueErrorKind;

use crate::error::StoreError;

/// What kind of trouble it is, for whoever decides what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CareErrorKind {
    /// A server has the store, or somebody else is doing the same.
    Busy,
    /// There is no such store, backup or folder.
    NotFound,
    /// Something is where the result would go.
    InTheWay,
    /// What was to be read is not what was written.
    Damaged,
    /// The disk, or the operating system, says no.
    Io,
}

/// It could not be done.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct CareError {
    /// Which kind of trouble.
    pub kind: CareErrorKind,
    message: String,
    #[source]
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl CareError {
    pub(super) fn new(kind: CareErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    pub(super) fn damaged(message: impl Into<String>) -> Self {
        Self::new(CareErrorKind::Damaged, message)
    }

    pub(super) fn io<'a>(doing: &'a str, path: &'a Path) -> impl FnOnce(io::Error) -> Self + 'a {
        move |source| {
            let kind = match source.kind() {
                ErrorKind::NotFound => CareErrorKind::NotFound,
                ErrorKind::AlreadyExists => CareErrorKind::InTheWay,
                _ => CareErrorKind::Io,
            };
            Self {
                kind,
                message: format!("{doing} {}", path.display()),
                source: Some(Box::new(source)),
            }
        }
    }

    /// The message with every cause, as one sentence.
    #[must_use]
    pub fn whole(&self) -> String {
        chain(self)
    }
}

impl From<StoreError> for CareError {
    fn from(error: StoreError) -> Self {
        let kind = match (&error, error.kind()) {
            (StoreError::InUse(_), _) => CareErrorKind::Busy,
            (StoreError::Io { source, .. }, _) if source.kind() == ErrorKind::NotFound => {
                CareErrorKind::NotFound
            }
            (_, QueueErrorKind::Corrupt) => CareErrorKind::Damaged,
            _ => CareErrorKind::Io,
        };
        let message = error.to_string();
        let source: Option<Box<dyn Error + Send + Sync>> = match error {
            StoreError::Sqlite { source, .. } => Some(Box::new(source)),
            StoreError::Io { source, .. } => Some(Box::new(source)),
            StoreError::Damaged(_) | StoreError::InUse(_) | StoreError::Misuse(_) => None,
        };
        Self {
            kind,
            message,
            source,
        }
    }
}

/// An error with its causes, as one sentence.
pub(super) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(below) = cause {
        text.push_str(": ");
        text.push_str(&below.to_string());
        cause = below.source();
    }
    text
}
