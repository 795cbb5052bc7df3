//! What a by-hand pool says of its jobs before their end.

use cresset_task::{BatchId, InstanceId};

use super::FakePool;
use crate::port::{Chunk, LogLine, PoolEvent, Report};

impl FakePool {
    /// By-hand pools: says how far items of a held job have come.
    pub fn progress(&self, batch: BatchId, reports: Vec<Report>) {
        if let Some(instance) = self.holder(batch) {
            self.emit(PoolEvent::Progress {
                instance,
                batch,
                reports,
            });
        }
    }

    /// By-hand pools: gives pieces of the results of a held job.
    pub fn chunks(&self, batch: BatchId, chunks: Vec<Chunk>) {
        if let Some(instance) = self.holder(batch) {
            self.emit(PoolEvent::Chunks {
                instance,
                batch,
                chunks,
            });
        }
    }

    /// By-hand pools: writes lines about items of a held job.
    pub fn logs(&self, batch: BatchId, lines: Vec<LogLine>) {
        if let Some(instance) = self.holder(batch) {
            self.emit(PoolEvent::Logs {
                instance,
                batch,
                lines,
            });
        }
    }

    fn holder(&self, batch: BatchId) -> Option<InstanceId> {
        let inner = self.lock();
        let held = inner.places.values().flat_map(|place| &place.held);
        held.into_iter()
            .find(|held| held.batch == batch)
            .map(|held| held.instance)
    }
}
