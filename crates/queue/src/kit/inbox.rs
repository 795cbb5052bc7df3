//! Rows of an inbox, beyond their SQL: what is read of one, and what becomes of those that are taken.

use std::collections::HashSet;

use bytes::Bytes;
use cresset_task::{Attempt, Outcome, State, TaskId, TaskRecord, Tenant};

use super::codec::{Content, Stored, state_after};
use super::work::Submission;
use super::{Change, Fault};
use crate::{InboxEntry, InboxInput, InboxRow, InboxTaken, NewTask, Submitted};

/// What becomes of rows in the table `inbox`.
#[derive(Clone, Debug, Default)]
pub struct InboxOptions {
    /// Whose they are, where callers are told apart by keys. An application cannot say it: whoever may insert rows may insert any.
    pub tenant: Option<Tenant>,
}

/// The input of a row that weighs `size`, as its columns have it; neither where it was left where it is.
pub fn inbox_input(json: Option<Bytes>, body: Option<(Bytes, String)>, size: u64) -> InboxInput {
    match (body, json) {
        (Some((bytes, content_type)), _) => InboxInput::Body { content_type, bytes },
        (None, Some(json)) => InboxInput::Json(json),
        (None, None) => InboxInput::TooLarge(size),
    }
}

/// The task that a row will be, as long as it is one.
#[must_use]
pub fn inbox_record(row: InboxRow) -> TaskRecord {
    TaskRecord {
        id: row.id,
        model: row.model,
        state: State::Pending,
        created_at: row.inserted_at,
        started_at: None,
        finished_at: None,
        due_at: row.due_at,
        expires_at: [row.expires_at, row.deadline_at].into_iter().flatten().min(),
        deadline_at: row.deadline_at,
        attempts: Attempt(0),
        retries: 0,
        history: Vec::new(),
        priority: row.priority,
        metadata: row.metadata.map(Into::into),
        version: None,
        // As the application wrote it, which its model's server has not read yet.
        retry: None,
        trace: None,
        cached: false,
        replay_of: None,
        outcome: None,
    }
}

/// What a row becomes, in stored form.
#[derive(Debug)]
pub struct Entry {
    task: Box<Submission<Stored>>,
    end: End,
}

/// How far it comes.
#[derive(Debug)]
enum End {
    /// It is queued.
    Queued,
    /// It is a task that has ended in this state, with this outcome.
    Ended(State, Stored),
    /// It is none, for this reason.
    Unfit(String),
}

impl Entry {
    /// The same in stored form.
    pub fn of(entry: InboxEntry) -> Result<Self, Fault> {
        let (task, end) = match entry {
            InboxEntry::Task(task) => (task, End::Queued),
            InboxEntry::Ended(task, outcome) => (task, ended(outcome)?),
            InboxEntry::Unfit(task, why) => (task, End::Unfit(why)),
        };
        let mut task: NewTask = *task;
        // The id is all that a row is recognised by.
        task.idempotency = None;
        Ok(Self {
            task: Submission::in_row(task)?,
            end,
        })
    }

    /// The id of its row, and of the task that it will be.
    #[must_use]
    pub fn id(&self) -> TaskId {
        self.task.id
    }

    /// Bytes that it brings into a transaction.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.task.input.bytes.len()
    }
}

fn ended(outcome: Outcome) -> Result<End, Fault> {
    let state = state_after(&outcome);
    Ok(End::Ended(state, Content::Outcome(outcome).encode()?))
}

/// A task that has ended without a run, in this state, with this outcome.
pub type EndedUnrun<'a> = (&'a Submission<Stored>, State, &'a Stored);

/// Rows on their way to be tasks, in one transaction: who is locked, who is fit, who has become one.
#[derive(Debug)]
pub struct Taking<'a> {
    entries: &'a [Entry],
    answers: Vec<InboxTaken>,
    fit: Vec<usize>,
    made: Vec<TaskId>,
    ended: Vec<EndedUnrun<'a>>,
    refused: Vec<(TaskId, String)>,
}

impl<'a> Taking<'a> {
    /// Of these, whose rows with these ids are locked; the others are somebody else's, or gone.
    #[must_use]
    pub fn of(entries: &'a [Entry], mut locked: HashSet<TaskId>) -> Self {
        let mut taking = Self {
            entries,
            answers: vec![InboxTaken::Gone; entries.len()],
            fit: Vec::new(),
            made: Vec::new(),
            ended: Vec::new(),
            refused: Vec::new(),
        };
        for (at, entry) in entries.iter().enumerate() {
            // Of two entries of one row the first.
            if !locked.remove(&entry.id()) {
                continue;
            }
            match &entry.end {
                End::Unfit(why) => taking.refuse(at, why.clone()),
                End::Queued | End::Ended(..) => taking.fit.push(at),
            }
        }
        taking
    }

