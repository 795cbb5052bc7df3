//! How much is queued, by model, in memory: asked on every submit, so it must cost no query.
//!
//! The writer is the only one that changes the numbers, after the commit that makes them true and before the answers.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use cresset_queue::Depth;
use cresset_task::ModelName;

/// The numbers, by model. Models with nothing queued have no entry, so this never outgrows the queue.
#[derive(Debug, Default)]
pub(crate) struct Depths(RwLock<HashMap<ModelName, Depth>>);

/// What a group of operations does to the numbers, once it is committed.
#[derive(Debug, Default)]
pub(crate) struct Change(HashMap<ModelName, (i64, i64)>);

impl Change {
    pub(crate) fn add(&mut self, model: &ModelName, tasks: i64, bytes: i64) {
        if let Some(sum) = self.0.get_mut(model) {
            sum.0 += tasks;
            sum.1 += bytes;
        } else {
            self.0.insert(model.clone(), (tasks, bytes));
        }
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
        for (model, (tasks, bytes)) in change.0 {
            let depth = depths.entry(model).or_default();
            depth.tasks = depth.tasks.saturating_add_signed(tasks);
            depth.bytes = depth.bytes.saturating_add_signed(bytes);
        }
        depths.retain(|_, depth| depth.tasks > 0);
    }
}
