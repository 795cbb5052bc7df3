//! What the store holds, and each operation on it as one step. No clock, no waiting: whoever calls has both.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use cresset_task::{
    Attempt, CacheUse, Callback, ClientKey, Event, HISTORY_MAX, ModelName, Ownership, Payload, Redelivery,
    State, TaskId, TaskRecord, Tenant, Timestamp,
};

use super::bulks::Bulks;
use super::letters::Letters;
use super::outbox::Outbox;
use crate::kit::Ttl;
use crate::{
    Completion, Depth, Finished, Idempotency, IdempotencyKey, Lease, LeaseRequest, Load, Lookup, NewTask,
    POSITION_MAX, Release, Retry, Submitted, Turn, Unreadable,
};

/// Records that one purge, or one discard of letters, removes at most.
pub const PURGE_MAX: usize = 200;

const INTERRUPTED: &str = "the server ended while it held this task";

/// A task, with what its record does not show.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) record: TaskRecord,
    turn: Turn,
    /// Gone once a dead letter has it.
    pub(super) input: Option<Payload>,
    weight: u64,
    client: Option<ClientKey>,
    cache: CacheUse,
    pub(super) tenant: Option<Tenant>,
    pub(super) callback: Option<Callback>,
    key: Option<IdempotencyKey>,
}

pub(super) type Order<T> = BTreeSet<(T, u64)>;

/// Tasks by the number of their acceptance, and the orders in which they are looked for. Every order is kept by `place` and
/// `displace` alone.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) tasks: BTreeMap<u64, Task>,
    last: u64,
    ids: HashMap<TaskId, u64>,
    keys: HashMap<(ModelName, IdempotencyKey), (u64, [u8; 32])>,
    ready: BTreeMap<ModelName, Order<Turn>>,
    delayed: BTreeMap<ModelName, Order<Timestamp>>,
    leased: BTreeSet<u64>,
    pub(super) expiring: Order<Timestamp>,
    pub(super) overdue: Order<Timestamp>,
    ended: Order<Timestamp>,
    pub(super) tombstones: BTreeMap<TaskId, (Timestamp, Option<Tenant>)>,
    models: HashMap<ModelName, Load>,
    clients: HashMap<ClientKey, Load>,
    pub(super) letters: Letters,
    pub(super) outbox: Outbox,
    pub(super) bulks: Bulks,
    /// Tasks whose records have changed since somebody last asked.
    changed: Vec<u64>,
}

fn count(loads: &mut Load, weight: u64, comes: bool) {
    let (tasks, bytes) = if comes {
        (loads.tasks + 1, loads.bytes + weight)
    } else {
        (loads.tasks.saturating_sub(1), loads.bytes.saturating_sub(weight))
    };
    *loads = Load { tasks, bytes };
}

impl Tables {
    pub(super) fn task(&self, id: TaskId) -> Option<(u64, &Task)> {
        let seq = *self.ids.get(&id)?;
        Some((seq, self.tasks.get(&seq)?))
    }

    /// Puts a task into the orders that its record says, or takes it out of them.
    fn arrange(&mut self, seq: u64, comes: bool) {
        let Some(task) = self.tasks.get(&seq) else {
            return;
        };
        let record = &task.record;
        fn set<T: Ord>(order: &mut Order<T>, at: T, seq: u64, comes: bool) {
            if comes {
                order.insert((at, seq));
            } else {
                order.remove(&(at, seq));
            }
        }
        match record.state {
            State::Pending | State::Retry => {
                let model = record.model.clone();
                match record.due_at {
                    Some(due) => set(self.delayed.entry(model).or_default(), due, seq, comes),
                    None => set(self.ready.entry(model).or_default(), task.turn, seq, comes),
                }
                if let Some(at) = record.expires_at {
                    set(&mut self.expiring, at, seq, comes);
                }
                count(
                    self.models.entry(record.model.clone()).or_default(),
                    task.weight,
                    comes,
                );
                if let Some(client) = &task.client {
                    count(
                        self.clients.entry(client.clone()).or_default(),
                        task.weight,
                        comes,
                    );
                }
            }
            State::Started => {
                if comes {
                    self.leased.insert(seq);
                } else {
                    self.leased.remove(&seq);
                }
                if let Some(at) = record.deadline_at {
                    set(&mut self.overdue, at, seq, comes);
                }
            }
            State::Success | State::Failure | State::Revoked => {
                if let Some(at) = record.finished_at {
                    set(&mut self.ended, at, seq, comes);
                }
            }
        }
    }

