//! Celery's own tables (`celery_taskmeta`), as its SQLAlchemy backend has them.

use std::sync::Arc;

use async_trait::async_trait;
use cresset_celery::{ChordSize, Head, Meta, Row, Status, celery_row};

use super::database::{Database, Wrong};
use super::table::{Put, Table, store};
use crate::results::{ChordStep, Results, Stored};
use crate::transport::Trouble;

/// The backend. It has no counters for chords.
pub(super) struct CeleryResults {
    table: Table,
}

impl CeleryResults {
    pub(super) fn new(database: Arc<dyn Database>) -> Self {
        let made_by = "Celery makes it when a client or a worker with this result backend first uses it";
        Self {
            table: Table::new(database, "celery_taskmeta", "task_id_sequence", made_by),
        }
    }
}

#[async_trait]
impl Put for CeleryResults {
    async fn put(&self, meta: &Meta<'_>) -> Result<(), Wrong> {
        let columns = self.table.columns().await?;
        let row = celery_row(meta, &|name| columns.has(name));
        let row = row.ok_or_else(|| Wrong::Refused("the result cannot be written as a pickle".into()))?;
        self.table.put(&meta.head.id, row, Row::new()).await
    }
}

#[async_trait]
impl Results for CeleryResults {
    async fn store(&self, meta: &Meta<'_>) -> Result<(), Trouble> {
        store(self, meta).await
    }

    async fn success(&self, id: &str) -> Result<Option<Stored>, Trouble> {
        self.table.success(id).await
    }

    async fn is_settled(&self, id: &str) -> Result<bool, Trouble> {
        self.table.is_settled(id).await
    }

    fn has_no_counters(&self) -> bool {
        true
    }

    async fn chord_size(&self, _: &ChordSize) -> Result<(), Trouble> {
        Ok(())
    }

    async fn chord_part(&self, _: &Head, _: &str, _: &Status) -> Result<ChordStep, Trouble> {
        Ok(ChordStep::Wait)
    }

    async fn chord_done(&self, _: &str) -> Result<(), Trouble> {
        Ok(())
    }
}
