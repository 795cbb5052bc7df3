//! Which model answers which task.

use std::collections::BTreeMap;
use std::sync::Arc;

use cresset_config::ModelConfig;

/// The tasks that are answered here.
pub(crate) struct Catalog(BTreeMap<String, Arc<ModelConfig>>);

impl Catalog {
    pub(crate) fn new(routes: &BTreeMap<String, Arc<ModelConfig>>) -> Self {
        Self(routes.clone())
    }

    pub(crate) fn find(&self, task: &str) -> Option<&Arc<ModelConfig>> {
        self.0.get(task)
    }

    /// The names, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Messages to hold at once: what all instances can have, twice, so that the next batches are there when one ends. Never more
    /// than half of what a model lets wait: the other doors have the rest.
    pub(crate) fn prefetch(&self) -> usize {
        let mut models: Vec<&Arc<ModelConfig>> = self.0.values().collect();
        models.sort_by(|a, b| a.name.cmp(&b.name));
        models.dedup_by(|a, b| a.name == b.name);
        let wanted = |model: &&Arc<ModelConfig>| {
            let instances = model
                .instances
                .count
                .saturating_mul(model.instances.devices.len().max(1));
            // Two seats of each instance, and as much again that is read meanwhile.
            let most = model
                .batching
                .max_batch_size
                .saturating_mul(instances)
                .saturating_mul(4);
            most.min(model.limits.max_waiting / 2).max(1)
        };
        models.iter().map(wanted).fold(0, usize::saturating_add).max(1)
    }
}
