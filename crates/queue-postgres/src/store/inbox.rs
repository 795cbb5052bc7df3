//! The inbox as its callers hold it, and the connection that hears of new rows.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use cresset_queue::kit::Entry;
use cresset_queue::kit::remote::{Trouble as _, ask, tell};
use cresset_queue::{Inbox, InboxEntry, InboxLoad, InboxQuery, InboxRow, InboxTaken, QueueError};
use cresset_task::{TaskId, Timestamp};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::PostgresStore;
use crate::connect::{Conn, Dialer};
use crate::error::StoreError;
use crate::op::Op;
use crate::read;

/// Pauses between attempts to listen again: the first, and the longest. Meanwhile the engine looks by itself.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LONGEST: Duration = Duration::from_secs(5);

/// What the trigger `inbox_told` says it on, for all schemas of a database; the schema is what it says.
const LISTEN: &str = "LISTEN cresset_inbox";

/// Listens until the store is closed, and rings for each transaction with new rows, and when something may have been missed.
pub(super) async fn listen(dialer: Dialer, bell: watch::Sender<u64>, closing: CancellationToken) {
    let ring = Arc::new(move || bell.send_modify(|count| *count += 1));
    let mut pause = PAUSE_FIRST;
    loop {
        tokio::select! {
            biased;
            () = closing.cancelled() => return,
            heard = once(&dialer, Arc::clone(&ring), &mut pause) => match heard {
                Ok(()) => tracing::debug!("the connection that listens to the inbox is lost"),
                Err(error) => tracing::debug!(error = error.whole(), "cannot listen to the inbox"),
            },
        }
        tokio::select! {
            biased;
            () = closing.cancelled() => return,
            () = sleep(pause) => pause = (pause * 2).min(PAUSE_LONGEST),
        }
    }
}

/// Until the connection is gone.
async fn once(
    dialer: &Dialer,
    ring: Arc<impl Fn() + Send + Sync + 'static>,
    pause: &mut Duration,
) -> Result<(), StoreError> {
    let (schema, bell) = (dialer.target.schema().to_owned(), Arc::clone(&ring));
    let heard = move |said: &str| {
        if said == schema {
            bell();
        }
    };
    let conn = Conn::open_hearing(dialer, Box::new(heard)).await?;
    conn.batch("cannot listen to the inbox", LISTEN).await?;
    *pause = PAUSE_FIRST;
    // What came before it listened.
    ring();
    conn.over().await;
    Ok(())
}

#[async_trait]
impl Inbox for PostgresStore {
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
