//! What an engine still holds in memory, for tests: nothing, when nothing is under way.

use std::sync::atomic::Ordering;

use crate::engine::Engine;

/// Everything that is counted while something is under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Residue {
    /// Those who wait for the end of a task.
    pub waiters: usize,
    /// Those who follow one.
    pub followers: usize,
    /// Those who watch all tasks.
    pub watchers: usize,
    /// Bytes of results that come piece by piece; of tasks that have ended some are kept for a while.
    pub feed_bytes: usize,
    /// Submits on their way to the store, by model, client and in all.
    pub coming: u64,
    /// Predictions that wait or run.
    pub predictions: u64,
    /// What is counted of their weight.
    pub prediction_bytes: u64,
    /// Items in instances.
    pub running: usize,
    /// Clients with a request under way.
    pub clients: usize,
    /// Cancelled tasks that no driver has taken notice of.
    pub revocations: usize,
}

impl Engine {
    /// What it still holds.
    #[must_use]
    pub fn residue(&self) -> Residue {
        let shared = &self.inner.shared;
        let mut residue = Residue {
            waiters: shared.waiters.len(),
            followers: shared.followers.len(),
            watchers: shared.bulletin.watchers(),
            feed_bytes: shared.feeds.budget.used(),
            coming: shared.admission.coming(),
            predictions: shared.admission.waiting(),
            clients: shared.admission.clients(),
            ..Residue::default()
        };
        for served in self.inner.models.load().values() {
            residue.coming += served.coming.sum();
            residue.predictions += served.waiting() as u64;
            residue.prediction_bytes += served.waiting_bytes.load(Ordering::Relaxed);
            residue.running += served.running();
            residue.revocations += served.revocations.len();
        }
        residue
    }
}
