//! What servers on one store tell each other: text of a few lines, within the transaction that makes it true.
//!
//! A notification has a bound. What does not fit into one goes into several, and what does not fit into those becomes "count
//! anew": the store has all of it.

use cresset_queue::kit::{Change, Word, client_of, model_of, state_number, state_of};
use cresset_task::TaskId;
use uuid::Uuid;

use crate::connect::Conn;
use crate::error::StoreError;
use crate::tally::{Moved, Tally};

/// PostgreSQL takes less than 8000 bytes.
const NOTE_BYTES_MAX: usize = 7_900;

/// A group tells this much at most; what is more is quicker to look up.
const NOTES_MAX: usize = 16;

/// Ids in one line, about 33 bytes each.
const LINE_IDS_MAX: usize = 100;

const COUNT_ANEW: &str = "anew";
const LOOK_AGAIN: &str = "gone";
const SAID: &str = "about";

const SEND: &str =
    "SELECT pg_notify('cresset_' || $1::text::regnamespace::oid, note) FROM unnest($2::text[]) AS n (note)";

/// A notification, read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Note {
    /// Whose it is.
    pub(crate) server: i64,
    /// Of which of its groups; 0 where that does not matter.
    pub(crate) commit: i64,
    pub(crate) words: Vec<Word>,
    pub(crate) moved: Vec<Moved>,
    /// A server has ended.
    pub(crate) is_gone: bool,
    /// It says something else of itself.
    pub(crate) is_said: bool,
    /// What was told is not all.
    pub(crate) is_anew: bool,
}

/// Tells what a group comes to, once it is committed.
pub(crate) async fn send(conn: &Conn, commit: i64, tally: &Tally) -> Result<(), StoreError> {
    post(conn, written(tally, commit)).await
}

/// Tells that everything is to be counted anew.
pub(crate) async fn send_anew(conn: &Conn, me: i64) -> Result<(), StoreError> {
    post(conn, vec![format!("{me} 0\n{COUNT_ANEW}")]).await
}

/// Tells that this server is to be looked at.
pub(crate) async fn send_said(conn: &Conn, me: i64) -> Result<(), StoreError> {
    post(conn, vec![format!("{me} 0\n{SAID}")]).await
}

async fn post(conn: &Conn, notes: Vec<String>) -> Result<(), StoreError> {
    if notes.is_empty() {
        return Ok(());
    }
    conn.rows("cannot tell the other servers", SEND, &[&conn.schema(), &notes])
        .await
        .map(drop)
}

fn written(tally: &Tally, commit: i64) -> Vec<String> {
    let head = format!("{} {commit}", tally.me);
    let mut notes: Vec<String> = Vec::new();
    for line in lines(tally) {
        match notes.last_mut() {
            Some(note) if note.len() + 1 + line.len() <= NOTE_BYTES_MAX => {
                note.push('\n');
                note.push_str(&line);
            }
            _ => notes.push(format!("{head}\n{line}")),
        }
    }
    if notes.len() > NOTES_MAX || notes.iter().any(|note| note.len() > NOTE_BYTES_MAX) {
        return vec![format!("{head}\n{COUNT_ANEW}")];
    }
    notes
}

fn lines(tally: &Tally) -> Vec<String> {
    let words = counts(&tally.counts);
    let mut lines: Vec<String> = words.collect();
    if tally.is_gone {
        lines.push(LOOK_AGAIN.to_owned());
    }
    if tally.is_said {
        lines.push(SAID.to_owned());
    }
    let mut moved: Vec<&Moved> = tally.moved.iter().collect();
    let kind = |moved: &Moved| (moved.model.clone(), state_number(moved.state), moved.was_leased);
    moved.sort_by_cached_key(|moved| kind(moved));
    for alike in moved.chunk_by(|one, other| kind(one) == kind(other)) {
        for some in alike.chunks(LINE_IDS_MAX) {
            let (model, state, was_leased) = kind(some[0]);
            let mut line = format!("x {model} {state} {}", u8::from(was_leased));
            for moved in some {
                let id = Uuid::from_bytes(*moved.id.as_bytes());
                line.push_str(&format!(" {}", id.as_simple()));
            }
            lines.push(line);
        }
    }
    lines
}

/// Neither models nor clients nor hosts have a space in their names.
fn counts(change: &Change) -> impl Iterator<Item = String> {
    change.words().into_iter().map(|word| match word {
        Word::Model {
            model,
            tasks,
            bytes,
            delayed,
        } => format!("m {model} {tasks} {bytes} {delayed}"),
        Word::Client { client, tasks, bytes } => format!("c {} {tasks} {bytes}", client.as_str()),
        Word::Host { host, count } => format!("h {host} {count}"),
        Word::Outbox => "o".to_owned(),
    })
}

