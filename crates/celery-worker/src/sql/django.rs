//! The tables of django-celery-results, made by the site's own migrations. It counts the parts of a chord in a row
//! (`django_celery_results_chordcounter`), which is written by whoever sends the header.
//!
//! Celery takes one from the count for each part that ends, and deletes the row with the last. Here a part is marked as counted in its own
//! row, in the same transaction, so that one that is told again counts once; and the row stays until the body has been sent.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use cresset_celery::{Cell, ChordSize, Head, JSON, Meta, Status, django_row};
use cresset_task::Timestamp;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::database::{Database, Statement, Wrong, text};
use super::table::{Put, Table, is_settled, store};
use crate::job::short;
use crate::results::{ChordStep, Results, Stored};
use crate::transport::Trouble;

const TASKS: &str = "django_celery_results_taskresult";
const COUNTERS: &str = "django_celery_results_chordcounter";
/// Results of one statement.
const READ_MAX: usize = 500;
/// In the `meta` of a task: the chord knows of its end.
const COUNTED: &str = "chord_counted";

/// The backend.
pub(super) struct DjangoResults {
    table: Table,
    database: Arc<dyn Database>,
}

/// How many parts of a chord are missing, and which parts it has.
struct Counter {
    left: i64,
    parts: String,
}

impl Counter {
    fn of(rows: &[Vec<Cell>]) -> Option<Self> {
        match rows.first()?.as_slice() {
            [Cell::Int(left), parts] => Some(Self {
                left: *left,
                parts: text(Some(parts))?.to_owned(),
            }),
            _ => None,
        }
    }
}

impl DjangoResults {
    pub(super) fn new(database: Arc<dyn Database>) -> Self {
        let made_by = "the site makes it: `django_celery_results` in INSTALLED_APPS, and `manage.py migrate`";
        Self {
            table: Table::new(Arc::clone(&database), TASKS, "", made_by),
            database,
        }
    }

    fn counter_of(group: &str) -> Statement {
        let sql = format!("SELECT count, sub_tasks FROM {COUNTERS} WHERE group_id = ?");
        Statement::new(sql, vec![Cell::Text(group.to_owned())])
    }

    /// Counts a part, unless it has been, and says where the chord stands then.
    async fn count(&self, id: &str, group: &str) -> Result<Option<Counter>, Wrong> {
        let sql = format!("SELECT meta FROM {TASKS} WHERE task_id = ?");
        let of_part = Statement::new(sql, vec![Cell::Text(id.to_owned())]);
        let rows = self.database.rows(&of_part).await?;
        let mut changes = Vec::new();
        // A task without a result has no row, and nothing that could be marked.
        if let Some(row) = rows.first() {
            let meta = text(row.first()).unwrap_or("null");
            let mut map: Map<String, Value> = serde_json::from_str(meta).unwrap_or_default();
            if map.insert(COUNTED.into(), json!(group)) == Some(json!(group)) {
                return Ok(Counter::of(&self.database.rows(&Self::counter_of(group)).await?));
            }
            let sql = format!("UPDATE {TASKS} SET meta = ? WHERE task_id = ?");
            let marked = Cell::Text(Value::Object(map).to_string());
            changes.push(Statement::new(sql, vec![marked, Cell::Text(id.to_owned())]));
        }
        let sql = format!("UPDATE {COUNTERS} SET count = count - 1 WHERE group_id = ? AND count > 0");
        changes.push(Statement::new(sql, vec![Cell::Text(group.to_owned())]));
        let read = self.database.all(&changes, &Self::counter_of(group)).await?;
        Ok(read.as_deref().and_then(Counter::of))
    }

