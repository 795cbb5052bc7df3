//! Opening: the lock, the file, the schema, the leases of the last holder, the counters.
//!
//! A database is created beside its place and renamed into it, so a file that is there is whole. Whatever is there and
//! is not readable as ours is refused and left alone: it may hold accepted tasks.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;

use cresset_queue::kit::{Change, Depths, SERVER_ENDED, client_of, model_of};
use cresset_task::Timestamp;
use rusqlite::{Connection, TransactionBehavior, params};

use crate::care::refuse_half_restored;
use crate::connect::{self, LogPages};
use crate::depth;
use crate::error::StoreError;
use crate::files::{self, parent_of, sync_folder};
use crate::lock::{Lock, beside};
use crate::queries;
use crate::schema;

/// What was found at opening, for the caller's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// There was no database; this one is new.
    pub created: bool,
    /// Tasks that an earlier process had leased when it ended; they are queued again.
    pub requeued: u64,
    /// Tasks that are queued now, those included.
    pub queued: u64,
}

/// An opened database, not yet running.
#[derive(Debug)]
pub(crate) struct Database {
    pub(crate) conn: Connection,
    pub(crate) log: LogPages,
    pub(crate) depths: Depths,
    pub(crate) opened: Opened,
    // Last, so that it goes after the connection.
    pub(crate) lock: Lock,
}

pub(crate) fn open(path: &Path) -> Result<Database, StoreError> {
    let lock = Lock::take(path)?;
    refuse_half_restored(path)?;
    let created = create_if_missing(path)?;
    let log = LogPages::default();
    let mut conn = connect::writer(path, log.clone())?;
    schema::upgrade(&mut conn)?;
    use_wal(&conn)?;
    let requeued = give_back_leases(&mut conn).map_err(StoreError::sqlite(
        "cannot give back the leases of the last process",
    ))?;
    let depths = count_queued(&conn)?;
    let opened = Opened {
        created,
        requeued: requeued as u64,
        queued: depths.total().tasks,
    };
    Ok(Database {
        conn,
        log,
        depths,
        opened,
        lock,
    })
}

/// True when it made one.
fn create_if_missing(path: &Path) -> Result<bool, StoreError> {
    match fs::metadata(path) {
        Ok(found) if found.len() > 0 => Ok(false),
        Ok(_) => Err(StoreError::Damaged(
            "the file is empty, which a database never is; restore it, or move it away to start without its tasks".into(),
        )),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            let log = beside(path, "-wal");
            if fs::metadata(&log).is_ok_and(|m| m.len() > 0) {
                return Err(StoreError::Damaged(format!(
                    "the database is missing, but its log {} is there; \
                     restore the database, or move the log away to start without its tasks",
                    log.display()
                )));
            }
            let payloads = files::folder_of(path);
            if files::any_in(&payloads) {
                return Err(StoreError::Damaged(format!(
                    "the database is missing, but the payloads of its tasks are in {}; \
                     restore the database, or move the folder away to start without its tasks",
                    payloads.display()
                )));
            }
            create(path)?;
            Ok(true)
        }
        Err(e) => Err(StoreError::io("cannot look at", path)(e)),
    }
}

fn create(path: &Path) -> Result<(), StoreError> {
    // Whatever an interrupted creation left, by an earlier holder of the lock we hold.
    let draft = beside(path, ".new");
    for suffix in ["", "-journal", "-wal", "-shm"] {
        let file = beside(&draft, suffix);
        match fs::remove_file(&file) {
            Err(e) if e.kind() != ErrorKind::NotFound => {
                return Err(StoreError::io("cannot remove", file)(e));
            }
            _ => {}
        }
    }
    let mut conn = Connection::open(&draft).map_err(StoreError::sqlite("cannot create the database"))?;
    use_wal(&conn)?;
    schema::create(&mut conn)?;
    conn.close()
        .map_err(|(_, e)| StoreError::sqlite("cannot finish creating the database")(e))?;
    File::open(&draft)
        .and_then(|f| f.sync_all())
        .map_err(StoreError::io("cannot sync", &draft))?;
    fs::rename(&draft, path).map_err(StoreError::io("cannot rename the new database to", path))?;
    sync_folder(parent_of(path))
}

fn use_wal(conn: &Connection) -> Result<(), StoreError> {
    let mode: String = conn
        .query_row("PRAGMA journal_mode = wal", [], |row| row.get(0))
        .map_err(StoreError::sqlite("cannot switch to a write-ahead log"))?;
    if mode == "wal" {
        Ok(())
    } else {
        Err(StoreError::InUse(format!(
            "the file system cannot hold a write-ahead log (journal mode {mode}); use a local disk"
        )))
    }
}

/// Leases do not outlive their process; says how many there were.
fn give_back_leases(conn: &mut Connection) -> rusqlite::Result<usize> {
    let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
    tx.execute(
        queries::NOTE_LEASED,
        params![Timestamp::now().as_micros(), SERVER_ENDED],
    )?;
    let requeued = tx.execute(queries::REQUEUE_LEASED, [])?;
    tx.execute(queries::OUTBOX_REQUEUE, [Timestamp::now().as_micros()])?;
    tx.commit()?;
    Ok(requeued)
}

fn count_queued(conn: &Connection) -> Result<Depths, StoreError> {
    let mut change = Change::default();
    let count = || {
        let mut query = conn.prepare(queries::COUNT_QUEUED)?;
        let rows = query.query_map([], |row| {
            let counts = (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?);
            Ok((row.get::<_, String>(0)?, counts))
        })?;
        rows.collect::<rusqlite::Result<Vec<(String, (i64, i64, i64, Option<i64>))>>>()
    };
    let counted = count().map_err(StoreError::sqlite("cannot count the queued tasks"))?;
    for (model, (tasks, bytes, delayed, next_due)) in counted {
        let model = model_of(&model)?;
        change.add_to_model(&model, tasks, bytes);
        change.delay(&model, delayed);
        if let Some(due) = next_due {
            change.due(&model, Some(Timestamp::from_micros(due)));
        }
    }
    count_clients(conn, &mut change)?;
    depth::count_outbox(conn, &mut change)
        .and_then(|()| depth::look_up(conn, &mut change))
        .map_err(StoreError::sqlite("cannot count what is to be told"))?;
    let depths = Depths::default();
    depths.apply(change);
    Ok(depths)
}

fn count_clients(conn: &Connection, change: &mut Change) -> Result<(), StoreError> {
    let count = || {
        let mut query = conn.prepare(queries::COUNT_CLIENTS)?;
        let rows = query.query_map([], |row| {
            Ok((row.get::<_, Option<String>>(0)?, row.get(1)?, row.get(2)?))
        })?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    };
    for (client, tasks, bytes) in count().map_err(StoreError::sqlite("cannot count the clients' tasks"))? {
        if let Some(client) = client_of(client.as_deref())? {
            change.add_to_client(&client, tasks, bytes);
        }
    }
    Ok(())
}
