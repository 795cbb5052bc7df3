//! SQLite, in a file of the application's: one connection, on threads that may wait.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use cresset_celery::{Cell, show_sql_time};
use rusqlite::types::{ToSqlOutput, Value, ValueRef};
use rusqlite::{Connection, Error, ErrorCode, OpenFlags, ToSql, params_from_iter};

use super::database::{Column, Database, Statement, Wrong};

/// Other processes write to the file, too; each of them is done in milliseconds.
const BUSY_LIMIT: Duration = Duration::from_secs(5);

/// The file, and the connection to it once there is one.
pub(super) struct Sqlite {
    path: PathBuf,
    connection: Arc<Mutex<Option<Connection>>>,
}

impl Sqlite {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            connection: Arc::default(),
        }
    }

    async fn with<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Connection) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Wrong> {
        let (path, shared) = (self.path.clone(), Arc::clone(&self.connection));
        let done = tokio::task::spawn_blocking(move || {
            let mut kept = shared.lock().unwrap_or_else(PoisonError::into_inner);
            let mut connection = match kept.take() {
                Some(connection) => connection,
                None => open(&path).map_err(|error| wrong(&path, &error))?,
            };
            let done = act(&mut connection).map_err(|error| wrong(&path, &error));
            // One that something was wrong with is opened again: the file may be another one by now.
            if !matches!(done, Err(Wrong::Away(_))) {
                *kept = Some(connection);
            }
            done
        });
        done.await
            .unwrap_or_else(|error| Err(Wrong::Away(format!("a statement was not finished: {error}"))))
    }
}

/// Never makes a file: the application does.
fn open(path: &std::path::Path) -> Result<Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY_LIMIT)?;
    Ok(connection)
}

fn wrong(path: &std::path::Path, error: &Error) -> Wrong {
    let code = error
        .sqlite_error()
        .map(|error| (error.code, error.extended_code));
    match code {
        Some((_, rusqlite::ffi::SQLITE_CONSTRAINT_UNIQUE | rusqlite::ffi::SQLITE_CONSTRAINT_PRIMARYKEY)) => {
            Wrong::Duplicate
        }
        Some((ErrorCode::TooBig | ErrorCode::TypeMismatch | ErrorCode::ConstraintViolation, _)) => {
            Wrong::Refused(error.to_string())
        }
        _ => Wrong::Away(format!("{}: {error}", path.display())),
    }
}

/// A cell as SQLAlchemy and Django write it: times as text.
struct Bound(Cell);

impl ToSql for Bound {
    fn to_sql(&self) -> Result<ToSqlOutput<'_>, Error> {
        Ok(match &self.0 {
            Cell::Null => ToSqlOutput::Owned(Value::Null),
            Cell::Text(text) => ToSqlOutput::Borrowed(ValueRef::Text(text.as_bytes())),
            Cell::Bytes(bytes) => ToSqlOutput::Borrowed(ValueRef::Blob(bytes)),
            Cell::Int(int) => ToSqlOutput::Owned(Value::Integer(*int)),
            Cell::Time(at) => ToSqlOutput::Owned(Value::Text(show_sql_time(*at))),
        })
    }
}

fn run(connection: &Connection, sql: &str, cells: Vec<Cell>) -> Result<u64, Error> {
    let changed = connection
        .prepare_cached(sql)?
        .execute(params_from_iter(cells.into_iter().map(Bound)))?;
    Ok(changed as u64)
}

fn rows(connection: &Connection, sql: &str, cells: Vec<Cell>) -> Result<Vec<Vec<Cell>>, Error> {
    let mut statement = connection.prepare_cached(sql)?;
    let width = statement.column_count();
    let read = |row: &rusqlite::Row<'_>| {
        let cell = |at| {
            Ok(match row.get(at)? {
                Value::Null | Value::Real(_) => Cell::Null,
                Value::Integer(int) => Cell::Int(int),
                Value::Text(text) => Cell::Text(text),
                Value::Blob(bytes) => Cell::Bytes(bytes),
            })
        };
        (0..width).map(cell).collect()
    };
    let found = statement.query_map(params_from_iter(cells.into_iter().map(Bound)), read)?;
    found.collect()
}

#[async_trait]
impl Database for Sqlite {
    async fn columns(&self, table: &'static str) -> Result<Vec<Column>, Wrong> {
        let sql = "SELECT name FROM pragma_table_info(?)";
        let found = self
            .rows(&Statement::new(sql, vec![Cell::Text(table.into())]))
            .await?;
        let column = |row: Vec<Cell>| match row.into_iter().next() {
            // Whole numbers that are a key give themselves.
            Some(Cell::Text(name)) => Some(Column {
                is_filled: name == "id",
                name,
            }),
            _ => None,
        };
        Ok(found.into_iter().filter_map(column).collect())
    }

    fn next_of(&self, _: &'static str) -> String {
        "NULL".into()
    }

    async fn run(&self, statement: &Statement) -> Result<u64, Wrong> {
        let (sql, cells) = (statement.sql.clone(), statement.cells.clone());
        self.with(move |connection| run(connection, &sql, cells)).await
    }

    async fn rows(&self, statement: &Statement) -> Result<Vec<Vec<Cell>>, Wrong> {
        let (sql, cells) = (statement.sql.clone(), statement.cells.clone());
        self.with(move |connection| rows(connection, &sql, cells)).await
    }

    async fn all(&self, changes: &[Statement], read: &Statement) -> Result<Option<Vec<Vec<Cell>>>, Wrong> {
        let changes: Vec<_> = changes
            .iter()
            .map(|change| (change.sql.clone(), change.cells.clone()))
            .collect();
        let (sql, cells) = (read.sql.clone(), read.cells.clone());
        self.with(move |connection| {
            let transaction =
                connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            for (sql, cells) in changes {
                if run(&transaction, &sql, cells)? == 0 {
                    return Ok(None);
                }
            }
            let found = rows(&transaction, &sql, cells)?;
            transaction.commit()?;
            Ok(Some(found))
        })
        .await
    }
}
