//! Items in flight that nobody wants any more: whoever has them is told, once of each.

use std::collections::HashSet;

use cresset_runner::Unwanted;
use cresset_task::TaskId;

use super::Driver;
use crate::item::Item;

impl Driver {
    /// These tasks have been cancelled.
    pub(super) fn tell_cancelled(&mut self, tasks: &HashSet<TaskId>) {
        if !tasks.is_empty() {
            self.tell(Unwanted::Cancelled, |item| item.is_among(tasks));
        }
    }

    /// Some callers have hung up.
    pub(super) fn tell_hung_up(&mut self) {
        self.tell(Unwanted::HungUp, |item| !item.is_wanted());
    }

    fn tell(&mut self, why: Unwanted, is_meant: impl Fn(&Item) -> bool) {
        for (batch, flight) in &mut self.flights {
            for (at, entry) in flight.entries.iter_mut().enumerate() {
                if entry.item.unwanted || !is_meant(&entry.item) {
                    continue;
                }
                // Before the process can know of it: an item that it skips must be one that we gave up.
                entry.item.unwanted = true;
                // Whoever waits for its result has to see for themselves.
                entry.item.lead = None;
                flight.is_whole = false;
                self.served.executor.cancel(flight.instance, *batch, at, why);
            }
        }
    }
}
