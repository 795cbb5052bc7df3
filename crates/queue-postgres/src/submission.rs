//! Tasks and ends as this store has them: every payload in its row, which is a row of its own table.

use cresset_queue::kit::{self, Stored};

/// A task.
pub(crate) type Submission = kit::Submission<Stored>;
/// The end of a task.
pub(crate) type Ending = kit::Ending<Stored>;
