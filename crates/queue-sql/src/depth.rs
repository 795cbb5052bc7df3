//! How much is queued, by model, in memory: asked on every submit, so it must cost no query.
//!
//! The writer is the only one that changes the numbers, after the commit that makes them true and before the answers.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use cresset_queue::Depth;
use cresset_task::{ModelName, Timestamp};
use rusqlite::Connection;

use crate::queries;

/// The numbers, by model. Models with nothing queued have no entry, so this never outgrows the queue.
#[derive(Debug, Default)]
pub(crate) struct Depths(RwLock<HashMap<ModelName, Depth>>);

/// What a group of operations does to the numbers, once it is committed.
#[derive(Debug, Default)]
pub(crate) struct Change(HashMap<ModelName, ModelChange>);

#[derive(Debug, Default)]
struct ModelChange {
    tasks: i64,
    bytes: i64,
    delayed: i64,
    /// The new first due time; looked up once a group, if any of its operations delayed a task or ended a delay.
    next_due: Option<Option<Timestamp>>,
}

impl Change {
    fn of(&mut self, model: &ModelName) -> &mut ModelChange {
        self.0.entry(model.clone()).or_default()
    }

    /// Tasks that came or went.
    pub(crate) fn add(&mut self, model: &ModelName, tasks: i64, bytes: i64) {
        let change = self.of(model);
        change.tasks += tasks;
        change.bytes += bytes;
    }

    /// Delays that began or ended.
    pub(crate) fn delay(&mut self, model: &ModelName, tasks: i64) {
        self.of(model).delayed += tasks;
    }

    /// A first due time that is known.
    pub(crate) fn due(&mut self, model: &ModelName, next: Option<Timestamp>) {
        self.of(model).next_due = Some(next);
    }

    /// Looks up the first due times that may have changed.
    pub(crate) fn look_up_due(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        for (model, change) in &mut self.0 {
            if change.delayed != 0 || change.next_due.is_some() {
                let mut query = conn.prepare_cached(queries::NEXT_DUE)?;
                let next: Option<i64> = query.query_row([model.as_str()], |row| row.get(0))?;
                change.next_due = Some(next.map(Timestamp::from_micros));
            }
        }
        Ok(())
    }
}

impl Depths {
    pub(crate) fn get(&self, model: &ModelName) -> Depth {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(model)
            .copied()
            .unwrap_or_default()
    }

    pub(crate) fn total(&self) -> u64 {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .map(|d| d.tasks)
            .sum()
    }

    pub(crate) fn apply(&self, change: Change) {
        if change.0.is_empty() {
            return;
        }
        let mut depths = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (model, change) in change.0 {
            let depth = depths.entry(model).or_default();
            depth.tasks = depth.tasks.saturating_add_signed(change.tasks);
            depth.bytes = depth.bytes.saturating_add_signed(change.bytes);
            depth.delayed = depth.delayed.saturating_add_signed(change.delayed);
            if let Some(next) = change.next_due {
                depth.next_due = next;
            }
        }
        depths.retain(|_, depth| depth.tasks > 0);
    }
}
