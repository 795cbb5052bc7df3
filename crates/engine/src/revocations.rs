//! Cancelled tasks on their way to the driver that has them.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use cresset_task::TaskId;

/// Tasks of one model that were cancelled while leased: its driver takes them out of its hands. No more than are leased.
#[derive(Debug, Default)]
pub(crate) struct Revocations(Mutex<HashSet<TaskId>>);

impl Revocations {
    /// A leased task has been cancelled.
    pub(crate) fn add(&self, id: TaskId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    }

    #[cfg(feature = "testing")]
    pub(crate) fn len(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Those since the last call.
    pub(crate) fn take(&self) -> HashSet<TaskId> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
