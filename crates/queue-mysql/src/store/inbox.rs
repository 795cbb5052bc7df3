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
use crate::pace::pause_after;
use crate::read::{self, Glance};

/// While rows come; a look takes the database some tenths of a millisecond.
const PAUSE_SHORTEST: Duration = Duration::from_millis(10);

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
        sleep(pause_after(since.elapsed(), PAUSE_SHORTEST)).await;
    }
}

fn no_answer() -> StoreError {
    StoreError::Away(format!("the database did not answer within {STATEMENT_LIMIT:?}"))
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
