//! What the other servers do: a connection that looks for what they tell, and whether they are there.
//!
//! It hears and tells the writer, which alone changes the counts. Each server numbers what it tells without a gap, and says in its
//! row how far it is; so nothing is missed that is there, whatever order commits are seen in, and what has been removed meanwhile
//! is noticed: everything is counted anew then.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use cresset_queue::kit::fleet::{Heard, LOOK_EVERY, Note, Silences};
use cresset_queue::kit::remote::{STATEMENT_LIMIT, Trouble as _};
use tokio::sync::{Notify, mpsc};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::connect::{Conn, Dialer, Role};
use crate::error::{StoreError, col};
use crate::locks::{is_gone, silent_micros};
use crate::pace::pause_after;
use crate::sql::sql;

/// While there is work; a look takes the database a tenth of a millisecond or two.
const PAUSE_SHORTEST: Duration = Duration::from_millis(5);

/// Of each server so much is read at a time.
const NOTES_MAX: i64 = 256;

/// What a server has told is there for so long. Who comes later counts everything anew.
const NEWS_KEPT: Duration = Duration::from_secs(10);

/// Between attempts to connect: the first, and the longest.
const CONNECT_FIRST: Duration = Duration::from_millis(50);
const CONNECT_LONGEST: Duration = Duration::from_secs(2);

/// Which are there, and how far they are.
const ALL: &str = "SELECT id, told, ended_at IS NOT NULL FROM servers";

/// How far those are that are known, and those that have come since.
const FURTHER: &str = "SELECT id, told FROM servers WHERE id > ? OR id IN (?)";

const NEWS: &str = "SELECT number, note FROM news WHERE server = ? AND number > ? ORDER BY number LIMIT ?";

/// Those that have not ended; whether they are gone.
const THERE: &str = concat!(
    "SELECT id, told, ",
    is_gone!(),
    " FROM servers WHERE ended_at IS NULL"
);

/// A small table would be read from end to end otherwise, and what others are just writing be waited for.
const FORGET: &str = "DELETE n FROM news AS n FORCE INDEX (PRIMARY) WHERE n.server = ? AND n.number <= ?";

/// What the writer lets its ear know.
#[derive(Debug, Default)]
pub(crate) struct Attention {
    me: AtomicI64,
    stirred: Notify,
}

impl Attention {
    /// This server has this number now.
    pub(crate) fn is(&self, me: i64) {
        self.me.store(me, Ordering::Release);
    }

    /// There is work: others will soon have something to tell of it.
    pub(crate) fn stir(&self) {
        self.stirred.notify_one();
    }
}

/// How far it has read.
pub(crate) struct Ear {
    attention: Arc<Attention>,
    /// Of each other server that may tell more: the last that was read.
    read: BTreeMap<i64, i64>,
    /// Servers up to this number are known.
    newest: i64,
    silences: Silences,
    /// What this server had told, and when that was seen; the oldest first.
    own: VecDeque<(Instant, i64, i64)>,
    /// What was removed last of that.
    forgotten: (i64, i64),
}

/// One look.
struct Looked {
    heard: Vec<Heard>,
    /// There is more.
    is_short: bool,
}

impl Ear {
    /// From now on nothing is missed.
    pub(crate) async fn open(conn: &Conn, attention: Arc<Attention>) -> Result<Self, StoreError> {
        let mut ear = Self {
            attention,
            read: BTreeMap::new(),
            newest: 0,
            silences: Silences::default(),
            own: VecDeque::new(),
            forgotten: (0, 0),
        };
        for row in conn.rows("cannot look for the other servers", ALL.into()).await? {
            let id: i64 = col(&row, 0)?;
            ear.newest = ear.newest.max(id);
            if !col::<bool>(&row, 2)? {
                ear.read.insert(id, col(&row, 1)?);
            }
        }
        Ok(ear)
    }

    /// What the others have told since the last look.
    async fn look(&mut self, conn: &Conn) -> Result<Looked, StoreError> {
        let me = self.attention.me.load(Ordering::Acquire);
        self.read.remove(&me);
        let known: Vec<i64> = self.read.keys().copied().collect();
        let asked = sql!(FURTHER, self.newest, &known[..]);
        let (mut heard, mut behind) = (Vec::new(), Vec::new());
        for row in conn.rows("cannot look for what others told", asked).await? {
            let (id, told): (i64, i64) = (col(&row, 0)?, col(&row, 1)?);
            self.newest = self.newest.max(id);
            if id == me {
                continue;
            }
            let read = self.read.entry(id).or_default();
            if told < *read {
                // The database has forgotten.
                *read = told;
                heard.push(Heard::Missed);
            } else if told > *read {
                behind.push((id, *read, told));
            }
        }
        let is_short = self.read_on(conn, &behind, &mut heard).await?;
        Ok(Looked { heard, is_short })
    }

    /// What these servers have told behind what was read, as far as they are known to be; true when there is more.
    async fn read_on(
        &mut self,
        conn: &Conn,
        behind: &[(i64, i64, i64)],
        heard: &mut Vec<Heard>,
    ) -> Result<bool, StoreError> {
        if behind.is_empty() {
            return Ok(false);
        }
        let asked = behind
            .iter()
            .map(|(id, read, _)| sql!(NEWS, *id, *read, NOTES_MAX));
        let asked: Vec<String> = asked.collect();
        let answers = conn.all("cannot read what others told", &asked).await?;
        let mut is_short = false;
        for ((id, read, told), answer) in behind.iter().zip(answers) {
            let mut last = *read;
            for row in &answer.rows {
                let (number, text): (i64, String) = (col(row, 0)?, col(row, 1)?);
                if number != last + 1 {
                    heard.push(Heard::Missed);
                }
                last = number;
                heard.push(Heard::Note(Note::read((*id, number), &text)));
            }
            if answer.rows.is_empty() {
                // All of it has been removed.
                heard.push(Heard::Missed);
                last = *told;
            }
            is_short |= last < *told;
            self.read.insert(*id, last);
        }
        Ok(is_short)
    }

