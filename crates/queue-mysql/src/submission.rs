//! Tasks and ends as this store has them: every payload in its row, which is a row of its own table.

use bytes::Bytes;
use cresset_queue::kit::{self, Content, Fault, Stored};
use cresset_queue::{Completion, NewTask};
use cresset_task::Payload;

/// A task.
pub(crate) type Submission = kit::Submission<Stored>;
/// The end of a task.
pub(crate) type Ending = kit::Ending<Stored>;

pub(crate) fn submission(mut task: NewTask) -> Result<Box<Submission>, Fault> {
    let payload = std::mem::replace(&mut task.payload, Payload::Json(Bytes::new()));
    let weight = payload.weight();
    let input = Content::Payload(payload).encode()?;
    Ok(Box::new(Submission::new(task, weight, input)?))
}

pub(crate) fn ending(completion: Completion) -> Result<Ending, Fault> {
    let (outcome, end) = Ending::of(completion)?;
    Ok(end(Content::Outcome(outcome).encode()?))
}
