//! Tasks and ends as this store has them: every payload in its row, which is a row of its own table.

use cresset_queue::kit::{self, Content, Fault, Stored, evidence_text};
use cresset_queue::{Completion, NewTask};

/// A task.
pub(crate) type Submission = kit::Submission<Stored>;
/// The end of a task.
pub(crate) type Ending = kit::Ending<Stored>;

pub(crate) fn submission(task: NewTask) -> Result<Box<Submission>, Fault> {
    let weight = task.payload.weight();
    let input = Content::Payload(task.payload.clone()).encode()?;
    Ok(Box::new(Submission::new(task, weight, input)?))
}

pub(crate) fn ending(mut completion: Completion) -> Result<Ending, Fault> {
    let evidence = completion
        .evidence
        .take()
        .map(|e| evidence_text(*e))
        .transpose()?;
    let outcome = Content::Outcome(completion.outcome.clone()).encode()?;
    Ok(Ending::new(completion, evidence, outcome))
}
