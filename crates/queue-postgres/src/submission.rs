//! Tasks and ends as this store has them: every payload in its row, which is a row of its own table.

use cresset_queue::InboxEntry;
use cresset_queue::kit::{self, Content, Fault, Stored, state_after};
use cresset_task::State;

/// A task.
pub(crate) type Submission = kit::Submission<Stored>;
/// The end of a task.
pub(crate) type Ending = kit::Ending<Stored>;

/// What a row of the inbox becomes.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) task: Box<Submission>,
    pub(crate) end: End,
}

/// How far it comes.
#[derive(Debug)]
pub(crate) enum End {
    /// It is queued.
    Queued,
    /// It is a task that has ended in this state, with this outcome.
    Ended(State, Stored),
    /// It is none, for this reason.
    Unfit(String),
}

pub(crate) fn entry(entry: InboxEntry) -> Result<Entry, Fault> {
    let (mut task, end) = match entry {
        InboxEntry::Task(task) => (task, End::Queued),
        InboxEntry::Ended(task, outcome) => {
            let state = state_after(&outcome);
            (task, End::Ended(state, Content::Outcome(outcome).encode()?))
        }
        InboxEntry::Unfit(task, why) => (task, End::Unfit(why)),
    };
    // The id is all that a row is recognised by.
    task.idempotency = None;
    Ok(Entry {
        task: Submission::in_row(*task)?,
        end,
    })
}