    fn refuse(&mut self, at: usize, why: String) {
        self.answers[at] = InboxTaken::Refused;
        self.refused.push((self.entries[at].id(), why));
    }

    /// What is to be submitted.
    #[must_use]
    pub fn tasks(&self) -> Vec<&'a Submission<Stored>> {
        self.fit.iter().map(|&at| &*self.entries[at].task).collect()
    }

    /// That came to these, in their order; `None` is an id that is another one's, of which this is said.
    pub fn submitted(&mut self, submitted: &[Option<Submitted>], taken: impl Fn(TaskId) -> String) {
        for (at, submitted) in std::mem::take(&mut self.fit).into_iter().zip(submitted) {
            let Entry { task, end } = &self.entries[at];
            if submitted.is_none() {
                self.refuse(at, taken(task.id));
                continue;
            }
            self.answers[at] = InboxTaken::Taken;
            self.made.push(task.id);
            if let End::Ended(state, outcome) = end {
                self.ended.push((task, *state, outcome));
            }
        }
    }

    /// Rows that are tasks now, and to be removed.
    #[must_use]
    pub fn made(&self) -> &[TaskId] {
        &self.made
    }

    /// Those of them that have ended.
    #[must_use]
    pub fn ended(&self) -> &[EndedUnrun<'a>] {
        &self.ended
    }

    /// Takes those out of the counts, which their submit has put in.
    pub fn uncount_ended(&self, change: &mut Change) {
        for (task, ..) in &self.ended {
            change.add(&task.owner, -1, -task.weight);
            if task.due_at.is_some() {
                change.delay(&task.owner.model, -1);
            }
        }
    }

    /// Rows that stay, each with its error.
    #[must_use]
    pub fn refused(&self) -> &[(TaskId, String)] {
        &self.refused
    }

    /// What became of each, in their order.
    #[must_use]
    pub fn answers(self) -> Vec<InboxTaken> {
        self.answers
    }
}

#[cfg(test)]
mod tests {
    use cresset_task::{Payload, Timestamp};

    use super::*;

    fn new(id: TaskId) -> Box<NewTask> {
        let now = Timestamp::from_micros(7);
        Box::new(NewTask {
            id,
            due_at: Some(now),
            ..NewTask::new(
                "digits".parse().expect("a name"),
                Payload::Json(Bytes::from_static(b"[1]")),
                now,
            )
        })
    }

    #[test]
    fn each_row_has_its_answer_and_the_same_row_only_one() {
        let ids: Vec<TaskId> = (0..5).map(|_| TaskId::fresh()).collect();
        let revoked = Outcome::Revoked { reason: "no".into() };
        let entries = [
            InboxEntry::Task(new(ids[0])),
            InboxEntry::Task(new(ids[0])),
            InboxEntry::Unfit(new(ids[1]), "odd".into()),
            InboxEntry::Ended(new(ids[2]), revoked),
            InboxEntry::Task(new(ids[3])),
            InboxEntry::Task(new(ids[4])),
        ];
        let entries: Vec<Entry> = entries.into_iter().map(|e| Entry::of(e).expect("fit")).collect();
        let mut taking = Taking::of(&entries, ids[..4].iter().copied().collect());
        let asked: Vec<TaskId> = taking.tasks().iter().map(|task| task.id).collect();
        assert_eq!(asked, [ids[0], ids[2], ids[3]]);
        let submitted = [Some(Submitted::New), Some(Submitted::New), None];
        taking.submitted(&submitted, |id| format!("{id} is taken"));
        assert_eq!(taking.made(), [ids[0], ids[2]]);
        assert_eq!(taking.ended().len(), 1);
        let taken = format!("{} is taken", ids[3]);
        assert_eq!(taking.refused(), [(ids[1], "odd".to_owned()), (ids[3], taken)]);
        let mut change = Change::default();
        taking.uncount_ended(&mut change);
        let words = format!("{:?}", change.words());
        assert!(
            words.contains("tasks: -1") && words.contains("delayed: -1"),
            "{words}"
        );
        use InboxTaken::{Gone, Refused, Taken};
        assert_eq!(taking.answers(), [Taken, Gone, Refused, Taken, Refused, Gone]);
    }
}
