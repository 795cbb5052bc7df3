//! Many operations, one transaction, one commit, then all answers. Every answer is sent after the commit, a lease's too.

use std::time::Duration;

use tokio::time::timeout;

use super::{Database, Ended, Link, Trouble};
use crate::kit::Change;

/// What takes longer is given up, with its connection.
const GROUP_LIMIT: Duration = Duration::from_secs(60);

/// Why a group was not committed.
pub enum Failed<E> {
    /// It was rolled back, and the connection is as good as before.
    RolledBack(E),
    /// The connection is gone; it may have been committed if `maybe`.
    Lost {
        /// Why.
        error: E,
        /// The commit was under way.
        maybe: bool,
    },
}

impl<E> Failed<E> {
    /// What went wrong.
    pub fn error(self) -> E {
        match self {
            Self::RolledBack(error) | Self::Lost { error, .. } => error,
        }
    }
}

/// All of it or nothing of it; what it does to the counts if all.
pub async fn commit<D: Database>(
    database: &mut D,
    conn: &D::Conn,
    ops: &mut [D::Op],
) -> Result<Change, Failed<D::Error>> {
    let number = database.commits() + 1;
    let (change, rest) = match answered(database.work(conn, number, ops)).await {
        Ok(worked) => worked,
        Err(error) if !error.is_of_the_connection() => return Err(roll_back(conn, error).await),
        Err(error) => return Err(Failed::Lost { error, maybe: false }),
    };
    match answered(database.end(conn, rest)).await {
        Ok(Ended::Committed) => {
            database.committed(number);
            Ok(change)
        }
        Ok(Ended::Before(error)) => Err(roll_back(conn, error).await),
        Err(error) if error.is_no_commit() => Err(roll_back(conn, error).await),
        Err(error) => Err(Failed::Lost { error, maybe: true }),
    }
}

async fn roll_back<C: Link>(conn: &C, error: C::Error) -> Failed<C::Error> {
    match answered(conn.batch("cannot roll back", "ROLLBACK")).await {
        Ok(()) => Failed::RolledBack(error),
        // The first error is the one to report; the connection is given up.
        _ => Failed::Lost { error, maybe: false },
    }
}

/// The answer of the database, unless it takes too long.
pub async fn answered<T, E: Trouble>(what: impl Future<Output = Result<T, E>>) -> Result<T, E> {
    let late = || format!("the database did not answer within {GROUP_LIMIT:?}");
    let answer = timeout(GROUP_LIMIT, what).await;
    answer.unwrap_or_else(|_| Err(E::away(late())))
}