    /// What the parts have said, in their order. One that cannot be read is told as nothing, of which the chord fails.
    async fn said(&self, parts: &str) -> Result<Vec<String>, Wrong> {
        let parts: Vec<Value> = serde_json::from_str(parts).unwrap_or_default();
        let ids: Vec<&str> = parts
            .iter()
            .filter_map(|part| part.pointer("/0/0").and_then(Value::as_str))
            .collect();
        let mut said = HashMap::with_capacity(ids.len());
        for some in ids.chunks(READ_MAX) {
            let marks = vec!["?"; some.len()].join(", ");
            let sql = format!(
                "SELECT task_id, status, content_type, content_encoding, result FROM {TASKS} WHERE task_id IN ({marks})"
            );
            let cells = some.iter().map(|id| Cell::Text((*id).to_owned())).collect();
            for row in self.database.rows(&Statement::new(sql, cells)).await? {
                let at = |place: usize| text(row.get(place)).unwrap_or_default();
                let (id, state, result) = (at(0), at(1), at(4));
                let is_json = at(2) == JSON && at(3) == "utf-8";
                if is_json && is_settled(state) && serde_json::from_str::<&RawValue>(result).is_ok() {
                    let part = format!("[1, {}, {}, {result}]", json!(id), json!(state));
                    said.insert(id.to_owned(), part);
                }
            }
        }
        let in_order = parts.iter().map(|part| {
            let id = part.pointer("/0/0").and_then(Value::as_str);
            // A group inside of the header has parts of its own, which are not put together here.
            let id = id.filter(|_| part.get(1).is_none_or(Value::is_null));
            id.and_then(|id| said.get(id)).cloned().unwrap_or_default()
        });
        Ok(in_order.collect())
    }
}

#[async_trait]
impl Put for DjangoResults {
    async fn put(&self, meta: &Meta<'_>) -> Result<(), Wrong> {
        let columns = self.table.columns().await?;
        let now = Timestamp::now();
        let mut row = django_row(meta, now);
        row.retain(|(name, _)| columns.has(name));
        let fresh = match columns.has("date_created") {
            true => vec![("date_created", Cell::Time(now))],
            false => Vec::new(),
        };
        self.table.put(&meta.head.id, row, fresh).await
    }
}

#[async_trait]
impl Results for DjangoResults {
    async fn store(&self, meta: &Meta<'_>) -> Result<(), Trouble> {
        store(self, meta).await
    }

    async fn success(&self, id: &str) -> Result<Option<Stored>, Trouble> {
        self.table.success(id).await
    }

    async fn is_settled(&self, id: &str) -> Result<bool, Trouble> {
        self.table.is_settled(id).await
    }

    async fn chord_size(&self, size: &ChordSize) -> Result<(), Trouble> {
        let sql = format!("INSERT INTO {COUNTERS} (group_id, sub_tasks, count) VALUES (?, ?, ?)");
        let cells = vec![
            Cell::Text(size.group.clone()),
            Cell::Text(size.parts.to_string()),
            Cell::Int(i64::try_from(size.size).unwrap_or(i64::MAX)),
        ];
        match self.database.run(&Statement::new(sql, cells)).await {
            // Told before, by us.
            Ok(_) | Err(Wrong::Duplicate) => Ok(()),
            Err(wrong) => Err(wrong.into()),
        }
    }

    async fn chord_part(&self, head: &Head, group: &str, _: &Status) -> Result<ChordStep, Trouble> {
        let Some(counter) = self.count(&head.id, group).await? else {
            tracing::warn!(
                id = short(&head.id),
                group = short(group),
                "chord has no counter in the database, or is done"
            );
            return Ok(ChordStep::Wait);
        };
        if counter.left > 0 {
            return Ok(ChordStep::Wait);
        }
        Ok(ChordStep::Complete(self.said(&counter.parts).await?))
    }

    async fn chord_done(&self, group: &str) -> Result<(), Trouble> {
        let sql = format!("DELETE FROM {COUNTERS} WHERE group_id = ?");
        let gone = Statement::new(sql, vec![Cell::Text(group.to_owned())]);
        self.database.run(&gone).await.map(drop).map_err(Trouble::from)
    }
}
