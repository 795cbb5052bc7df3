//! What goes wrong inside, and what kind of trouble that is for a caller.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use cresset_queue::kit::{Fault, IntoQueueError};
use cresset_queue::{QueueError, QueueErrorKind};
use rusqlite::ErrorCode;

/// A failure inside the store.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// SQLite said no.
    #[error("sqlite: {doing}")]
    Sqlite {
        doing: &'static str,
        source: Arc<rusqlite::Error>,
    },
    /// The file system said no.
    #[error("{doing} {}", path.display())]
    Io {
        doing: &'static str,
        path: PathBuf,
        source: Arc<io::Error>,
    },
    /// What is stored makes no sense, or was made by something else.
    #[error("{0}")]
    Damaged(String),
    /// Somebody else has the database.
    #[error("{0}")]
    InUse(String),
    /// The caller broke a rule of the port.
    #[error("{0}")]
    Misuse(String),
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Damaged(text) => Self::Damaged(text),
            Fault::Misuse(text) => Self::Misuse(text),
        }
    }
}

impl StoreError {
    pub(crate) fn sqlite(doing: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |source| Self::Sqlite {
            doing,
            source: Arc::new(source),
        }
    }

    pub(crate) fn io(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io {
            doing,
            path: path.into(),
            source: Arc::new(source),
        }
    }

    pub(crate) fn kind(&self) -> QueueErrorKind {
        match self {
            Self::Sqlite { source, .. } => sqlite_kind(source),
            Self::Io { .. } | Self::InUse(_) => QueueErrorKind::Unavailable,
            Self::Damaged(_) => QueueErrorKind::Corrupt,
            Self::Misuse(_) => QueueErrorKind::Internal,
        }
    }

    /// True when the disk itself failed: what was written last may be there, be lost, or be lost later.
    pub(crate) fn is_of_the_disk(&self) -> bool {
        matches!(self, Self::Sqlite { source, .. }
            if source.sqlite_error_code() == Some(ErrorCode::SystemIoFailure))
    }
}

impl IntoQueueError for StoreError {
    fn into_queue(self, operation: &'static str) -> QueueError {
        let error = QueueError::new(self.kind(), operation, self.to_string());
        match self {
            Self::Sqlite { source, .. } => error.because(source),
            Self::Io { source, .. } => error.because(source),
            Self::Damaged(_) | Self::InUse(_) | Self::Misuse(_) => error,
        }
    }
}

fn sqlite_kind(error: &rusqlite::Error) -> QueueErrorKind {
    use rusqlite::Error as E;
    // A column that holds what this program never writes there.
    if matches!(
        error,
        E::FromSqlConversionFailure(..) | E::IntegralValueOutOfRange(..) | E::InvalidColumnType(..)
    ) {
        return QueueErrorKind::Corrupt;
    }
    match error.sqlite_error_code() {
        Some(
            ErrorCode::DiskFull
            | ErrorCode::SystemIoFailure
            | ErrorCode::DatabaseBusy
            | ErrorCode::DatabaseLocked
            | ErrorCode::CannotOpen
            | ErrorCode::ReadOnly
            | ErrorCode::PermissionDenied
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::NoLargeFileSupport
            | ErrorCode::OutOfMemory,
        ) => QueueErrorKind::Unavailable,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => QueueErrorKind::Corrupt,
        _ => QueueErrorKind::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_temporary_and_a_damaged_file_is_not() {
        let failure = |code| rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
        for (code, kind) in [
            (rusqlite::ffi::SQLITE_FULL, QueueErrorKind::Unavailable),
            (rusqlite::ffi::SQLITE_IOERR, QueueErrorKind::Unavailable),
            (rusqlite::ffi::SQLITE_BUSY, QueueErrorKind::Unavailable),
            (rusqlite::ffi::SQLITE_CORRUPT, QueueErrorKind::Corrupt),
            (rusqlite::ffi::SQLITE_NOTADB, QueueErrorKind::Corrupt),
            (rusqlite::ffi::SQLITE_CONSTRAINT, QueueErrorKind::Internal),
        ] {
            assert_eq!(
                StoreError::sqlite("x")(failure(code)).kind(),
                kind,
                "sqlite code {code}"
            );
        }
    }
}
