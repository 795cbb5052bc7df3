//! The SQL, one file a query; `prepare_cached` keeps each of them compiled.
//!
//! The hot ones do without `RETURNING`: SQLite opens a temporary B-tree for it at every execution, which costs more than
//! a second statement.

/// Statements kept compiled on a connection: all of them.
pub(crate) const CACHED_MAX: usize = 64;

pub(crate) const SUBMIT_TASK: &str = include_str!("../sql/submit_task.sql");
pub(crate) const SUBMIT_INPUT: &str = include_str!("../sql/submit_input.sql");
pub(crate) const SUBMIT_KEY: &str = include_str!("../sql/submit_key.sql");
pub(crate) const RECALL_KEY: &str = include_str!("../sql/recall_key.sql");
pub(crate) const LEASE_CANDIDATES: &str = include_str!("../sql/lease_candidates.sql");
pub(crate) const LEASE_TASK: &str = include_str!("../sql/lease_task.sql");
pub(crate) const QUEUED_TASK: &str = include_str!("../sql/queued_task.sql");
pub(crate) const LEASED_TASK: &str = include_str!("../sql/leased_task.sql");
pub(crate) const RELEASE: &str = include_str!("../sql/release.sql");
pub(crate) const FINISH_TASK: &str = include_str!("../sql/finish_task.sql");
pub(crate) const FINISH_OUTCOME: &str = include_str!("../sql/finish_outcome.sql");
pub(crate) const FETCH_TASK: &str = include_str!("../sql/fetch_task.sql");
pub(crate) const FETCH_TOMBSTONE: &str = include_str!("../sql/fetch_tombstone.sql");
pub(crate) const OWNER: &str = include_str!("../sql/owner.sql");
pub(crate) const POSITION: &str = include_str!("../sql/position.sql");
pub(crate) const PURGE_CANDIDATES: &str = include_str!("../sql/purge_candidates.sql");
pub(crate) const PURGE_TASK: &str = include_str!("../sql/purge_task.sql");
pub(crate) const PURGE_INPUT: &str = include_str!("../sql/purge_input.sql");
pub(crate) const PURGE_OUTCOME: &str = include_str!("../sql/purge_outcome.sql");
pub(crate) const PURGE_KEY: &str = include_str!("../sql/purge_key.sql");
pub(crate) const FILE_NAMED: &str = include_str!("../sql/file_named.sql");
pub(crate) const BURY: &str = include_str!("../sql/bury.sql");
pub(crate) const FORGET: &str = include_str!("../sql/forget.sql");
pub(crate) const REQUEUE_LEASED: &str = include_str!("../sql/requeue_leased.sql");
pub(crate) const NOTE_LEASED: &str = include_str!("../sql/note_leased.sql");
pub(crate) const PROMOTE: &str = include_str!("../sql/promote.sql");
pub(crate) const NEXT_DUE: &str = include_str!("../sql/next_due.sql");
pub(crate) const OPEN_TASK: &str = include_str!("../sql/open_task.sql");
pub(crate) const REVOKE_TASK: &str = include_str!("../sql/revoke_task.sql");
pub(crate) const RETRY_TASK: &str = include_str!("../sql/retry_task.sql");
pub(crate) const EXPIRE_CANDIDATES: &str = include_str!("../sql/expire_candidates.sql");
pub(crate) const OVERDUE_CANDIDATES: &str = include_str!("../sql/overdue_candidates.sql");
pub(crate) const NEXT_EXPIRY: &str = include_str!("../sql/next_expiry.sql");
pub(crate) const HISTORY_ADD: &str = include_str!("../sql/history_add.sql");
pub(crate) const HISTORY_TRIM: &str = include_str!("../sql/history_trim.sql");
pub(crate) const FETCH_HISTORY: &str = include_str!("../sql/fetch_history.sql");
pub(crate) const PURGE_HISTORY: &str = include_str!("../sql/purge_history.sql");
pub(crate) const LETTER_ADD: &str = include_str!("../sql/letter_add.sql");
pub(crate) const LETTER_ONE: &str = include_str!("../sql/letter_one.sql");
pub(crate) const LETTER_LIST: &str = include_str!("../sql/letter_list.sql");
pub(crate) const LETTER_LIST_MODEL: &str = include_str!("../sql/letter_list_model.sql");
pub(crate) const LETTER_INPUT: &str = include_str!("../sql/letter_input.sql");
pub(crate) const LETTER_REPLAYED: &str = include_str!("../sql/letter_replayed.sql");
pub(crate) const LETTER_REPLAY: &str = include_str!("../sql/letter_replay.sql");
pub(crate) const LETTER_DOOMED: &str = include_str!("../sql/letter_doomed.sql");
pub(crate) const LETTER_DOOMED_ONE: &str = include_str!("../sql/letter_doomed_one.sql");
pub(crate) const LETTER_REMOVE: &str = include_str!("../sql/letter_remove.sql");
pub(crate) const REPLAY_MARK: &str = include_str!("../sql/replay_mark.sql");
pub(crate) const LIST_TASKS: &str = include_str!("../sql/list_tasks.sql");
pub(crate) const LIST_ENDS: &str = include_str!("../sql/list_ends.sql");
pub(crate) const COUNT_QUEUED: &str = include_str!("../sql/count_queued.sql");
pub(crate) const COUNT_CLIENTS: &str = include_str!("../sql/count_clients.sql");
