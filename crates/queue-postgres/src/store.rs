//! The store as its callers hold it: the ports, in front of the writer and the readers.

mod inbox;
mod ports;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use cresset_queue::kit::fleet::{Board, HEARD_MAX, UNSAID};
use cresset_queue::kit::remote::{Failed, Front, Readers, Trouble as _, commit};
use cresset_queue::kit::{self, Depths, Fault, InboxOptions, IntoQueueError};
use cresset_queue::{Capabilities, QueueError};
use cresset_task::Tenant;
use tokio::sync::{mpsc, watch};
use uuid::Uuid;

use crate::connect::{Conn, Dialer};
use crate::error::StoreError;
use crate::group::count;
use crate::listen::{self, Ear};
use crate::member::{self, Held};
use crate::op::Op;
use crate::options::{Durability, PostgresOptions};
use crate::schema;
use crate::writer::Postgres;

/// What was found at opening, for the caller's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// There was no store in the schema; this one is new.
    pub created: bool,
    /// Tasks that servers had leased which have ended without a word; they are queued again.
    pub requeued: u64,
    /// Tasks that are queued now, those included.
    pub queued: u64,
    /// The version of PostgreSQL, as `server_version_num` has it.
    pub version: i32,
    /// Whether the database flushes what it commits (its setting `fsync`).
    pub flushes: bool,
}

/// The PostgreSQL store: every port in one schema. Cheap to clone; all clones are one store. It works on the tokio runtime
/// on which it was opened.
///
/// [`close`](cresset_queue::Broker::close) ends it and waits for that. Without it, it ends in the background when the last
/// clone is dropped; nothing that was answered is lost either way.
#[derive(Clone)]
pub struct PostgresStore {
    inner: Arc<Inner>,
}

struct Inner {
    front: Front<Op, Dialer>,
    board: Arc<Board>,
    opened: Opened,
    durability: Durability,
    inbox: Option<Hearing>,
}

/// An inbox that is served.
struct Hearing {
    bell: watch::Receiver<u64>,
    options: InboxOptions,
}

impl fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStore")
            .field("opened", &self.inner.opened)
            .finish_non_exhaustive()
    }
}

impl PostgresStore {
    /// Opens the store, or makes it if the schema is empty or not there.
    ///
    /// # Errors
    ///
    /// `Unavailable` when the database cannot be reached, does not let us in, or others are on a store whose schema is older than this program's; `Corrupt`
    /// when it is one that this program cannot use: too old, another encoding, a newer schema. It is left as it is then.
    pub async fn open(options: PostgresOptions) -> Result<Self, QueueError> {
        let shown = options.target.to_string();
        start(options).await.map_err(|error| {
            let refused = QueueError::new(error.kind(), "open", format!("{shown}: {error}"));
            match error {
                StoreError::Postgres { source, .. } => refused.because(source),
                _ => refused,
            }
        })
    }

    /// What a store of this durability can do, without opening one.
    #[must_use]
    pub const fn capabilities_with(durability: Durability) -> Capabilities {
        Capabilities {
            shared: true,
            inbox: true,
            ..kit::capabilities("postgresql", matches!(durability, Durability::Fsync))
        }
    }

    /// What was found at opening.
    #[must_use]
    pub fn opened(&self) -> Opened {
        self.inner.opened
    }

    /// Whose the tasks of the inbox are.
    fn inbox_tenant(&self) -> Option<&Tenant> {
        self.inner.inbox.as_ref()?.options.tenant.as_ref()
    }

    fn front(&self) -> &Front<Op, Dialer> {
        &self.inner.front
    }

    /// Encoding failed.
    fn misused(operation: &'static str) -> impl Fn(Fault) -> QueueError {
        move |fault| StoreError::from(fault).into_queue(operation)
    }
}

/// Servers without a session at this moment have ended; says how many tasks of theirs are queued again. One that only lost its
/// connection comes back as a new one.
async fn end_silent(database: &mut Postgres, conn: &Conn, ear: &Ear) -> Result<u64, StoreError> {
    let mut ids = ear.silent().await?;
    ids.retain(|id| *id != database.member.id);
    let mut reap = [Op::Reap { ids, requeued: 0 }];
    let _counted_next = commit(database, conn, &mut reap).await.map_err(Failed::error)?;
    match reap {
        [Op::Reap { requeued, .. }] => Ok(requeued),
        _ => Ok(0),
    }
}

async fn start(options: PostgresOptions) -> Result<PostgresStore, StoreError> {
    let number = Uuid::now_v7();
    let dialer = Dialer::new(options.target);
    let held = member::join(&dialer, number, None, UNSAID).await?;
    let Held {
        conn,
        member,
        upgraded,
        ..
    } = held;
    // Before it is counted, so that nothing falls between.
    let ear = Ear::open(&dialer).await?;
    let (told, heard) = mpsc::channel(HEARD_MAX);
    let board = Arc::new(Board::default());
    let mut database = Postgres {
        dialer: dialer.clone(),
        durability: options.durability,
        ttl: options.ttl,
        member,
        heard,
        counted: HashMap::new(),
        board: Arc::clone(&board),
    };
    let requeued = end_silent(&mut database, &conn, &ear).await?;
    let depths = Arc::new(Depths::default());
    let (counts, counted) = count(&conn).await?;
    depths.recount(counts);
    database.counted = counted;
    if !conn.flushes {
        tracing::warn!(
            "the database runs with fsync = off: accepted tasks do not survive a power cut of its machine"
        );
    }
    let opened = Opened {
        created: upgraded == schema::NEWEST,
        requeued,
        queued: depths.total().tasks,
        version: conn.version,
        flushes: conn.flushes,
    };
    let readers = Readers::new(dialer.clone(), options.readers);
    let (front, writer) = Front::new(database, conn, depths, readers);
    let closing = front.closing();
    dialer
        .tasks
        .spawn(listen::run(ear, dialer.clone(), told, closing.clone()));
    dialer.tasks.spawn(writer.run());
    let inbox = options.inbox.map(|options| {
        let (ring, bell) = watch::channel(0);
        dialer
            .tasks
            .spawn(inbox::listen(dialer.clone(), ring, closing.clone()));
        Hearing { bell, options }
    });
    Ok(PostgresStore {
        inner: Arc::new(Inner {
            front,
            board,
            opened,
            durability: options.durability,
            inbox,
        }),
    })
}