    /// Servers that have no session now.
    pub(crate) async fn silent(&mut self, conn: &Conn) -> Result<Vec<i64>, StoreError> {
        Ok(self.there(conn).await?.1)
    }

    /// Those that are there; those of them that have gone. Notes how far this one is.
    async fn there(&mut self, conn: &Conn) -> Result<(HashSet<i64>, Vec<i64>), StoreError> {
        let me = self.attention.me.load(Ordering::Acquire);
        let (mut there, mut silent) = (HashSet::new(), Vec::new());
        let asked = sql!(THERE, silent_micros());
        for row in conn.rows("cannot look for the other servers", asked).await? {
            let id: i64 = col(&row, 0)?;
            there.insert(id);
            if id == me {
                self.own.push_back((Instant::now(), id, col(&row, 1)?));
            } else if col(&row, 2)? {
                silent.push(id);
            }
        }
        Ok((there, silent))
    }

    /// Once a second: who has gone, what need not be looked for any more, and what need not be there any more.
    async fn tidy(&mut self, conn: &Conn) -> Result<Vec<Heard>, StoreError> {
        let known = self.newest;
        let (there, silent) = self.there(conn).await?;
        let mut heard = Vec::new();
        loop {
            // Who had ended by then has told all that it will.
            let mut looked = self.look(conn).await?;
            heard.append(&mut looked.heard);
            if !looked.is_short {
                break;
            }
        }
        self.read.retain(|id, _| *id > known || there.contains(id));
        let ended = self.silences.seen(&silent);
        if !ended.is_empty() {
            heard.push(Heard::Silent(ended));
        }
        self.forget(conn).await?;
        Ok(heard)
    }

    /// Removes what this server told so long ago that all have read it who are there.
    async fn forget(&mut self, conn: &Conn) -> Result<(), StoreError> {
        let mut old = None;
        while let Some((seen, me, told)) = self.own.front()
            && seen.elapsed() >= NEWS_KEPT
        {
            old = Some((*me, *told));
            self.own.pop_front();
        }
        if let Some((me, told)) = old.filter(|old| *old != self.forgotten) {
            conn.run("cannot remove what all have heard", sql!(FORGET, me, told))
                .await?;
            self.forgotten = (me, told);
        }
        Ok(())
    }
}

/// Looks until the store is closed.
pub(crate) async fn run(
    ear: Ear,
    conn: Arc<Conn>,
    dialer: Dialer,
    writer: mpsc::Sender<Heard>,
    closing: CancellationToken,
) {
    tokio::select! {
        biased;
        () = closing.cancelled() => {}
        // An error means that there is no writer any more.
        _ = listen(ear, conn, &dialer, &writer) => {}
    }
}

type Told<T> = Result<T, mpsc::error::SendError<Heard>>;

async fn listen(
    mut ear: Ear,
    mut conn: Arc<Conn>,
    dialer: &Dialer,
    writer: &mpsc::Sender<Heard>,
) -> Told<()> {
    loop {
        let error = looks(&mut ear, &conn, writer).await?;
        tracing::debug!(error = error.whole(), "cannot look for what other servers tell");
        let mut pause = CONNECT_FIRST;
        conn = loop {
            match Conn::open(dialer, Role::Ear).await {
                Ok(conn) => break conn,
                Err(error) => {
                    tracing::debug!(error = error.whole(), "cannot look for what other servers tell")
                }
            }
            sleep(pause).await;
            pause = (pause * 2).min(CONNECT_LONGEST);
        };
        // What was read last may not have got to the writer.
        writer.send(Heard::Missed).await?;
    }
}

/// Until the connection is gone; says why.
async fn looks(ear: &mut Ear, conn: &Conn, writer: &mpsc::Sender<Heard>) -> Told<StoreError> {
    let attention = Arc::clone(&ear.attention);
    let (mut since, mut tidied) = (Instant::now(), None::<Instant>);
    loop {
        let is_due = tidied.is_none_or(|at| at.elapsed() >= LOOK_EVERY);
        let looked = timeout(STATEMENT_LIMIT, async {
            if !is_due {
                return ear.look(conn).await;
            }
            let heard = ear.tidy(conn).await?;
            Ok(Looked {
                heard,
                is_short: false,
            })
        });
        let looked = match looked.await.unwrap_or_else(|_| Err(no_answer())) {
            Ok(looked) => looked,
            Err(error) => return Ok(error),
        };
        if is_due {
            tidied = Some(Instant::now());
        }
        let has_heard = looked.heard.iter().any(|heard| matches!(heard, Heard::Note(_)));
        for heard in looked.heard {
            writer.send(heard).await?;
        }
        if looked.is_short {
            continue;
        }
        if has_heard {
            since = Instant::now();
        }
        let soonest = Instant::now() + PAUSE_SHORTEST;
        tokio::select! {
            () = sleep(pause_after(since.elapsed(), PAUSE_SHORTEST)) => {}
            () = attention.stirred.notified() => {
                since = Instant::now();
                sleep_until(soonest).await;
            }
        }
    }
}

fn no_answer() -> StoreError {
    StoreError::Away(format!("the database did not answer within {STATEMENT_LIMIT:?}"))
}