    /// Changes a task's record, and its place with it.
    pub(super) fn change<T>(&mut self, seq: u64, change: impl FnOnce(&mut Task) -> T) -> Option<T> {
        self.arrange(seq, false);
        let changed = self.tasks.get_mut(&seq).map(change);
        self.arrange(seq, true);
        self.changed.push(seq);
        changed
    }

    /// The records that have changed since the last call, as they are now.
    pub(super) fn take_changed(&mut self) -> Vec<TaskRecord> {
        let changed = std::mem::take(&mut self.changed);
        let records = changed.iter().filter_map(|seq| self.tasks.get(seq));
        records.map(|task| task.record.clone()).collect()
    }

    pub(super) fn recall(&self, model: &ModelName, idempotency: &Idempotency) -> Option<Submitted> {
        let (seq, digest) = self.keys.get(&(model.clone(), idempotency.key.clone()))?;
        if *digest != idempotency.digest {
            return Some(Submitted::KeyReused);
        }
        let record = &self.tasks.get(seq)?.record;
        Some(Submitted::Replayed {
            id: record.id,
            state: record.state,
            created_at: record.created_at,
        })
    }

    /// `None` when the id is taken.
    pub(super) fn submit(&mut self, new: NewTask, replay_of: Option<TaskId>) -> Option<Submitted> {
        if let Some(idempotency) = new.idempotency.as_ref().filter(|_| replay_of.is_none())
            && let Some(known) = self.recall(&new.model, idempotency)
        {
            return Some(known);
        }
        if self.ids.contains_key(&new.id) || self.tombstones.contains_key(&new.id) {
            return None;
        }
        self.last += 1;
        let seq = self.last;
        self.ids.insert(new.id, seq);
        if let Some(Idempotency { key, digest }) = &new.idempotency {
            self.keys.insert((new.model.clone(), key.clone()), (seq, *digest));
        }
        let born = new.started_at.is_some();
        let record = TaskRecord {
            id: new.id,
            model: new.model,
            state: if born { State::Started } else { State::Pending },
            created_at: new.created_at,
            started_at: new.started_at,
            finished_at: None,
            due_at: new.due_at.filter(|_| !born),
            expires_at: new.expires_at,
            deadline_at: new.deadline_at,
            attempts: Attempt(u32::from(born)),
            retries: 0,
            history: Vec::new(),
            priority: new.priority,
            metadata: new.metadata,
            version: None,
            replay_of,
            cached: false,
            retry: new.retry,
            trace: new.trace,
            outcome: None,
        };
        let task = Task {
            record,
            turn: new.turn,
            weight: new.payload.weight() as u64,
            input: Some(new.payload),
            client: new.client,
            cache: new.cache,
            tenant: new.tenant,
            callback: new.callback,
            key: new.idempotency.map(|named| named.key),
        };
        self.tasks.insert(seq, task);
        self.arrange(seq, true);
        self.changed.push(seq);
        if let Some(at) = new.started_at {
            self.tell(seq, Event::Started, 1, at);
        }
        Some(Submitted::New)
    }

