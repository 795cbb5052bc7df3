//! A model that has had no work for `instances.idle_unload` is unloaded, and loaded again when there is some.
//!
//! What counts is the last work that was in hand, while an instance was up to do it; a canary is none. The processes tell
//! by themselves when they have gone and when they are back: a job that is handed to one that goes comes back, and waits.

use cresset_batch::Moment;
use cresset_task::Timestamp;

use super::Driver;
use crate::item::{Answer, Item, Origin};
use crate::served;

/// Whether the model is loaded, and since when that is for nothing.
#[derive(Debug, Default)]
pub(super) struct Idle {
    /// It was unloaded, and nothing has come since.
    unloaded: bool,
    /// When work was last in hand, or an instance came up.
    since: Moment,
}

impl Driver {
    /// There was work just now, or there is somebody to do it.
    pub(super) fn note_work(&mut self) {
        self.idle.since = self.shared.now();
    }

    /// Loads or unloads the model when it is time to; or says when it will be.
    pub(super) fn load_or_unload(&mut self) -> Option<Moment> {
        let limit = self.served.config.instances.idle_unload?;
        let model = &self.served.config.name;
        // While it drains nothing is leased any more, but callers are still answered.
        let leases = !self.draining;
        let queued = leases && self.shared.backend.depth(model).has_work(Timestamp::now());
        let in_hand = !self.flights.is_empty() || !self.batcher.is_empty() || !self.aside.is_empty();
        if queued || in_hand || (leases && self.lease.is_some()) {
            if std::mem::take(&mut self.idle.unloaded) {
                tracing::info!(%model, "there is work for an unloaded model, it is loaded again");
                self.served.executor.load();
            }
            if queued {
                self.note_work();
            }
            return None;
        }
        if self.draining || self.idle.unloaded || !self.seats.any() {
            return None;
        }
        // A model whose kept results are asked for is in use, and unloading it would throw them away.
        let asked = self
            .served
            .cache
            .as_ref()
            .map_or(Moment::ZERO, |cache| cache.last_hit());
        let until = self.idle.since.max(asked).saturating_add(limit);
        if self.shared.now() < until {
            return Some(until);
        }
        tracing::info!(%model, idle_unload = ?limit, "a model had no work and is unloaded");
        self.idle.unloaded = true;
        self.served.executor.unload();
        self.served.forget_canary();
        None
    }

    /// Takes in what has come, unless it is a canary for a model that is unloaded.
    pub(super) fn admit(&mut self, item: Item) {
        if item.is_work() {
            self.note_work();
        } else if self.idle.unloaded {
            let why = served::reason(&self.served.executor.status());
            if let Origin::Caller { reply, .. } = item.origin {
                // An error means that the caller has gone: nobody to answer.
                let _ = reply.send(Answer::Ended(Err(self.served.unavailable_because(why))));
            }
            return;
        }
        let now = self.shared.now();
        let entry = self.measure.entry(item, &self.served.config.inputs, now);
        self.batcher.push(entry);
    }
}
