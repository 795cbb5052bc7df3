//! Waiting for a task's end by long polls, across the server's restarts.

use std::time::Duration;

use bytes::Bytes;
use cresset_task::TaskId;
use tokio::time::Instant;

use super::{CallError, Client, Task};

/// One long poll: shorter than the idle limits that proxies commonly have (60 s).
pub(crate) const POLL: Duration = Duration::from_secs(30);
/// An answer that comes sooner than this, and is not the end, means that something does not know `wait`: pause, or we
/// would ask without pause.
const SUSPICIOUSLY_SOON: Duration = Duration::from_millis(100);
/// The pause then, and after a lost connection.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a server may be away before waiting for it is given up: a restart takes seconds.
pub(super) const AWAY_MAX: Duration = Duration::from_secs(30);

/// How waiting ended.
#[derive(Debug)]
pub(crate) enum WaitEnd {
    /// The task has ended, or nobody wanted to wait; the document as the server sent it comes along.
    Seen(Box<Task>, Bytes),
    /// The limit ran out first; the task as it was last seen, if it was.
    TimedOut(Option<Box<Task>>),
}

impl Client {
    /// A task as it is now (`wait` is `None`) or once it has ended. A server that is not there is not waited for: it
    /// must have answered once.
    pub(crate) async fn look(
        &self,
        id: TaskId,
        wait: Option<Option<Duration>>,
    ) -> Result<WaitEnd, CallError> {
        let (task, document) = self.task(id, None).await?;
        match wait {
            Some(limit) if !task.status.is_terminal() => self.wait(id, limit).await,
            _ => Ok(WaitEnd::Seen(Box::new(task), document)),
        }
    }

    /// Waits until the task has ended, `limit` at most (no limit: as long as the server is there).
    pub(crate) async fn wait(&self, id: TaskId, limit: Option<Duration>) -> Result<WaitEnd, CallError> {
        let started = Instant::now();
        let mut answered = started;
        let mut last = None;
        loop {
            let poll = match limit {
                Some(limit) => limit.saturating_sub(started.elapsed()).min(POLL),
                None => POLL,
            };
            let asked = Instant::now();
            match self.task(id, Some(poll)).await {
                Ok((task, document)) if task.status.is_terminal() => {
                    return Ok(WaitEnd::Seen(Box::new(task), document));
                }
                Ok((task, _)) => {
                    answered = Instant::now();
                    last = Some(Box::new(task));
                }
                Err(error) if error.passes() && answered.elapsed() < AWAY_MAX => {}
                Err(error) => return Err(error),
            }
            if limit.is_some_and(|limit| started.elapsed() >= limit) {
                return Ok(WaitEnd::TimedOut(last));
            }
            if asked.elapsed() < SUSPICIOUSLY_SOON {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}