    pub(super) fn lease(&mut self, request: &LeaseRequest) -> Vec<Lease> {
        let (model, now) = (&request.model, request.now);
        let due: Vec<u64> = (self.delayed.get(model).into_iter().flatten())
            .take_while(|(due, _)| *due <= now)
            .map(|(_, seq)| *seq)
            .collect();
        for seq in due {
            self.change(seq, |task| task.record.due_at = None);
        }
        let (mut chosen, mut bytes) = (Vec::new(), 0_u64);
        for (_, seq) in self.ready.get(model).into_iter().flatten() {
            let Some(task) = self.tasks.get(seq) else {
                continue;
            };
            if task.record.expires_at.is_some_and(|end| end <= now) {
                continue;
            }
            bytes = bytes.saturating_add(task.weight);
            let is_too_much = bytes > request.max_bytes as u64 && !chosen.is_empty();
            if chosen.len() >= request.max_tasks || is_too_much {
                break;
            }
            chosen.push(*seq);
        }
        let start = |task: &mut Task| {
            let record = &mut task.record;
            record.state = State::Started;
            record.attempts = record.attempts.next();
            record.started_at = Some(now);
            Lease {
                id: record.id,
                attempt: record.attempts,
                payload: (task.input.clone()).ok_or_else(|| Unreadable("it is missing".into())),
                priority: record.priority,
                turn: task.turn,
                created_at: record.created_at,
                retries: record.retries,
                cache: task.cache,
                retry: record.retry.clone(),
                trace: record.trace.clone(),
            }
        };
        let mut leased = Vec::new();
        for seq in chosen {
            if let Some(lease) = self.change(seq, start) {
                self.tell(seq, Event::Started, lease.attempt.0, now);
                leased.push(lease);
            }
        }
        leased
    }

    /// The task, if this attempt holds it.
    fn held(&self, id: TaskId, attempt: Attempt) -> Option<u64> {
        let (seq, task) = self.task(id)?;
        let is_held = task.record.state == State::Started && task.record.attempts == attempt;
        is_held.then_some(seq)
    }

    pub(super) fn release(&mut self, leases: &[Release]) {
        for lease in leases {
            if let Some(seq) = self.held(lease.id, lease.attempt) {
                self.change(seq, |task| task.record.state = State::Pending);
            }
        }
    }

    pub(super) fn finish(&mut self, completion: Completion) -> Finished {
        let held = self.held(completion.id, completion.attempt);
        let after = State::Started.after(completion.outcome.as_move());
        let (Some(seq), Ok(state)) = (held, after) else {
            return Finished::Stale;
        };
        let input = self.change(seq, |task| {
            let record = &mut task.record;
            record.state = state;
            record.attempts = Attempt(record.attempts.0.saturating_add(completion.redeliveries));
            record.finished_at = Some(completion.finished_at);
            record.version = completion.version;
            record.cached = completion.cached;
            record.outcome = Some(completion.outcome);
            add_history(record, completion.history);
            completion.evidence.as_ref().and_then(|_| task.input.take())
        });
        if let (Some(evidence), Some(input)) = (completion.evidence, input.flatten())
            && let Some(task) = self.tasks.get(&seq)
        {
            self.letters
                .add(&task.record, task.tenant.clone(), *evidence, input);
        }
        if let Some(event) = Event::of(state) {
            self.tell(seq, event, 0, completion.finished_at);
        }
        Finished::Recorded
    }

    pub(super) fn retry(&mut self, retry: Retry) -> Finished {
        let Some(seq) = self.held(retry.id, retry.attempt) else {
            return Finished::Stale;
        };
        let at = retry.history.last().map_or(retry.due_at, |failure| failure.at);
        self.change(seq, |task| {
            let record = &mut task.record;
            record.state = State::Retry;
            record.attempts = Attempt(record.attempts.0.saturating_add(retry.redeliveries));
            record.retries += 1;
            record.due_at = Some(retry.due_at);
            add_history(record, retry.history);
        });
        self.tell(seq, Event::Retried, retry.attempt.0, at);
        Finished::Recorded
    }

    pub(super) fn fetch(&self, id: TaskId) -> Lookup {
        match self.task(id) {
            Some((_, task)) => Lookup::Found(Box::new(task.record.clone())),
            None if self.tombstones.contains_key(&id) => Lookup::Expired,
            None => Lookup::Unknown,
        }
    }

