//! How much is queued, by model, by client and in all, in memory: asked on every submit, so it must cost no query.
//!
//! The writer is the only one that changes the numbers, after the commit that makes them true and before the answers. Where
//! servers share a store, it may hear that a task came only after it has counted that it went: so the sums have a sign, and
//! what is shown has none.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{PoisonError, RwLock};

use cresset_task::{ClientKey, ModelName, Timestamp};

use super::{OutboxChange, OutboxCounts};
use crate::{Depth, Load};

/// The numbers. Models and clients with nothing queued have no entry, so this never outgrows the queue.
#[derive(Debug, Default)]
pub struct Depths {
    models: RwLock<HashMap<ModelName, ModelChange>>,
    clients: RwLock<HashMap<ClientKey, (i64, i64)>>,
    // Apart from the maps: asked for without a lock.
    tasks: AtomicI64,
    bytes: AtomicI64,
    /// What is to be told.
    pub outbox: OutboxCounts,
}

/// Whose a task is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The model it is for.
    pub model: ModelName,
    /// Who submitted it; `None` when clients are not told apart.
    pub client: Option<ClientKey>,
}

/// What a group of operations does to the numbers, once it is committed.
#[derive(Debug, Default)]
pub struct Change {
    models: HashMap<ModelName, ModelChange>,
    clients: HashMap<ClientKey, (i64, i64)>,
    /// What it does to what is to be told.
    pub outbox: OutboxChange,
}

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
        self.models.entry(model.clone()).or_default()
    }

    /// Tasks that came or went.
    pub fn add(&mut self, owner: &Owner, tasks: i64, bytes: i64) {
        self.add_to_model(&owner.model, tasks, bytes);
        if let Some(client) = &owner.client {
            self.add_to_client(client, tasks, bytes);
        }
    }

    /// Tasks of a model, whosever they are.
    pub fn add_to_model(&mut self, model: &ModelName, tasks: i64, bytes: i64) {
        let change = self.of(model);
        change.tasks += tasks;
        change.bytes += bytes;
    }

    /// Tasks of a client, whatever they are for.
    pub fn add_to_client(&mut self, client: &ClientKey, tasks: i64, bytes: i64) {
        let change = self.clients.entry(client.clone()).or_default();
        change.0 += tasks;
        change.1 += bytes;
    }

    /// Delays that began or ended.
    pub fn delay(&mut self, model: &ModelName, tasks: i64) {
        self.of(model).delayed += tasks;
    }

    /// A first due time that is known.
    pub fn due(&mut self, model: &ModelName, next: Option<Timestamp>) {
        self.of(model).next_due = Some(next);
    }

    /// What it does to each model: tasks, bytes, and tasks that are delayed.
    pub(super) fn models(&self) -> impl Iterator<Item = (&ModelName, i64, i64, i64)> {
        let each = self.models.iter();
        each.map(|(model, change)| (model, change.tasks, change.bytes, change.delayed))
    }

    /// What it does to each client: tasks and bytes.
    pub(super) fn clients(&self) -> impl Iterator<Item = (&ClientKey, i64, i64)> {
        let each = self.clients.iter();
        each.map(|(client, (tasks, bytes))| (client, *tasks, *bytes))
    }

    /// The models whose first due time may have changed. Who carries out the group looks it up, once a group.
    #[must_use]
    pub fn due_wanted(&self) -> Vec<ModelName> {
        let wanted = |change: &ModelChange| change.delayed != 0 || change.next_due.is_some();
        let models = self.models.iter().filter(|(_, change)| wanted(change));
        models.map(|(model, _)| model.clone()).collect()
    }
}

impl Depths {
    /// What is queued for a model.
    #[must_use]
    pub fn get(&self, model: &ModelName) -> Depth {
        let depths = self.models.read().unwrap_or_else(PoisonError::into_inner);
        depths.get(model).map_or_else(Depth::default, |sum| Depth {
            tasks: shown(sum.tasks),
            bytes: shown(sum.bytes),
            delayed: shown(sum.delayed),
            next_due: sum.next_due.flatten().filter(|_| sum.tasks > 0),
        })
    }

    /// What is queued of a client.
    #[must_use]
    pub fn client(&self, client: &ClientKey) -> Load {
        let loads = self.clients.read().unwrap_or_else(PoisonError::into_inner);
        loads.get(client).map_or_else(Load::default, |sum| load(*sum))
    }

    /// What is queued in all.
    #[must_use]
    pub fn total(&self) -> Load {
        load((
            self.tasks.load(Ordering::Relaxed),
            self.bytes.load(Ordering::Relaxed),
        ))
    }

    /// Forgets what it knows and takes what was counted anew. Called by the writer alone, between two groups.
    pub fn recount(&self, counted: Change) {
        self.models
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.clients
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .clear();
        self.tasks.store(0, Ordering::Relaxed);
        self.bytes.store(0, Ordering::Relaxed);
        self.outbox.clear();
        self.apply(counted);
    }

    /// A group is committed.
    pub fn apply(&self, change: Change) {
        self.outbox.apply(change.outbox);
        if change.models.is_empty() && change.clients.is_empty() {
            return;
        }
        self.apply_to_clients(change.clients);
        let mut depths = self.models.write().unwrap_or_else(PoisonError::into_inner);
        for (model, change) in change.models {
            self.tasks.fetch_add(change.tasks, Ordering::Relaxed);
            self.bytes.fetch_add(change.bytes, Ordering::Relaxed);
            let sum = depths.entry(model).or_default();
            sum.tasks += change.tasks;
            sum.bytes += change.bytes;
            sum.delayed += change.delayed;
            sum.next_due = change.next_due.or(sum.next_due);
        }
        depths.retain(|_, sum| (sum.tasks, sum.bytes, sum.delayed) != (0, 0, 0));
    }

    /// Entries go one by one: there may be a great many clients, and few of them in a group.
    fn apply_to_clients(&self, changes: HashMap<ClientKey, (i64, i64)>) {
        if changes.is_empty() {
            return;
        }
        let mut loads = self.clients.write().unwrap_or_else(PoisonError::into_inner);
        for (client, (tasks, bytes)) in changes {
            let sum = loads.entry(client.clone()).or_default();
            *sum = (sum.0 + tasks, sum.1 + bytes);
            if *sum == (0, 0) {
                loads.remove(&client);
            }
        }
    }
}

fn shown(sum: i64) -> u64 {
    u64::try_from(sum).unwrap_or(0)
}

fn load((tasks, bytes): (i64, i64)) -> Load {
    Load {
        tasks: shown(tasks),
        bytes: shown(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_hears_of_a_task_after_it_has_counted_its_end_comes_to_the_same() {
        let depths = Depths::default();
        let owner = Owner {
            model: "digits".parse().expect("a name"),
            client: ClientKey::named("somebody").ok(),
        };
        let change = |sign: i64| {
            let mut change = Change::default();
            change.add(&owner, sign, 7 * sign);
            change.delay(&owner.model, sign);
            change.outbox.add("example.org:443", sign);
            change
        };
        depths.apply(change(-1));
        assert_eq!(depths.get(&owner.model), Depth::default());
        assert_eq!(
            (depths.total(), depths.outbox.of("example.org:443")),
            (Load::default(), 0)
        );
        depths.apply(change(1));
        depths.apply(change(1));
        let depth = depths.get(&owner.model);
        assert_eq!((depth.tasks, depth.bytes, depth.delayed), (1, 7, 1));
        assert_eq!(depths.client(owner.client.as_ref().expect("one")).tasks, 1);
        assert_eq!((depths.total().tasks, depths.outbox.load().borrow().open), (1, 1));
    }
}