/// What was told; what cannot be read, as a newer program may say more, is a reason to count anew.
pub(crate) fn read(text: &str) -> Note {
    let mut note = Note::default();
    let mut lines = text.lines();
    note.is_anew = lines.next().and_then(|head| head_of(head, &mut note)).is_none()
        || !lines.all(|line| line_of(line, &mut note).is_some());
    note
}

fn head_of(head: &str, note: &mut Note) -> Option<()> {
    let (server, commit) = head.split_once(' ')?;
    (note.server, note.commit) = (server.parse().ok()?, commit.parse().ok()?);
    Some(())
}

fn line_of(line: &str, note: &mut Note) -> Option<()> {
    let mut parts = line.split(' ');
    let kind = parts.next()?;
    let word = match kind {
        "m" => Word::Model {
            model: model_of(parts.next()?).ok()?,
            tasks: number(&mut parts)?,
            bytes: number(&mut parts)?,
            delayed: number(&mut parts)?,
        },
        "c" => Word::Client {
            client: client_of(parts.next()).ok()??,
            tasks: number(&mut parts)?,
            bytes: number(&mut parts)?,
        },
        "h" => Word::Host {
            host: parts.next()?.to_owned(),
            count: number(&mut parts)?,
        },
        "o" => Word::Outbox,
        "x" => return moved_of(parts, note),
        LOOK_AGAIN => {
            note.is_gone = true;
            return Some(());
        }
        SAID => {
            note.is_said = true;
            return Some(());
        }
        _ => return None,
    };
    note.words.push(word);
    Some(())
}

fn moved_of<'a>(mut parts: impl Iterator<Item = &'a str>, note: &mut Note) -> Option<()> {
    let model = model_of(parts.next()?).ok()?;
    let state = state_of(number(&mut parts)?).ok()?;
    let was_leased = number(&mut parts)? != 0;
    for id in parts {
        note.moved.push(Moved {
            id: TaskId::from_bytes(*Uuid::try_parse(id).ok()?.as_bytes()),
            model: model.clone(),
            state,
            was_leased,
        });
    }
    Some(())
}

fn number<'a>(parts: &mut impl Iterator<Item = &'a str>) -> Option<i64> {
    parts.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use cresset_queue::kit::Owner;
    use cresset_task::{ClientKey, State};

    use super::*;

    fn tally(tasks: usize) -> Tally {
        let mut tally = Tally::of(7, true);
        let owner = Owner {
            model: "digits".parse().unwrap(),
            client: Some(ClientKey::named("some:body").unwrap()),
        };
        tally.counts.add(&owner, -1, -7);
        tally.counts.delay(&owner.model, -1);
        tally.counts.outbox.add("[::1]:443", 2);
        (tally.is_gone, tally.is_said) = (true, true);
        for at in 0..tasks {
            let state = [State::Success, State::Revoked][at % 2];
            tally
                .note(TaskId::fresh(), "digits", (state, at % 4 < 2))
                .unwrap();
        }
        tally
    }

    #[test]
    fn what_is_told_is_what_is_read() {
        let tally = tally(9);
        let notes = written(&tally, 12);
        assert_eq!(notes.len(), 1);
        let note = read(&notes[0]);
        assert_eq!((note.server, note.commit), (7, 12));
        assert!(note.is_gone && !note.is_anew);
        assert_eq!(note.words.len(), tally.counts.words().len());
        let sorted = |mut moved: Vec<Moved>| {
            moved.sort_by_key(|moved| *moved.id.as_bytes());
            moved
        };
        assert_eq!(sorted(note.moved), sorted(tally.moved));
    }

    #[test]
    fn what_is_long_goes_in_pieces_and_what_is_too_long_is_counted_anew() {
        let pieces = written(&tally(1_000), 1);
        assert!(pieces.len() > 1 && pieces.iter().all(|piece| piece.len() < 8_000));
        assert_eq!(
            pieces.iter().map(|piece| read(piece).moved.len()).sum::<usize>(),
            1_000
        );
        assert!(pieces.iter().all(|piece| !read(piece).is_anew));
        let short = written(&tally(10_000), 1);
        assert_eq!(short, ["7 1\nanew"]);
        assert!(read(&short[0]).is_anew);
        assert!(read("a newer program says this").is_anew);
        assert!(read("7 1\nz something").is_anew);
        assert!(written(&Tally::of(7, true), 1).is_empty());
    }
}
