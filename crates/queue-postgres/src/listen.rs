//! What the other servers do: a connection that listens, and looks whether they are there.
//!
//! It hears and tells the writer, which alone changes the counts. After it was deaf, everything is counted anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cresset_queue::kit::fleet::{Heard, LOOK_EVERY, SILENT_LIMIT, Silences};
use cresset_queue::kit::remote::Trouble as _;
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::connect::{Conn, Dialer, Params};
use crate::error::{StoreError, col};
use crate::locks::server_lock;
use crate::notes::read;

/// Notifications on their way to the writer. What is more means that everything is counted anew.
const NOTES_MAX: usize = 1_024;

/// Between attempts to connect: the first, and the longest.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_LONGEST: Duration = Duration::from_secs(2);

/// Servers that have not ended; whether they have no session, and whether they are silent.
const LOOK: &str = concat!(
    "SELECT id, ",
    server_lock!("pg_try_advisory_xact_lock_shared", "$1", "id"),
    ", seen_at < (extract(epoch FROM clock_timestamp()) * 1000000)::bigint - $2 FROM servers WHERE ended_at IS NULL"
);

const END_SESSION: &str = "\
SELECT s.who, pg_terminate_backend(s.pid) FROM servers AS s JOIN pg_locks AS l ON l.pid = s.pid
WHERE s.id = $1 AND s.ended_at IS NULL AND l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND l.classid = $2::text::regnamespace::oid AND l.objid = s.id::oid
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())";

/// Where the notifications of a connection go, none of which may hold it up.
struct Post {
    notes: mpsc::Sender<String>,
    /// Some did not fit.
    is_short: Arc<AtomicBool>,
}

impl Post {
    fn deliver(&self, note: &str) {
        if self.notes.try_send(note.to_owned()).is_err() {
            self.is_short.store(true, Ordering::Release);
        }
    }
}
/// A connection that listens.
pub(crate) struct Ear {
    conn: Arc<Conn>,
    notes: mpsc::Receiver<String>,
    is_short: Arc<AtomicBool>,
}

impl Ear {
    /// From now on nothing is missed.
    pub(crate) async fn open(dialer: &Dialer) -> Result<Self, StoreError> {
        let (sender, notes) = mpsc::channel(NOTES_MAX);
        let is_short = Arc::new(AtomicBool::new(false));
        let post = Post {
            notes: sender,
            is_short: Arc::clone(&is_short),
        };
        let conn = Conn::open_hearing(dialer, Box::new(move |note| post.deliver(note))).await?;
        let doing = "cannot listen to the other servers";
        let channel = "SELECT 'cresset_' || $1::text::regnamespace::oid";
        let row = conn.row(doing, channel, &[&conn.schema()]).await?;
        if let Some(row) = row {
            conn.batch(doing, &format!("LISTEN {}", col::<&str>(&row, 0)?))
                .await?;
        }
        Ok(Self {
            conn,
            notes,
            is_short,
        })
    }

    /// Servers without a session now. Those that hang lose theirs.
    pub(crate) async fn silent(&self) -> Result<Vec<i64>, StoreError> {
        let doing = "cannot look for the other servers";
        let limit = i64::try_from(SILENT_LIMIT.as_micros()).unwrap_or(i64::MAX);
        let values: Params<'_> = &[&self.conn.schema(), &limit];
        let mut silent = Vec::new();
        for row in self.conn.rows(doing, LOOK, values).await? {
            let id: i64 = col(&row, 0)?;
            if col(&row, 1)? {
                silent.push(id);
            } else if col(&row, 2)? {
                let values: Params<'_> = &[&id, &self.conn.schema()];
                for row in self.conn.rows(doing, END_SESSION, values).await? {
                    let who: &str = col(&row, 0)?;
                    tracing::warn!(server = who, "a server hangs: its session is ended");
                }
            }
        }
        Ok(silent)
    }
}

/// Listens until the store is closed.
pub(crate) async fn run(ear: Ear, dialer: Dialer, writer: mpsc::Sender<Heard>, closing: CancellationToken) {
    tokio::select! {
        biased;
        () = closing.cancelled() => {}
        // An error means that there is no writer any more.
        _ = listen(ear, &dialer, &writer) => {}
    }
}

type Told = Result<(), mpsc::error::SendError<Heard>>;

async fn listen(mut ear: Ear, dialer: &Dialer, writer: &mpsc::Sender<Heard>) -> Told {
    loop {
        while_heard(&mut ear, writer).await?;
        let mut pause = PAUSE_FIRST;
        ear = loop {
            match Ear::open(dialer).await {
                Ok(ear) => break ear,
                Err(error) => tracing::debug!(error = error.whole(), "cannot listen to the other servers"),
            }
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE_LONGEST);
        };
        writer.send(Heard::Missed).await?;
    }
}

/// Until the connection is gone.
async fn while_heard(ear: &mut Ear, writer: &mpsc::Sender<Heard>) -> Told {
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut silences = Silences::default();
    loop {
        tokio::select! {
            biased;
            note = ear.notes.recv() => match note {
                Some(note) => writer.send(Heard::Note(read(&note))).await?,
                None => return Ok(()),
            },
            _ = looks.tick() => {
                let Ok(now_silent) = ear.silent().await else { return Ok(()) };
                let ended = silences.seen(&now_silent);
                if !ended.is_empty() {
                    writer.send(Heard::Silent(ended)).await?;
                }
            }
        }
        if ear.is_short.swap(false, Ordering::AcqRel) {
            writer.send(Heard::Missed).await?;
        }
    }
}