    pub(super) fn owner(&self, id: TaskId) -> Ownership {
        match (self.task(id), self.tombstones.get(&id)) {
            (Some((_, task)), _) => Ownership::Of(task.tenant.clone()),
            (None, Some((_, tenant))) => Ownership::Of(tenant.clone()),
            (None, None) => Ownership::Unknown,
        }
    }

    pub(super) fn position(&self, id: TaskId) -> Option<u64> {
        let (seq, task) = self.task(id)?;
        let ready = self.ready.get(&task.record.model)?;
        if !ready.contains(&(task.turn, seq)) {
            return None;
        }
        let ahead = ready.range(..(task.turn, seq)).take(POSITION_MAX as usize);
        Some(ahead.count() as u64)
    }

    pub(super) fn depth(&self, model: &ModelName) -> Depth {
        let load = self.models.get(model).copied().unwrap_or_default();
        let delayed = self.delayed.get(model);
        Depth {
            tasks: load.tasks,
            bytes: load.bytes,
            delayed: delayed.map_or(0, |order| order.len() as u64),
            next_due: delayed.and_then(|order| order.first()).map(|(due, _)| *due),
        }
    }

    pub(super) fn load(&self) -> Load {
        self.models.values().fold(Load::default(), |sum, load| Load {
            tasks: sum.tasks + load.tasks,
            bytes: sum.bytes + load.bytes,
        })
    }

    pub(super) fn client_load(&self, client: &ClientKey) -> Load {
        self.clients.get(client).copied().unwrap_or_default()
    }

    pub(super) fn leased(&self) -> usize {
        self.leased.len()
    }

    pub(super) fn purge(&mut self, now: Timestamp, ttl: Ttl) -> usize {
        let is_old = |at: &Timestamp, age: Duration| at.plus(age) < now;
        let old: Vec<u64> = (self.ended.iter())
            .take_while(|(at, _)| is_old(at, ttl.results))
            .take(PURGE_MAX)
            .map(|(_, seq)| *seq)
            .collect();
        let mut removed = old.len();
        for seq in old {
            self.arrange(seq, false);
            let Some(task) = self.tasks.remove(&seq) else {
                continue;
            };
            self.ids.remove(&task.record.id);
            if let Some(key) = task.key {
                self.keys.remove(&(task.record.model, key));
            }
            self.tombstones.insert(task.record.id, (now, task.tenant));
        }
        removed += self
            .letters
            .purge(PURGE_MAX - removed, |died| is_old(&died, ttl.letters));
        removed += self
            .outbox
            .purge(PURGE_MAX - removed, |settled| is_old(settled, ttl.deliveries));
        removed += self.bulk_purge(PURGE_MAX - removed, |touched| is_old(touched, ttl.results));
        let forgotten: Vec<TaskId> = (self.tombstones.iter())
            .filter(|(_, (at, _))| is_old(at, ttl.tombstones))
            .take(PURGE_MAX - removed)
            .map(|(id, _)| *id)
            .collect();
        for id in &forgotten {
            self.tombstones.remove(id);
        }
        removed + forgotten.len()
    }

    /// The process that held all leases has ended: they are queued again, with the reason.
    pub(super) fn reopen(&mut self, now: Timestamp) {
        self.outbox.reopen(now);
        for seq in self.leased.clone() {
            self.change(seq, |task| {
                let record = &mut task.record;
                record.state = State::Pending;
                let interrupted = Redelivery {
                    attempt: record.attempts,
                    at: now,
                    reason: INTERRUPTED.into(),
                };
                add_history(record, vec![interrupted]);
            });
        }
    }
}

fn add_history(record: &mut TaskRecord, more: Vec<Redelivery>) {
    record.history.extend(more);
    let surplus = record.history.len().saturating_sub(HISTORY_MAX);
    record.history.drain(..surplus);
}
