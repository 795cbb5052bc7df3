//! The store as its callers hold it: the ports, in front of the writer and the readers.

mod inbox;
mod ports;
mod together;

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use cresset_queue::kit::fleet::{Board, HEARD_MAX, UNSAID};
use cresset_queue::kit::remote::{Failed, Front, Readers, Trouble as _, commit};
use cresset_queue::kit::{self, Depths, Fault, IntoQueueError};
use cresset_queue::{Capabilities, QueueError};
use tokio::sync::{mpsc, watch};
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use self::together::{Fetch, Position, Together};
use crate::connect::{Conn, Dialer, Role};
use crate::ear::{self, Attention, Ear};
use crate::error::StoreError;
use crate::group::count;
use crate::member::{self, Held};
use crate::op::Op;
use crate::options::MysqlOptions;
use crate::schema;
use crate::writer::Mysql;

/// What was found at opening, for the caller's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// There was no store in the database; this one is new.
    pub created: bool,
    /// Tasks that servers had leased which have ended without a word; they are queued again.
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
    fetches: Together<Fetch>,
    positions: Together<Position>,
    board: Arc<Board>,
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
    /// `Unavailable` when the database cannot be reached, does not let us in, or others are on a store whose schema is older than this program's; `Corrupt`
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
            shared: true,
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

/// Servers without a session at this moment have ended; says how many tasks of theirs are queued again. One that only lost its
/// connection comes back as a new one.
async fn end_silent(
    database: &mut Mysql,
    conn: &Conn,
    (ear, looking): (&mut Ear, &Conn),
) -> Result<u64, StoreError> {
    let mut ids = ear.silent(looking).await?;
    ids.retain(|id| *id != database.member.id);
    if ids.is_empty() {
        return Ok(0);
    }
    let mut reap = [Op::Reap { ids, requeued: 0 }];
    match commit(database, conn, &mut reap).await {
        Ok(_counted_next) => {}
        // Whoever else is just ending them, or this one at its next look.
        Err(Failed::RolledBack(error)) if error.met_another() => return Ok(0),
        Err(failed) => return Err(failed.error()),
    }
    match reap {
        [Op::Reap { requeued, .. }] => Ok(requeued),
        _ => Ok(0),
    }
}

async fn start(options: MysqlOptions) -> Result<MysqlStore, StoreError> {
    let dialer = Dialer {
        target: options.target,
    };
    let Held {
        conn,
        member,
        upgraded,
        is_inbox_guarded,
        ..
    } = member::join(&dialer, Uuid::now_v7(), UNSAID, options.inbox.is_some()).await?;
    // Before it is counted, so that nothing falls between.
    let attention = Arc::new(Attention::default());
    attention.is(member.id);
    let looking = Conn::open(&dialer, Role::Ear).await?;
    let mut ear = Ear::open(&looking, Arc::clone(&attention)).await?;
    let (told, heard) = mpsc::channel(HEARD_MAX);
    let board = Arc::new(Board::default());
    let mut database = Mysql {
        dialer: dialer.clone(),
        ttl: options.ttl,
        member,
        attention,
        heard,
        counted: HashMap::new(),
        board: Arc::clone(&board),
    };
    let requeued = end_silent(&mut database, &conn, (&mut ear, &looking)).await?;
    let depths = Arc::new(Depths::default());
    let (counts, counted) = count(&conn).await?;
    depths.recount(counts);
    database.counted = counted;
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
    let readers = Readers::new(dialer.clone(), options.readers);
    let (front, writer) = Front::new(database, conn, depths, readers);
    let closing = front.closing().clone();
    let tasks = TaskTracker::new();
    tasks.spawn(ear::run(ear, looking, dialer.clone(), told, closing.clone()));
    tasks.spawn(writer.run());
    let inbox = options.inbox.filter(|_| is_inbox_guarded).map(|options| {
        let (ring, bell) = watch::channel(0);
        tasks.spawn(inbox::watch_inbox(dialer, ring, closing));
        inbox::Watched { bell, options }
    });
    Ok(MysqlStore {
        inner: Arc::new(Inner {
            front,
            fetches: Together::default(),
            positions: Together::default(),
            board,
            opened,
            inbox,
        }),
    })
}
