//! Dead letters in memory, by the order of dying.

use std::collections::BTreeMap;

use cresset_task::{DeadLetter, Evidence, ModelName, Payload, TaskId, TaskRecord, Tenant, Timestamp};

use super::tables::{PURGE_MAX, Tables};
use crate::{LETTERS_MAX, LetterCursor, LetterFilter, LetterPage, LetterQuery, NewTask, Replayed};

#[derive(Debug, Default)]
pub(super) struct Letters {
    last: u64,
    all: BTreeMap<u64, (DeadLetter, Payload)>,
}

impl Letters {
    /// The letter of a task that has just ended.
    pub(super) fn add(
        &mut self,
        record: &TaskRecord,
        tenant: Option<Tenant>,
        evidence: Evidence,
        input: Payload,
    ) {
        self.last += 1;
        let letter = DeadLetter {
            id: record.id,
            model: record.model.clone(),
            version: record.version.clone(),
            created_at: record.created_at,
            died_at: record.finished_at.unwrap_or(record.created_at),
            evidence: evidence.bounded(),
            priority: record.priority,
            metadata: record.metadata.clone(),
            retry: record.retry.clone(),
            input_bytes: input.encode().len() as u64,
            replayed_as: None,
            tenant,
        };
        self.all.insert(self.last, (letter, input));
    }

    fn find(&self, id: TaskId) -> Option<(u64, &(DeadLetter, Payload))> {
        let mut all = self.all.iter();
        all.find(|(_, (letter, _))| letter.id == id)
            .map(|(number, found)| (*number, found))
    }

    pub(super) fn get(&self, id: TaskId) -> Option<DeadLetter> {
        self.find(id).map(|(_, (letter, _))| letter.clone())
    }

    pub(super) fn input(&self, id: TaskId) -> Option<Payload> {
        self.find(id).map(|(_, (_, input))| input.clone())
    }

    pub(super) fn list(&self, query: &LetterQuery) -> LetterPage {
        let limit = query.limit.clamp(1, LETTERS_MAX);
        let before = query.after.map_or(u64::MAX, |LetterCursor(place)| place);
        let mut found = (self.all.range(..before).rev())
            .filter(|(_, (letter, _))| is_of(letter, query.model.as_ref(), query.tenant.as_ref()));
        let page: Vec<_> = found.by_ref().take(limit).collect();
        let next = page.last().map(|(number, _)| LetterCursor(**number));
        LetterPage {
            letters: page.into_iter().map(|(_, (letter, _))| letter.clone()).collect(),
            next: next.filter(|_| found.next().is_some()),
        }
    }

    fn remove(&mut self, numbers: &[u64]) -> usize {
        for number in numbers {
            self.all.remove(number);
        }
        numbers.len()
    }

    pub(super) fn discard(&mut self, id: TaskId) -> bool {
        let found = self.find(id).map(|(number, _)| number);
        self.remove(found.as_slice()) > 0
    }

    pub(super) fn discard_all(&mut self, filter: &LetterFilter) -> usize {
        let is_meant = |letter: &DeadLetter| {
            is_of(letter, filter.model.as_ref(), filter.tenant.as_ref())
                && filter.before.is_none_or(|before| letter.died_at < before)
        };
        self.remove_where(PURGE_MAX, is_meant)
    }

    pub(super) fn purge(&mut self, limit: usize, is_old: impl Fn(Timestamp) -> bool) -> usize {
        self.remove_where(limit, |letter| is_old(letter.died_at))
    }

    fn remove_where(&mut self, limit: usize, is_meant: impl Fn(&DeadLetter) -> bool) -> usize {
        let meant = self.all.iter().filter(|(_, (letter, _))| is_meant(letter));
        let numbers: Vec<u64> = meant.take(limit).map(|(number, _)| *number).collect();
        self.remove(&numbers)
    }
}

fn is_of(letter: &DeadLetter, model: Option<&ModelName>, tenant: Option<&Tenant>) -> bool {
    model.is_none_or(|model| letter.model == *model)
        && tenant.is_none_or(|tenant| letter.tenant.as_ref() == Some(tenant))
}

impl Tables {
    /// `None` when the id of the task is taken.
    pub(super) fn replay(&mut self, letter: TaskId, task: NewTask) -> Option<Replayed> {
        let Some((number, (found, _))) = self.letters.find(letter) else {
            return Some(Replayed::Unknown);
        };
        if let Some(before) = found.replayed_as {
            return Some(Replayed::Before(before));
        }
        let id = task.id;
        self.submit(task, Some(letter))?;
        if let Some((found, _)) = self.letters.all.get_mut(&number) {
            found.replayed_as = Some(id);
        }
        Some(Replayed::New)
    }
}
