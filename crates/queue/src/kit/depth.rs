//! How much is queued, by model, by client and in all, in memory: asked on every submit, so it must cost no query.
//!
//! The writer is the only one that changes the numbers, after the commit that makes them true and before the answers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use cresset_task::{ClientKey, ModelName, Timestamp};

use super::{OutboxChange, OutboxCounts};
use crate::{Depth, Load};

/// The numbers. Models and clients with nothing queued have no entry, so this never outgrows the queue.
#[derive(Debug, Default)]
pub struct Depths {
    models: RwLock<HashMap<ModelName, Depth>>,
    clients: RwLock<HashMap<ClientKey, Load>>,
    // Apart from the maps: asked for without a lock.
    tasks: AtomicU64,
    bytes: AtomicU64,
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
        depths.get(model).copied().unwrap_or_default()
    }

    /// What is queued of a client.
    #[must_use]
    pub fn client(&self, client: &ClientKey) -> Load {
        let loads = self.clients.read().unwrap_or_else(PoisonError::into_inner);
        loads.get(client).copied().unwrap_or_default()
    }

    /// What is queued in all.
    #[must_use]
    pub fn total(&self) -> Load {
        Load {
            tasks: self.tasks.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
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
            // The writer is the only one that changes these, so what is read is what there is.
            let total = self.total();
            let tasks = total.tasks.saturating_add_signed(change.tasks);
            let bytes = total.bytes.saturating_add_signed(change.bytes);
            self.tasks.store(tasks, Ordering::Relaxed);
            self.bytes.store(bytes, Ordering::Relaxed);
            let depth = depths.entry(model).or_default();
            depth.tasks = depth.tasks.saturating_add_signed(change.tasks);
            depth.bytes = depth.bytes.saturating_add_signed(change.bytes);
            depth.delayed = depth.delayed.saturating_add_signed(change.delayed);
            if let Some(next) = change.next_due {
                depth.next_due = next;
            }
        }
        depths.retain(|_, depth| depth.tasks > 0);
    }

    /// Entries go one by one: there may be a great many clients, and few of them in a group.
    fn apply_to_clients(&self, changes: HashMap<ClientKey, (i64, i64)>) {
        if changes.is_empty() {
            return;
        }
        let mut loads = self.clients.write().unwrap_or_else(PoisonError::into_inner);
        for (client, (tasks, bytes)) in changes {
            let load = loads.entry(client.clone()).or_default();
            load.tasks = load.tasks.saturating_add_signed(tasks);
            load.bytes = load.bytes.saturating_add_signed(bytes);
            if load.tasks == 0 {
                loads.remove(&client);
            }
        }
    }
}
