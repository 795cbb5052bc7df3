//! The ports in a few dozen lines, in memory and obviously right: what a random life is compared with.

use std::collections::HashMap;
use std::time::Duration;

use cresset_task::{
    Attempt, ClientKey, ModelName, Move, Outcome, Payload, State, TaskId, TaskRecord, Timestamp,
};

use crate::{Cancelled, Completion, Depth, Finished, Load, Lookup, NewTask, Release, Retry, Turn};

/// A task of the model.
pub(super) struct Known {
    pub(super) record: TaskRecord,
    turn: Turn,
    input: Payload,
    weight: u64,
    client: Option<ClientKey>,
    // Attempts that ended with their process; a store puts them into the history, with a time and words of its own.
    pub(super) interrupted: Vec<Attempt>,
}

impl Known {
    fn revoke(&mut self, reason: &str, now: Timestamp) {
        let outcome = Outcome::Revoked {
            reason: reason.into(),
        };
        self.record.state = self.record.state.after(outcome.as_move()).unwrap();
        self.record.outcome = Some(outcome);
        self.record.finished_at = Some(now);
        self.record.due_at = None;
    }
}

/// All that was ever accepted, in order of acceptance.
#[derive(Default)]
pub(super) struct Model {
    pub(super) tasks: Vec<Known>,
    purged: HashMap<TaskId, Timestamp>,
}

impl Model {
    pub(super) fn submit(&mut self, new: &NewTask) {
        let record = TaskRecord {
            id: new.id,
            model: new.model.clone(),
            state: match new.started_at {
                None => State::Pending,
                Some(_) => State::Started,
            },
            created_at: new.created_at,
            started_at: new.started_at,
            finished_at: None,
            due_at: new.due_at.filter(|_| new.started_at.is_none()),
            expires_at: new.expires_at,
            deadline_at: new.deadline_at,
            attempts: Attempt(u32::from(new.started_at.is_some())),
            retries: 0,
            history: Vec::new(),
            priority: new.priority,
            metadata: new.metadata.clone(),
            version: None,
            replay_of: None,
            outcome: None,
            cached: false,
            retry: new.retry.clone(),
            trace: new.trace.clone(),
        };
        self.tasks.push(Known {
            record,
            turn: new.turn,
            input: new.payload.clone(),
            weight: new.payload.weight() as u64,
            client: new.client.clone(),
            interrupted: Vec::new(),
        });
    }

    /// The queue of a model, next first, as indexes into `tasks`.
    fn queue(&self, model: &ModelName) -> Vec<usize> {
        let queued = |i: &usize| {
            let record = &self.tasks[*i].record;
            matches!(record.state, State::Pending | State::Retry)
                && record.due_at.is_none()
                && record.model == *model
        };
        let mut queue: Vec<usize> = (0..self.tasks.len()).filter(queued).collect();
        queue.sort_by_key(|i| self.tasks[*i].turn);
        queue
    }

    pub(super) fn lease(
        &mut self,
        model: &ModelName,
        tasks_max: usize,
        bytes_max: u64,
        now: Timestamp,
    ) -> Vec<(TaskId, Attempt, Payload)> {
        let mut leased = Vec::new();
        let mut bytes = 0;
        for known in self.tasks.iter_mut().filter(|k| k.record.model == *model) {
            known.record.due_at = known.record.due_at.filter(|due| *due > now);
        }
        for i in self.queue(model) {
            let known = &mut self.tasks[i];
            if known.record.expires_at.is_some_and(|end| end <= now) {
                continue;
            }
            bytes += known.weight;
            if leased.len() == tasks_max || (bytes > bytes_max && !leased.is_empty()) {
                break;
            }
            known.record.state = State::Started;
            known.record.attempts = known.record.attempts.next();
            known.record.started_at = Some(now);
            leased.push((known.record.id, known.record.attempts, known.input.clone()));
        }
        leased
    }

    fn held(&mut self, id: TaskId, attempt: Attempt) -> Option<&mut TaskRecord> {
        let records = self.tasks.iter_mut().map(|known| &mut known.record);
        records
            .into_iter()
            .find(|r| r.id == id && r.attempts == attempt && r.state == State::Started)
    }

    pub(super) fn release(&mut self, release: Release) {
        if let Some(record) = self.held(release.id, release.attempt) {
            record.state = State::Pending;
        }
    }

    pub(super) fn finish(&mut self, completion: Completion) -> Finished {
        let Some(record) = self.held(completion.id, completion.attempt) else {
            return Finished::Stale;
        };
        record.state = record.state.after(completion.outcome.as_move()).unwrap();
        record.history.extend(completion.history);
        record.finished_at = Some(completion.finished_at);
        record.version = completion.version;
        record.outcome = Some(completion.outcome);
        record.cached = completion.cached;
        Finished::Recorded
    }

