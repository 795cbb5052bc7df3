//! What goes wrong inside, and what kind of trouble that is for a caller.

use std::sync::Arc;

use bytes::Bytes;
use cresset_queue::kit::remote::Trouble;
use cresset_queue::kit::{Fault, IntoQueueError};
use cresset_queue::{QueueError, QueueErrorKind};
use cresset_task::TaskId;
use mysql_async::prelude::FromValue;
use mysql_async::{Error, Row, Value};

/// The session is over, or must be: the server stops, or somebody or nobody's silence ended it; a packet was lost or too large.
const ENDINGS: &[u16] = &[
    1053, 1080, 1152, 1153, 1154, 1155, 1156, 1157, 1158, 1159, 1160, 1161, 1184, 1927, 2006, 2013, 3169,
    4031,
];

/// Of two that wait for each other one is given up, or one has waited long enough; or a row was another one meanwhile.
const DEADLOCK: u16 = 1213;
const MEETINGS: &[u16] = &[DEADLOCK, 1205, 1020, 3572];

/// Of two who bring one key, the second is told so.
const DUPLICATE: u16 = 1062;

/// Disk, memory, connections, rights, read-only, a cluster without a quorum; what a person stopped.
const RESOURCES: &[u16] = &[
    1005, 1021, 1023, 1026, 1030, 1037, 1038, 1040, 1041, 1044, 1045, 1047, 1049, 1105, 1114, 1129, 1130,
    1135, 1142, 1143, 1180, 1196, 1203, 1206, 1226, 1227, 1290, 1317, 1401, 1637, 1665, 1698, 1792, 1836,
    1969, 3019, 3024, 3100, 3101, 3118, 4151,
];

/// A table or a column that should be there, or one that is damaged.
const DAMAGES: &[u16] = &[1034, 1035, 1054, 1146, 1194, 1195, 1712, 1815];

/// A failure inside the store.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum StoreError {
    /// The database said no, or nothing any more.
    #[error("mysql: {doing}")]
    Mysql { doing: &'static str, source: Arc<Error> },
    /// There is no connection now, or it does not answer.
    #[error("{0}")]
    Away(String),
    /// Others are in the way: the store is not ours to write now.
    #[error("{0}")]
    Fenced(String),
    /// It is not a database that this program can use.
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
    pub(crate) fn mysql(doing: &'static str) -> impl FnOnce(Error) -> Self {
        move |source| Self::Mysql {
            doing,
            source: Arc::new(source),
        }
    }

    fn code(&self) -> Option<u16> {
        let Self::Mysql { source, .. } = self else {
            return None;
        };
        match &**source {
            Error::Server(told) => Some(told.code),
            _ => None,
        }
    }
}

impl Trouble for StoreError {
    fn away(why: String) -> Self {
        Self::Away(why)
    }

    fn kind(&self) -> QueueErrorKind {
        match self {
            Self::Mysql { source, .. } => mysql_kind(source),
            Self::Away(_) | Self::Fenced(_) => QueueErrorKind::Unavailable,
            Self::Damaged(_) | Self::Unfit(_) => QueueErrorKind::Corrupt,
            Self::Misuse(_) => QueueErrorKind::Internal,
        }
    }

    fn is_of_the_connection(&self) -> bool {
        match self {
            Self::Mysql { source, .. } => ends_connection(source),
            Self::Away(_) | Self::Fenced(_) => true,
            Self::Unfit(_) | Self::Damaged(_) | Self::Misuse(_) => false,
        }
    }

    fn was_lost(&self) -> bool {
        matches!(self, Self::Mysql { source, .. } if ends_connection(source))
    }

    fn met_another(&self) -> bool {
        self.code()
            .is_some_and(|code| code == DUPLICATE || MEETINGS.contains(&code))
    }

    /// A cluster says so of what it will not take.
    fn is_no_commit(&self) -> bool {
        self.code() == Some(DEADLOCK)
    }

    fn whole(&self) -> String {
        match self {
            Self::Mysql { source, .. } => format!("{self}: {}", Said::by(source)),
            error => error.to_string(),
        }
    }
}

/// What the database said, or what became of the connection. The library says each cause once more in every one above it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Said(String);

