//! The inbox as its callers hold it, and the looks that find new rows: neither MySQL nor MariaDB tells of a commit.

use std::time::Duration;

use async_trait::async_trait;
use cresset_queue::kit::remote::{STATEMENT_LIMIT, Trouble as _, ask, tell};
use cresset_queue::kit::{Entry, InboxOptions};
use cresset_queue::{Inbox, InboxEntry, InboxLoad, InboxQuery, InboxRow, InboxTaken, QueueError};
use cresset_task::{TaskId, Tenant, Timestamp};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::MysqlStore;
use crate::connect::{Conn, Dialer, Role};
use crate::error::StoreError;
use crate::op::Op;
use crate::read::{self, Glance};

/// Between two looks there is this part of the time since something came or went: who comes after a second is seen within a
/// sixteenth of one, and a rush of rows costs no more looks than it has time for.
const PAUSE_PART: u32 = 16;
/// While rows come; a look takes the database some tenths of a millisecond.
const PAUSE_SHORTEST: Duration = Duration::from_millis(10);
/// While there are none: a row is seen so late at most, and an idle site asks four times a second.
const PAUSE_LONGEST: Duration = Duration::from_millis(250);

/// Pauses between attempts to connect: the first, and the longest. Meanwhile the engine looks by itself.
const CONNECT_FIRST: Duration = Duration::from_millis(50);
const CONNECT_LONGEST: Duration = Duration::from_secs(5);

/// An inbox that is served.
pub(super) struct Watched {
    pub(super) bell: watch::Receiver<u64>,
    pub(super) options: InboxOptions,
}

/// Looks until the store is closed, and rings when there is something new.
pub(super) async fn watch_inbox(dialer: Dialer, bell: watch::Sender<u64>, closing: CancellationToken) {
    let mut pause = CONNECT_FIRST;
    loop {
        tokio::select! {
            biased;
            () = closing.cancelled() => return,
            error = looks(&dialer, &bell, &mut pause) => {
                tracing::debug!(error = error.whole(), "cannot look whether there is something in the inbox");
            }
        }
        tokio::select! {
            biased;
            () = closing.cancelled() => return,
            () = sleep(pause) => pause = (pause * 2).min(CONNECT_LONGEST),
        }
    }
}

/// Until the connection is gone; says why.
async fn looks(dialer: &Dialer, bell: &watch::Sender<u64>, pause: &mut Duration) -> StoreError {
    let conn = match Conn::open(dialer, Role::Reader).await {
        Ok(conn) => conn,
        Err(error) => return error,
    };
    let (mut seen, mut since) = (Glance::default(), Instant::now());
    loop {
        let looked = timeout(STATEMENT_LIMIT, read::inbox_glance(&conn)).await;
        let now = match looked.unwrap_or_else(|_| Err(no_answer())) {
            Ok(now) => now,
            Err(error) => return error,
        };
        *pause = CONNECT_FIRST;
        if now != seen {
            if now.has_rows() {
                bell.send_modify(|count| *count += 1);
            }
            (seen, since) = (now, Instant::now());
        }
        sleep(pause_after(since.elapsed())).await;
    }
}

fn no_answer() -> StoreError {
    StoreError::Away(format!("the database did not answer within {STATEMENT_LIMIT:?}"))
}

/// Until the next look, when nothing has come or gone for so long.
fn pause_after(quiet: Duration) -> Duration {
    (quiet / PAUSE_PART).clamp(PAUSE_SHORTEST, PAUSE_LONGEST)
}

impl MysqlStore {
    /// Whose the tasks of the inbox are.
    pub(super) fn inbox_tenant(&self) -> Option<&Tenant> {
        self.inner.inbox.as_ref()?.options.tenant.as_ref()
    }
}

#[async_trait]
impl Inbox for MysqlStore {
    fn inbox(&self) -> Option<watch::Receiver<u64>> {
        self.inner.inbox.as_ref().map(|inbox| inbox.bell.clone())
    }

    async fn inbox_rows(&self, query: InboxQuery) -> Result<Vec<InboxRow>, QueueError> {
        let tenant = self.inbox_tenant();
        ask!(self, "inbox_rows", |conn| read::inbox_rows(conn, &query, tenant))
    }

    async fn inbox_row(&self, id: TaskId, max_row_bytes: usize) -> Result<Option<InboxRow>, QueueError> {
        let tenant = self.inbox_tenant();
        ask!(self, "inbox_row", |conn| read::inbox_row(
            conn,
            id,
            max_row_bytes,
            tenant
        ))
    }

    async fn inbox_take(
        &self,
        entries: Vec<InboxEntry>,
        now: Timestamp,
    ) -> Result<Vec<InboxTaken>, QueueError> {
        let entries = entries.into_iter().map(Entry::of).collect::<Result<_, _>>();
        let entries = entries.map_err(Self::misused("inbox_take"))?;
        tell!(self, "inbox_take", |slot| Op::InboxTake { entries, now, slot })
    }

    async fn inbox_load(&self) -> Result<InboxLoad, QueueError> {
        ask!(self, "inbox_load", |conn| read::inbox_load(conn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn looks_are_frequent_while_rows_come_and_seldom_while_none_do() {
        let after = |millis| pause_after(Duration::from_millis(millis)).as_millis();
        assert_eq!(
            [after(0), after(160), after(1_600), after(4_000), after(3_600_000)],
            [10, 10, 100, 250, 250]
        );
    }
}
