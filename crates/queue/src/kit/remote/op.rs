//! What a writer is asked to do, as far as it must know that: which operations there are is each backend's own matter.

use std::sync::Arc;

use cresset_task::{EventId, TaskId};

use super::Trouble;
use crate::kit::{Given, IntoQueueError, Returns, Slot, Submission};
use crate::{Lease, Release, Sendings, Submitted};

/// An operation, with room for its answer.
pub trait Operation: Sized + Send + 'static {
    /// What a store fails with inside.
    type Error: Trouble;

    /// Gives back leases that nobody received. Nobody waits for that either.
    fn give_back(leases: Vec<Release>) -> Self;

    /// The leases of such a one.
    fn given_back(self) -> Option<Vec<Release>>;

    /// Where its answer waits, and what it is called in errors; `None` where nobody waits.
    fn slot(&mut self) -> Option<(&'static str, &mut dyn Waiting<Self::Error>)>;

    /// Bytes it brings into the transaction.
    fn weight(&self) -> usize;

    /// It goes before the others that came in with it, in a group of its own: it needs no flush.
    fn goes_first(&self) -> bool {
        false
    }

    /// Notes what is to be undone of it when its caller was told that it failed and it was committed all the same.
    fn undo(&self, undo: &mut Undo);

    /// Its group is committed: the answer goes out.
    fn settle(mut self, returns: &Arc<Returns>) {
        if let Some((operation, slot)) = self.slot() {
            slot.settle(operation, returns);
        }
    }

    /// It did not happen, or nobody knows.
    fn fail(mut self, error: &Self::Error, returns: &Returns) {
        self.refuse(error);
        if let Some(leases) = self.given_back() {
            returns.put_back(leases);
        }
    }

    /// Its caller is told that it failed; whether it did is not known yet.
    fn refuse(&mut self, error: &Self::Error) {
        if let Some((operation, slot)) = self.slot() {
            slot.refuse(operation, error.clone());
        }
    }
}

/// A slot, whatever its answer is.
pub trait Waiting<E> {
    /// The commit is done: the answer goes out. Leases whose asker has gone go back.
    fn settle(&mut self, operation: &'static str, returns: &Arc<Returns>);

    /// The caller is told that it failed. The answer stays.
    fn refuse(&mut self, operation: &'static str, error: E);
}

impl<T, E: IntoQueueError> Waiting<E> for Slot<T, E> {
    fn settle(&mut self, operation: &'static str, _returns: &Arc<Returns>) {
        self.take().settle(operation, |answer| answer);
    }

    fn refuse(&mut self, operation: &'static str, error: E) {
        Self::refuse(self, operation, error);
    }
}

impl<E: IntoQueueError> Waiting<E> for Slot<Vec<Lease>, E, Given<Lease>> {
    fn settle(&mut self, operation: &'static str, returns: &Arc<Returns>) {
        self.take()
            .settle(operation, |leases| Given::new(leases, returns));
    }

    fn refuse(&mut self, operation: &'static str, error: E) {
        Self::refuse(self, operation, error);
    }
}

/// Tasks that were submitted, and deliveries that were leased, by operations whose callers were told that they failed.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Undo {
    /// The tasks.
    pub submitted: Vec<TaskId>,
    /// Those of them that were born leased.
    pub begun: Vec<TaskId>,
    /// The deliveries, each with its fence.
    pub sendings: Vec<(EventId, u32)>,
}

impl Undo {
    /// Whether there is nothing to undo.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.submitted.is_empty() && self.sendings.is_empty()
    }

    /// A task, if this made one.
    pub fn submit<I, E: IntoQueueError>(&mut self, task: &Submission<I>, slot: &Slot<Submitted, E>) {
        if slot.answered(|submitted| *submitted == Submitted::New) {
            self.submitted.push(task.id);
            self.begun.extend(task.started_at.map(|_| task.id));
        }
    }

    /// The deliveries that this leased.
    pub fn outbox_lease<E: IntoQueueError>(&mut self, slot: &Slot<Sendings, E>) {
        slot.answered(|given| {
            let each = given.sendings.iter();
            self.sendings
                .extend(each.map(|sending| (sending.id, sending.fence)));
            true
        });
    }
}
