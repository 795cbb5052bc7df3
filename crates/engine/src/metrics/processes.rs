//! The figures of a model's processes, and of what they do to tasks.

use cresset_runner::{DownReason, RecycleReason};

use super::{ModelMetrics, RestartLabel};

impl ModelMetrics {
    fn because(&self, reason: &str) -> RestartLabel {
        RestartLabel {
            model: self.model.clone(),
            reason: reason.to_owned(),
        }
    }

    pub(crate) fn went_down(&self, reason: &DownReason) {
        self.restarts.get_or_create(&self.because(reason.label())).inc();
    }

    pub(crate) fn recycled(&self, reason: RecycleReason) {
        self.recycled.get_or_create(&self.because(reason.label())).inc();
    }

    pub(crate) fn not_replaced(&self, reason: &DownReason) {
        self.not_replaced
            .get_or_create(&self.because(reason.label()))
            .inc();
    }

    /// An instance was stopped as there was no work.
    pub(crate) fn unloaded(&self) {
        self.unloaded.inc();
    }

    pub(crate) fn redelivered(&self, items: u64) {
        self.redelivered.inc_by(items);
    }

    /// An input was found guilty and is kept as a dead letter.
    pub(crate) fn died(&self) {
        self.dead_letters.inc();
    }

    pub(crate) fn stale(&self) {
        self.stale.inc();
    }
}
