//! Ends that no holder of a lease reports: cancelled by a caller, or expired.

use cresset_task::{ModelName, State, TaskId, Timestamp};

/// What became of a cancellation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cancelled {
    /// It was queued, and is `REVOKED` now: nothing of it runs.
    Queued(ModelName),
    /// It was leased, and is `REVOKED` now: it may still run, but whatever its holder reports is `Stale`.
    Leased(ModelName),
    /// Too late: it had ended in this state, which stays.
    Ended(State),
    /// Too late: it ended, and has been purged.
    Expired,
    /// No such task was ever accepted, as far as anyone can remember.
    Unknown,
}

/// One chunk of expired tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expiries {
    /// Tasks that are `REVOKED` now.
    pub revoked: Vec<(TaskId, ModelName)>,
    /// Tasks that were leased, past their deadline, and are `REVOKED` now: they may still run, but whatever their holders
    /// report is `Stale`.
    pub stopped: Vec<(TaskId, ModelName)>,
    /// When the next one expires or passes its deadline, of all models; in the past when there are more than one chunk takes.
    pub next: Option<Timestamp>,
}