impl Said {
    fn by(error: &Error) -> Self {
        let mut innermost: &dyn std::error::Error = error;
        while let Some(below) = innermost.source() {
            innermost = below;
        }
        Self(innermost.to_string())
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
            Self::Mysql { source, .. } => error.because(Said::by(&source)),
            _ => error,
        }
    }
}

pub(crate) fn ends_connection(error: &Error) -> bool {
    match error {
        Error::Server(told) => ENDINGS.contains(&told.code),
        // What the database did not say is the connection's trouble.
        _ => true,
    }
}

fn mysql_kind(error: &Error) -> QueueErrorKind {
    let Error::Server(told) = error else {
        return QueueErrorKind::Unavailable;
    };
    let is = |codes: &[u16]| codes.contains(&told.code);
    if is(ENDINGS) || is(MEETINGS) || is(RESOURCES) {
        QueueErrorKind::Unavailable
    } else if is(DAMAGES) {
        QueueErrorKind::Corrupt
    } else {
        QueueErrorKind::Internal
    }
}

/// A column of a row.
pub(crate) fn col<T: FromValue>(row: &Row, at: usize) -> Result<T, StoreError> {
    let read = row.get_opt(at);
    read.and_then(Result::ok)
        .ok_or_else(|| StoreError::Damaged(format!("the column {at} of a row cannot be read")))
}

/// A column that is an id.
pub(crate) fn id(row: &Row, at: usize) -> Result<TaskId, StoreError> {
    id_or_none(row, at)?.ok_or_else(|| StoreError::Damaged("an id is missing".into()))
}

/// The same where there may be none.
pub(crate) fn id_or_none(row: &Row, at: usize) -> Result<Option<TaskId>, StoreError> {
    let Some(bytes) = col::<Option<Vec<u8>>>(row, at)? else {
        return Ok(None);
    };
    let bytes = bytes.try_into();
    let bytes = bytes.map_err(|_| StoreError::Damaged("an id is not 16 bytes long".into()))?;
    Ok(Some(TaskId::from_bytes(bytes)))
}

/// The bytes of a column, taken out of the row.
pub(crate) fn take(row: &mut Row, at: usize) -> Option<Bytes> {
    match row.take::<Value, _>(at) {
        Some(Value::Bytes(bytes)) => Some(bytes.into()),
        _ => None,
    }
}

/// A number that fits.
pub(crate) fn small<T: TryFrom<i64>>(row: &Row, at: usize) -> Result<T, StoreError> {
    let number: i64 = col(row, at)?;
    T::try_from(number)
        .map_err(|_| StoreError::Damaged(format!("a number is {number}, which is out of its range")))
}

#[cfg(test)]
mod tests {
    use mysql_async::ServerError;

    use super::*;

    fn told(code: u16) -> StoreError {
        StoreError::mysql("cannot")(Error::Server(ServerError {
            code,
            message: "no".into(),
            state: "HY000".into(),
        }))
    }

    #[test]
    fn what_the_database_says_is_the_kind_of_trouble_that_it_is() {
        for (code, kind, ends) in [
            (1114, QueueErrorKind::Unavailable, false),
            (1290, QueueErrorKind::Unavailable, false),
            (1213, QueueErrorKind::Unavailable, false),
            (1927, QueueErrorKind::Unavailable, true),
            (1146, QueueErrorKind::Corrupt, false),
            (1406, QueueErrorKind::Internal, false),
        ] {
            let error = told(code);
            assert_eq!(
                (error.kind(), error.is_of_the_connection()),
                (kind, ends),
                "{code}"
            );
        }
        assert!(told(1205).met_another() && !told(1205).is_no_commit());
        assert!(told(DUPLICATE).met_another() && told(DUPLICATE).kind() == QueueErrorKind::Internal);
        assert_eq!(told(1114).whole(), "mysql: cannot: ERROR 1114 (HY000): no");
    }

    #[test]
    fn a_cause_is_said_once() {
        let refused = || std::io::Error::other("nobody is there");
        let error = StoreError::mysql("cannot")(refused().into());
        assert_eq!(error.whole(), "mysql: cannot: nobody is there");
        let told = error.into_queue("open");
        let cause = std::error::Error::source(&told).map(ToString::to_string);
        assert_eq!(cause.as_deref(), Some("nobody is there"));
    }
}
