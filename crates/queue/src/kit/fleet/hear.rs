//! What the other servers did, on its way into the counts and to whoever asks for news.

use std::collections::HashMap;

use tokio::sync::mpsc;

use super::{Board, Note};
use crate::News;
use crate::kit::remote::{Database, Writer, answered};
use crate::kit::{Change, Word};

/// What was heard, on its way to the writer.
pub const HEARD_MAX: usize = 256;

/// So much of it is taken in at a time.
const TAKEN_MAX: usize = 64;

/// What the writer is told.
#[derive(Debug)]
pub enum Heard {
    /// This.
    Note(Note),
    /// Something was missed.
    Missed,
    /// These servers seem to have ended.
    Silent(Vec<i64>),
}

/// A store that this server shares with others, as its writer has it.
pub trait Fleet: Database<Heard = Vec<Heard>> {
    /// This server's number among them.
    fn me(&self) -> i64;

    /// Where is told what they do.
    fn board(&self) -> &Board;

    /// The last that is counted of what each server told; of those that are not here everything is.
    fn counted(&mut self) -> &mut HashMap<i64, i64>;

    /// Everything that is counted, as the tables have it at one moment, and what each server had told last at that.
    fn count(
        conn: &Self::Conn,
    ) -> impl Future<Output = Result<(Change, HashMap<i64, i64>), Self::Error>> + Send;

    /// Looks up what may have changed and is no sum: first due times.
    fn look_up(
        conn: &Self::Conn,
        change: &mut Change,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send;

    /// Ends these servers, if they are gone.
    fn reap(ids: Vec<i64>) -> Self::Op;
}

/// The next that is heard, and what there is beside it; `None` when nothing comes any more.
pub async fn hear(from: &mut mpsc::Receiver<Heard>) -> Option<Vec<Heard>> {
    let mut all = vec![from.recv().await?];
    while all.len() < TAKEN_MAX
        && let Ok(more) = from.try_recv()
    {
        all.push(more);
    }
    Some(all)
}

/// What all of it comes to.
#[derive(Default)]
struct Taken {
    change: Change,
    news: Vec<News>,
    ended: Vec<i64>,
    /// There is something to count.
    is_told: bool,
    /// What was told is not all.
    is_anew: bool,
}

impl Taken {
    fn add<D: Fleet>(&mut self, database: &mut D, heard: Heard) {
        match heard {
            Heard::Missed => self.is_anew = true,
            Heard::Silent(ids) => self.ended.extend(ids),
            Heard::Note(note) if note.server == database.me() => {}
            Heard::Note(note) => {
                let last = database.counted().get(&note.server);
                self.add_note(note.number <= last.copied().unwrap_or(-1), note);
            }
        }
    }

    fn add_note(&mut self, is_counted: bool, note: Note) {
        self.is_anew |= note.is_anew;
        for word in note.words {
            if let Word::Model {
                model, tasks: 1.., ..
            } = &word
            {
                self.news.push(News::Work(model.clone()));
            }
            if !is_counted {
                self.change.say(&word);
                self.is_told = true;
            }
        }
        self.news.extend(note.moved.into_iter().map(|moved| News::Moved {
            id: moved.id,
            model: moved.model,
            state: moved.state,
            was_leased: moved.was_leased,
        }));
        if note.is_said {
            self.news.push(News::Members);
        }
        if note.is_gone {
            self.news.push(News::LookAgain);
        }
    }
}

/// Counts what was heard, tells it, and ends those who are gone.
pub async fn take_in<D: Fleet>(writer: &mut Writer<D>, all: Vec<Heard>) {
    let mut taken = Taken::default();
    for heard in all {
        taken.add(&mut writer.database, heard);
    }
    let (mut news, mut ended) = (taken.news, taken.ended);
    let counted = if taken.is_anew {
        news = vec![News::LookAgain];
        count_anew(writer).await
    } else if taken.is_told {
        count_in(writer, taken.change).await
    } else {
        Ok(())
    };
    if let Err(error) = counted {
        // Everything is counted anew with the next one.
        writer.lose(error);
        news = vec![News::LookAgain];
    }
    writer.database.board().pin(news);
    let me = writer.database.me();
    ended.retain(|id| *id != me);
    ended.sort_unstable();
    ended.dedup();
    if !ended.is_empty() {
        writer.carry_out(vec![D::reap(ended)]).await;
        // What they looked after is ours to look after, like everybody's.
        writer.database.board().pin(vec![News::LookAgain]);
    }
}

async fn count_anew<D: Fleet>(writer: &mut Writer<D>) -> Result<(), D::Error> {
    let Some(conn) = writer.conn().cloned() else {
        return Ok(()); // a new one begins with that
    };
    let (counted, told) = answered(D::count(&conn)).await?;
    writer.depths().recount(counted);
    *writer.database.counted() = told;
    Ok(())
}

async fn count_in<D: Fleet>(writer: &mut Writer<D>, mut change: Change) -> Result<(), D::Error> {
    let Some(conn) = writer.conn().cloned() else {
        return Ok(());
    };
    answered(D::look_up(&conn, &mut change)).await?;
    writer.depths().apply(change);
    Ok(())
}
