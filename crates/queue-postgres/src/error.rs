//! What goes wrong inside, and what kind of trouble that is for a caller.

use std::sync::Arc;

use cresset_queue::kit::remote::Trouble;
use cresset_queue::kit::{Fault, IntoQueueError};
use cresset_queue::{QueueError, QueueErrorKind};
use tokio_postgres::Row;
use tokio_postgres::error::SqlState;
use tokio_postgres::types::FromSql;

/// A failure inside the store.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// PostgreSQL said no, or nothing any more.
    #[error("postgresql: {doing}")]
    Postgres {
        doing: &'static str,
        source: Arc<tokio_postgres::Error>,
    },
    /// There is no connection now, or it does not answer.
    #[error("{0}")]
    Away(String),
    /// Others are in the way: the store is not ours to write now.
    #[error("{0}")]
    Fenced(String),
    /// It is not a database, or a schema, that this program can use.
    #[error("{0}")]
    Unfit(String),
    /// What is stored makes no sense, or was made by something else.
    #[error("{0}")]
    Damaged(String),
    /// The caller broke a rule of the port.
    #[error("{0}")]
    Misuse(String),
}

impl StoreError {
    pub(crate) fn postgres(doing: &'static str) -> impl FnOnce(tokio_postgres::Error) -> Self {
        move |source| Self::Postgres {
            doing,
            source: Arc::new(source),
        }
    }
}

impl Trouble for StoreError {
    fn away(why: String) -> Self {
        Self::Away(why)
    }

    fn kind(&self) -> QueueErrorKind {
        match self {
            Self::Postgres { source, .. } => postgres_kind(source),
            Self::Away(_) | Self::Fenced(_) => QueueErrorKind::Unavailable,
            Self::Damaged(_) | Self::Unfit(_) => QueueErrorKind::Corrupt,
            Self::Misuse(_) => QueueErrorKind::Internal,
        }
    }

    fn is_of_the_connection(&self) -> bool {
        match self {
            Self::Postgres { source, .. } => ends_connection(source),
            Self::Away(_) | Self::Fenced(_) => true,
            Self::Unfit(_) | Self::Damaged(_) | Self::Misuse(_) => false,
        }
    }

    fn was_lost(&self) -> bool {
        matches!(self, Self::Postgres { source, .. } if ends_connection(source))
    }

    /// Of two that wait for each other one is given up, and of two who bring one key the second.
    fn met_another(&self) -> bool {
        let Self::Postgres { source, .. } = self else {
            return false;
        };
        source.code().is_some_and(|code| {
            [
                SqlState::T_R_DEADLOCK_DETECTED,
                SqlState::T_R_SERIALIZATION_FAILURE,
                SqlState::UNIQUE_VIOLATION,
            ]
            .contains(code)
        })
    }

    fn is_no_commit(&self) -> bool {
        !self.is_of_the_connection()
    }

    fn whole(&self) -> String {
        let mut text = self.to_string();
        let mut below = std::error::Error::source(self);
        while let Some(error) = below {
            text.push_str(": ");
            text.push_str(&error.to_string());
            below = error.source();
        }
        text
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Damaged(text) => Self::Damaged(text),
            Fault::Misuse(text) => Self::Misuse(text),
        }
    }
}

impl IntoQueueError for StoreError {
    fn into_queue(self, operation: &'static str) -> QueueError {
        let error = QueueError::new(self.kind(), operation, self.to_string());
        match self {
            Self::Postgres { source, .. } => error.because(source),
            _ => error,
        }
    }
}

fn ends_connection(error: &tokio_postgres::Error) -> bool {
    match error.code() {
        // Connection exceptions, and the end of the server's process (57P01 to 57P05: shutdown, crash, dropped, idle).
        Some(code) => code.code().starts_with("08") || code.code().starts_with("57P"),
        // What the database did not say is the connection's trouble, but for values that cannot be read or written.
        None => !is_conversion(error),
    }
}

fn is_conversion(error: &tokio_postgres::Error) -> bool {
    // The library tells them apart by its words only.
    let text = error.to_string();
    text.starts_with("error deserializing")
        || text.starts_with("error serializing")
        || text.starts_with("invalid column")
}

fn postgres_kind(error: &tokio_postgres::Error) -> QueueErrorKind {
    if ends_connection(error) {
        return QueueErrorKind::Unavailable;
    }
    let Some(code) = error.code() else {
        return QueueErrorKind::Corrupt;
    };
    let class = code.code().get(..2).unwrap_or_default();
    match class {
        // Resources (disk, memory, connections), the operator, the system, transactions that met another's, read-only.
        "53" | "57" | "58" | "40" | "55" | "25" => QueueErrorKind::Unavailable,
        "XX" => QueueErrorKind::Corrupt,
        // A table or a column that should be there.
        "42" if *code != SqlState::INSUFFICIENT_PRIVILEGE => QueueErrorKind::Corrupt,
        "42" | "28" | "3D" => QueueErrorKind::Unavailable,
        _ => QueueErrorKind::Internal,
    }
}

/// A column of a row.
pub(crate) fn col<'a, T: FromSql<'a>>(row: &'a Row, at: usize) -> Result<T, StoreError> {
    row.try_get(at)
        .map_err(StoreError::postgres("cannot read a column"))
}

/// A number that is never negative and fits.
pub(crate) fn small<T: TryFrom<i64>>(row: &Row, at: usize) -> Result<T, StoreError> {
    let number: i64 = col(row, at)?;
    T::try_from(number)
        .map_err(|_| StoreError::Damaged(format!("a number is {number}, which is out of its range")))
}

/// The same of a short one.
pub(crate) fn tiny<T: TryFrom<i16>>(row: &Row, at: usize) -> Result<T, StoreError> {
    let number: i16 = col(row, at)?;
    T::try_from(number)
        .map_err(|_| StoreError::Damaged(format!("a number is {number}, which is out of its range")))
}
