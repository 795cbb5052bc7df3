//! A table with a row for each task, whatever its columns are: how a row gets in, and which states may be written over.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use cresset_celery::{Cell, Exception, Head, Meta, Row, Status};
use serde_json::value::RawValue;

use super::database::{Column, Database, Statement, Wrong, text};
use crate::job::short;
use crate::results::Stored;
use crate::transport::Trouble;

/// A table.
pub(super) struct Table {
    database: Arc<dyn Database>,
    name: &'static str,
    /// Where the numbers of its rows come from, when the database does not give them by itself.
    sequence: &'static str,
    /// Who makes it, for whoever reads that it is missing.
    made_by: &'static str,
    columns: Mutex<Option<Arc<Columns>>>,
}

/// The columns of a table.
pub(super) struct Columns(Vec<Column>);

impl Columns {
    pub(super) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|column| column.name == name)
    }

    fn is_filled(&self, name: &str) -> bool {
        self.0
            .iter()
            .any(|column| column.name == name && column.is_filled)
    }
}

impl Table {
    pub(super) fn new(
        database: Arc<dyn Database>,
        name: &'static str,
        sequence: &'static str,
        made_by: &'static str,
    ) -> Self {
        Self {
            database,
            name,
            sequence,
            made_by,
            columns: Mutex::default(),
        }
    }

    /// Its columns, asked for once, and again after something was wrong: the application may have changed them.
    pub(super) async fn columns(&self) -> Result<Arc<Columns>, Wrong> {
        let known = self.known().clone();
        if let Some(columns) = known {
            return Ok(columns);
        }
        let found = self.database.columns(self.name).await?;
        if found.is_empty() {
            let Self { name, made_by, .. } = self;
            return Err(Wrong::Away(format!("there is no table `{name}`; {made_by}")));
        }
        let columns = Arc::new(Columns(found));
        *self.known() = Some(Arc::clone(&columns));
        Ok(columns)
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Option<Arc<Columns>>> {
        self.columns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a task's row, over what is there unless that is a success. `fresh` goes only into a row that was not there.
    pub(super) async fn put(&self, id: &str, row: Row, fresh: Row) -> Result<(), Wrong> {
        let put = self.try_put(id, row, fresh).await;
        if put.is_err() {
            self.known().take();
        }
        put
    }

    async fn try_put(&self, id: &str, row: Row, fresh: Row) -> Result<(), Wrong> {
        let columns = self.columns().await?;
        let update = self.update(id, &row);
        if self.database.run(&update).await? > 0 {
            return Ok(());
        }
        let is_there = self.state(id).await?.is_some();
        if is_there {
            return Ok(());
        }
        let insert = self.insert(id, row, fresh, &columns);
        match self.database.run(&insert).await {
            Ok(_) => Ok(()),
            // Somebody was faster.
            Err(Wrong::Duplicate) => self.database.run(&update).await.map(drop),
            Err(wrong) => Err(wrong),
        }
    }

    fn update(&self, id: &str, row: &Row) -> Statement {
        let (names, mut cells): (Vec<_>, Vec<_>) = row
            .iter()
            .map(|(name, cell)| (format!("{name} = ?"), cell.clone()))
            .unzip();
        cells.push(Cell::Text(id.to_owned()));
        let (table, names) = (self.name, names.join(", "));
        let sql = format!(
            "UPDATE {table} SET {names} WHERE task_id = ? AND (status IS NULL OR status <> 'SUCCESS')"
        );
        Statement::new(sql, cells)
    }

    fn insert(&self, id: &str, row: Row, fresh: Row, columns: &Columns) -> Statement {
        let (mut names, mut cells) = (vec!["task_id"], vec![Cell::Text(id.to_owned())]);
        for (name, cell) in row.into_iter().chain(fresh) {
            names.push(name);
            cells.push(cell);
        }
        let mut values = vec!["?".to_owned(); names.len()];
        if !columns.is_filled("id") {
            names.push("id");
            values.push(self.database.next_of(self.sequence));
        }
        let (table, names, values) = (self.name, names.join(", "), values.join(", "));
        Statement::new(format!("INSERT INTO {table} ({names}) VALUES ({values})"), cells)
    }

    /// The state that is stored of a task; an empty one where there is none in its row.
    pub(super) async fn state(&self, id: &str) -> Result<Option<String>, Wrong> {
        let sql = format!("SELECT status FROM {} WHERE task_id = ?", self.name);
        let rows = self
            .database
            .rows(&Statement::new(sql, vec![Cell::Text(id.to_owned())]))
            .await?;
        Ok(rows
            .first()
            .map(|row| text(row.first()).unwrap_or_default().to_owned()))
    }
}

impl Table {
    /// That a task has succeeded, if so. What with is read where it lies, when it is needed.
    pub(super) async fn success(&self, id: &str) -> Result<Option<Stored>, Trouble> {
        let is_success = self.state(id).await?.is_some_and(|state| state == "SUCCESS");
        Ok(is_success.then(|| Stored {
            result: RawValue::NULL.to_owned(),
        }))
    }

    /// Whether a revocation must leave a task alone.
    pub(super) async fn is_settled(&self, id: &str) -> Result<bool, Trouble> {
        Ok(self.state(id).await?.is_some_and(|state| is_settled(&state)))
    }
}

/// Whether a state is one that a revocation must leave alone.
pub(super) fn is_settled(state: &str) -> bool {
    !matches!(state, "" | "PENDING" | "RECEIVED" | "RETRY" | "REJECTED")
}

/// How a layout writes the row of a result.
#[async_trait]
pub(super) trait Put: Sync {
    async fn put(&self, meta: &Meta<'_>) -> Result<(), Wrong>;
}

/// Stores a result, or that it cannot be stored.
pub(super) async fn store(to: &impl Put, meta: &Meta<'_>) -> Result<(), Trouble> {
    match to.put(meta).await {
        Err(Wrong::Refused(why)) => {
            let status = refused(meta.head, &why);
            let failed = Meta {
                status: &status,
                ..meta.clone()
            };
            last_word(to.put(&failed).await)
        }
        put => put.map_err(Trouble::from),
    }
}

/// What is stored in place of what a database will never take.
fn refused(head: &Head, why: &str) -> Status {
    tracing::error!(
        id = short(&head.id),
        why,
        "result is refused by the database; its task fails"
    );
    let exception = Exception::builtin("RuntimeError", &format!("the result cannot be stored: {why}"));
    let line = exception.line();
    Status::Failure(exception, line)
}

/// Of what was stored in its place. A task whose very id does not fit has no row at all, and nobody could find it.
fn last_word(put: Result<(), Wrong>) -> Result<(), Trouble> {
    match put {
        Err(Wrong::Refused(why)) => {
            tracing::error!(why, "nothing can be stored of a task");
            Ok(())
        }
        put => put.map_err(Trouble::from),
    }
}