    pub(super) fn retry(&mut self, retry: Retry) -> Finished {
        let Some(record) = self.held(retry.id, retry.attempt) else {
            return Finished::Stale;
        };
        record.state = record.state.after(Move::Retry).unwrap();
        record.due_at = Some(retry.due_at);
        record.retries += 1;
        record.history.extend(retry.history);
        Finished::Recorded
    }

    pub(super) fn cancel(&mut self, id: TaskId, reason: &str, now: Timestamp) -> Cancelled {
        let Some(known) = self.tasks.iter_mut().find(|known| known.record.id == id) else {
            return match self.purged.contains_key(&id) {
                true => Cancelled::Expired,
                false => Cancelled::Unknown,
            };
        };
        let was = known.record.state;
        if was.is_terminal() {
            return Cancelled::Ended(was);
        }
        known.revoke(reason, now);
        match was {
            State::Started => Cancelled::Leased(known.record.model.clone()),
            _ => Cancelled::Queued(known.record.model.clone()),
        }
    }

    /// Revokes all that has expired, without saying why; which they were, those that expired first first.
    pub(super) fn expire(&mut self, now: Timestamp) -> Vec<TaskId> {
        let expired = |known: &&mut Known| {
            matches!(known.record.state, State::Pending | State::Retry)
                && known.record.expires_at.is_some_and(|end| end <= now)
        };
        let mut ended: Vec<_> = Vec::new();
        for known in self.tasks.iter_mut().filter(expired) {
            known.revoke("", now);
            ended.push((known.record.expires_at, known.record.id));
        }
        ended.sort();
        ended.into_iter().map(|(_, id)| id).collect()
    }

    /// Revokes all that is held past its deadline; which they were.
    pub(super) fn stop(&mut self, now: Timestamp) -> Vec<TaskId> {
        let overdue = |known: &&mut Known| {
            known.record.state == State::Started && known.record.deadline_at.is_some_and(|end| end <= now)
        };
        let mut stopped = Vec::new();
        for known in self.tasks.iter_mut().filter(overdue) {
            known.revoke("", now);
            stopped.push(known.record.id);
        }
        stopped
    }

    /// Removes all that has expired; says how many.
    pub(super) fn purge(&mut self, now: Timestamp, result_ttl: Duration, tombstone_ttl: Duration) -> usize {
        let before = self.tasks.len() + self.purged.len();
        self.purged
            .retain(|_, purged_at| purged_at.plus(tombstone_ttl) >= now);
        let forgotten = before - self.tasks.len() - self.purged.len();
        let expired = |known: &Known| {
            known
                .record
                .finished_at
                .is_some_and(|at| at.plus(result_ttl) < now)
        };
        let gone: Vec<TaskId> = self
            .tasks
            .iter()
            .filter(|k| expired(k))
            .map(|k| k.record.id)
            .collect();
        self.tasks.retain(|known| !expired(known));
        self.purged.extend(gone.iter().map(|id| (*id, now)));
        forgotten + gone.len()
    }

    pub(super) fn crash(&mut self) {
        for known in self.tasks.iter_mut().filter(|k| k.record.state == State::Started) {
            known.record.state = State::Pending;
            known.interrupted.push(known.record.attempts);
        }
    }

    pub(super) fn fetch(&self, id: TaskId) -> Lookup {
        match self.tasks.iter().find(|known| known.record.id == id) {
            Some(known) => Lookup::Found(Box::new(known.record.clone())),
            None if self.purged.contains_key(&id) => Lookup::Expired,
            None => Lookup::Unknown,
        }
    }

    pub(super) fn position(&self, id: TaskId) -> Option<u64> {
        let known = self.tasks.iter().find(|known| known.record.id == id)?;
        let queue = self.queue(&known.record.model);
        queue
            .iter()
            .position(|i| self.tasks[*i].record.id == id)
            .map(|n| n as u64)
    }

    /// What is queued of a client, or of all.
    pub(super) fn load(&self, client: Option<&ClientKey>) -> Load {
        let queued = |k: &&Known| {
            matches!(k.record.state, State::Pending | State::Retry)
                && (client.is_none() || k.client.as_ref() == client)
        };
        Load {
            tasks: self.tasks.iter().filter(queued).count() as u64,
            bytes: self.tasks.iter().filter(queued).map(|k| k.weight).sum(),
        }
    }

    pub(super) fn depth(&self, model: &ModelName) -> Depth {
        let queue = self.queue(model);
        let ready = queue.iter().map(|i| &self.tasks[*i]);
        let delayed = || {
            let waits = |k: &&Known| k.record.due_at.is_some() && k.record.model == *model;
            self.tasks.iter().filter(waits)
        };
        Depth {
            tasks: (queue.len() + delayed().count()) as u64,
            bytes: ready.chain(delayed()).map(|k| k.weight).sum(),
            delayed: delayed().count() as u64,
            next_due: delayed().filter_map(|k| k.record.due_at).min(),
        }
    }
}
