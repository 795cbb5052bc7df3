//! What servers on one store tell each other: text of a few lines, within the transaction that makes it true.
//!
//! A piece of it has a bound, and so has their number. What does not fit becomes "count anew": the store has all of it.

use cresset_task::TaskId;

use super::{Moved, Tally};
use crate::kit::{Change, Word, client_of, model_of, state_number, state_of};

/// Ids in one line, about 33 bytes each.
const LINE_IDS_MAX: usize = 100;

/// All that is told where everything is to be counted anew.
pub const COUNT_ANEW: &str = "anew";
/// All that is told where a server is to be looked at.
pub const SAID: &str = "about";
const LOOK_AGAIN: &str = "gone";

/// What a server has told, read.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// Whose it is.
    pub server: i64,
    /// Its place among what that server tells; 0 where that does not matter.
    pub number: i64,
    /// What it does to the counts.
    pub words: Vec<Word>,
    /// Where tasks are now.
    pub moved: Vec<Moved>,
    /// A server has ended.
    pub is_gone: bool,
    /// It says something else of itself.
    pub is_said: bool,
    /// What was told is not all.
    pub is_anew: bool,
}

/// What a group comes to, in so many pieces of so many bytes each at most. None where there is nothing to tell.
#[must_use]
pub fn pieces(tally: &Tally, bytes_max: usize, pieces_max: usize) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    for line in lines(tally) {
        match pieces.last_mut() {
            Some(piece) if piece.len() + 1 + line.len() <= bytes_max => {
                piece.push('\n');
                piece.push_str(&line);
            }
            _ => pieces.push(line),
        }
    }
    if pieces.len() > pieces_max || pieces.iter().any(|piece| piece.len() > bytes_max) {
        return vec![COUNT_ANEW.to_owned()];
    }
    pieces
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
                line.push(' ');
                line.extend(moved.id.to_string().chars().filter(|char| *char != '-'));
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

impl Note {
    /// What this server told, as the so-manieth. What cannot be read, as a newer program may say more, is a reason to count anew.
    #[must_use]
    pub fn read((server, number): (i64, i64), text: &str) -> Self {
        let mut note = Self {
            server,
            number,
            ..Self::default()
        };
        note.is_anew = !text.lines().all(|line| line_of(line, &mut note).is_some());
        note
    }
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
            id: id.parse::<TaskId>().ok()?,
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
    use cresset_task::{ClientKey, State};

    use super::*;
    use crate::kit::Owner;

    const BYTES: usize = 7_900;
    const PIECES: usize = 16;

    fn tally(tasks: usize) -> Tally {
        let mut tally = Tally::of(7, true);
        let owner = Owner {
            model: "digits".parse().expect("a name"),
            client: ClientKey::named("some:body").ok(),
        };
        tally.counts.add(&owner, -1, -7);
        tally.counts.delay(&owner.model, -1);
        tally.counts.outbox.add("[::1]:443", 2);
        (tally.is_gone, tally.is_said) = (true, true);
        for at in 0..tasks {
            let state = [State::Success, State::Revoked][at % 2];
            let noted = tally.note(TaskId::fresh(), "digits", (state, at % 4 < 2));
            noted.expect("a name of a model");
        }
        tally
    }

    #[test]
    fn what_is_told_is_what_is_read() {
        let tally = tally(9);
        let told = pieces(&tally, BYTES, PIECES);
        assert_eq!(told.len(), 1);
        let note = Note::read((7, 12), &told[0]);
        assert_eq!((note.server, note.number), (7, 12));
        assert!(note.is_gone && note.is_said && !note.is_anew);
        assert_eq!(note.words.len(), tally.counts.words().len());
        let sorted = |mut moved: Vec<Moved>| {
            moved.sort_by_key(|moved| *moved.id.as_bytes());
            moved
        };
        assert_eq!(sorted(note.moved), sorted(tally.moved));
    }

    #[test]
    fn what_is_long_goes_in_pieces_and_what_is_too_long_is_counted_anew() {
        let told = pieces(&tally(1_000), BYTES, PIECES);
        assert!(told.len() > 1 && told.iter().all(|piece| piece.len() <= BYTES));
        let read = |text: &str| Note::read((7, 1), text);
        assert_eq!(
            told.iter().map(|piece| read(piece).moved.len()).sum::<usize>(),
            1_000
        );
        assert!(told.iter().all(|piece| !read(piece).is_anew));
        let short = pieces(&tally(10_000), BYTES, PIECES);
        assert_eq!(short, [COUNT_ANEW]);
        assert!(read(&short[0]).is_anew);
        assert!(read("a newer program says this").is_anew);
        assert!(read("z something").is_anew);
        assert!(pieces(&Tally::of(7, true), BYTES, PIECES).is_empty());
    }
}
