//! The store as its callers hold it: the ports, in front of the writer and the readers.

mod inbox;
mod ports;

use std::fmt;
use std::sync::Arc;

use cresset_queue::kit::remote::{Front, Readers, Trouble as _};
use cresset_queue::kit::{self, Depths, Fault, IntoQueueError};
use cresset_queue::{Capabilities, QueueError};
use tokio::sync::watch;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::connect::Dialer;
use crate::error::StoreError;
use crate::group::count;
use crate::op::Op;
use crate::options::MysqlOptions;
use crate::owner::{self, Held};
use crate::schema;
use crate::writer::Mysql;

/// What was found at opening, for the caller's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// There was no store in the database; this one is new.
    pub created: bool,
    /// Tasks that an earlier server had leased when it ended; they are queued again.
    pub requeued: u64,
    /// Tasks that are queued now, those included.
    pub queued: u64,
    /// The version of the database, as it says itself.
    pub version: String,
    /// Whether the database flushes what it commits (its setting `innodb_flush_log_at_trx_commit`).
    pub flushes: bool,
}

/// The store in MySQL or MariaDB: every port in one database. Cheap to clone; all clones are one store. It works on the tokio runtime
/// on which it was opened.
///
/// [`close`](cresset_queue::Broker::close) ends it and waits for that. Without it, it ends in the background when the last
/// clone is dropped; nothing that was answered is lost either way.
#[derive(Clone)]
pub struct MysqlStore {
    inner: Arc<Inner>,
}

struct Inner {
    front: Front<Op, Dialer>,
    opened: Opened,
    inbox: Option<inbox::Watched>,
}

impl fmt::Debug for MysqlStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MysqlStore")
            .field("opened", &self.inner.opened)
            .finish_non_exhaustive()
    }
}

impl MysqlStore {
    /// Opens the store, or makes it if the database is empty.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the database cannot be reached, does not let us in, or another server has the store; `Corrupt`
    /// when it is one that this program cannot use: too old, with packets too small, with tables of somebody else's, with a newer schema. It is left as it is then.
    pub async fn open(options: MysqlOptions) -> Result<Self, QueueError> {
        let shown = options.target.to_string();
        start(options).await.map_err(|error| {
            let refused = QueueError::new(error.kind(), "open", format!("{shown}: {error}"));
            match error {
                StoreError::Mysql { source, .. } => refused.because(source),
                _ => refused,
            }
        })
    }

    /// What such a store can do, without opening one, in a database that flushes each commit or does not.
    #[must_use]
    pub const fn capabilities_with(flushes: bool) -> Capabilities {
        Capabilities {
            inbox: true,
            ..kit::capabilities("mysql", flushes)
        }
    }

    /// What was found at opening.
    #[must_use]
    pub fn opened(&self) -> &Opened {
        &self.inner.opened
    }

    fn front(&self) -> &Front<Op, Dialer> {
        &self.inner.front
    }

    /// Encoding failed.
    fn misused(operation: &'static str) -> impl Fn(Fault) -> QueueError {
        move |fault| StoreError::from(fault).into_queue(operation)
    }
}

async fn start(options: MysqlOptions) -> Result<MysqlStore, StoreError> {
    let number = Uuid::now_v7();
    let dialer = Dialer {
        target: options.target,
    };
    let Held {
        conn,
        owner,
        upgraded,
        requeued,
        ..
    } = owner::take(&dialer, number, None).await?;
    let served = match options.inbox {
        Some(inbox) => schema::guard_inbox(&conn).await?.then_some(inbox),
        None => None,
    };
    let depths = Arc::new(Depths::default());
    depths.recount(count(&conn).await?);
    if !conn.flushes {
        tracing::warn!(
            "the database does not flush each commit (innodb_flush_log_at_trx_commit): the last second of accepted tasks does not \
             survive a power cut of its machine"
        );
    }
    let opened = Opened {
        created: upgraded == schema::NEWEST,
        requeued,
        queued: depths.total().tasks,
        version: conn.version.clone(),
        flushes: conn.flushes,
    };
    let database = Mysql {
        dialer: dialer.clone(),
        ttl: options.ttl,
        owner,
    };
    let readers = Readers::new(dialer.clone(), options.readers);
    let (front, writer) = Front::new(database, conn, depths, readers);
    let closing = front.closing().clone();
    let tasks = TaskTracker::new();
    tasks.spawn(writer.run());
    let inbox = served.map(|options| {
        let (ring, bell) = watch::channel(0);
        tasks.spawn(inbox::watch_inbox(dialer, ring, closing));
        inbox::Watched { bell, options }
    });
    Ok(MysqlStore {
        inner: Arc::new(Inner { front, opened, inbox }),
    })
}
