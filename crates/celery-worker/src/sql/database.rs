//! A database, as the tables need it: statements with values in them, and what was wrong with one.
//!
//! Statements are written with `?` where a value goes, and have no other `?` in them.

use async_trait::async_trait;
use cresset_celery::Cell;

use crate::transport::Trouble;

/// Who is meant in the log.
pub(super) const SERVICE: &str = "result backend";

/// What was wrong with a statement.
#[derive(Debug)]
pub(super) enum Wrong {
    /// The database cannot be used now, or not so; what is in the way may go.
    Away(String),
    /// It will never take these values.
    Refused(String),
    /// There is such a row.
    Duplicate,
}

impl From<Wrong> for Trouble {
    fn from(wrong: Wrong) -> Self {
        let why = match wrong {
            Wrong::Away(why) | Wrong::Refused(why) => why,
            Wrong::Duplicate => "a row is there that was not there a moment ago".into(),
        };
        Self {
            service: SERVICE,
            why,
        }
    }
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Column {
    pub(super) name: String,
    /// The database fills it in.
    pub(super) is_filled: bool,
}

/// A statement and its values.
pub(super) struct Statement {
    pub(super) sql: String,
    pub(super) cells: Vec<Cell>,
}

impl Statement {
    pub(super) fn new(sql: impl Into<String>, cells: Vec<Cell>) -> Self {
        Self {
            sql: sql.into(),
            cells,
        }
    }
}

/// A database.
#[async_trait]
pub(super) trait Database: Send + Sync + 'static {
    /// The columns of a table; none: there is no such table.
    async fn columns(&self, table: &'static str) -> Result<Vec<Column>, Wrong>;

    /// What gives the next number of a sequence, in a statement.
    fn next_of(&self, sequence: &'static str) -> String;

    /// How many rows a statement has changed.
    async fn run(&self, statement: &Statement) -> Result<u64, Wrong>;

    /// The rows that a statement gives.
    async fn rows(&self, statement: &Statement) -> Result<Vec<Vec<Cell>>, Wrong>;

    /// Changes first, and reads then, all or nothing. `None`: one of the changes found no row, so that nothing has happened.
    async fn all(&self, changes: &[Statement], read: &Statement) -> Result<Option<Vec<Vec<Cell>>>, Wrong>;
}

/// The text in a cell.
pub(super) fn text(cell: Option<&Cell>) -> Option<&str> {
    match cell {
        Some(Cell::Text(text)) => Some(text),
        Some(Cell::Bytes(bytes)) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}
