//! What this server tells the others, by NOTIFY within the transaction that makes it true.
//!
//! A notification begins with whose it is, and of which of its groups. It has a bound: see `fleet::pieces`.

use cresset_queue::kit::fleet::{self, COUNT_ANEW, Note, SAID, Tally};

use crate::connect::Conn;
use crate::error::StoreError;

/// PostgreSQL takes less than 8000 bytes, and two numbers and a line's end go before.
const PIECE_BYTES_MAX: usize = 7_900;

/// A group tells this much at most; what is more is quicker to look up.
const PIECES_MAX: usize = 16;

const SEND: &str =
    "SELECT pg_notify('cresset_' || $1::text::regnamespace::oid, note) FROM unnest($2::text[]) AS n (note)";

/// Tells what a group comes to, once it is committed.
pub(crate) async fn send(conn: &Conn, commit: i64, tally: &Tally) -> Result<(), StoreError> {
    let pieces = fleet::pieces(tally, PIECE_BYTES_MAX, PIECES_MAX);
    post(conn, (tally.me, commit), &pieces).await
}

/// Tells that everything is to be counted anew.
pub(crate) async fn send_anew(conn: &Conn, me: i64) -> Result<(), StoreError> {
    post(conn, (me, 0), &[COUNT_ANEW.to_owned()]).await
}

/// Tells that this server is to be looked at.
pub(crate) async fn send_said(conn: &Conn, me: i64) -> Result<(), StoreError> {
    post(conn, (me, 0), &[SAID.to_owned()]).await
}

async fn post(conn: &Conn, (me, commit): (i64, i64), pieces: &[String]) -> Result<(), StoreError> {
    if pieces.is_empty() {
        return Ok(());
    }
    let notes = pieces.iter().map(|piece| format!("{me} {commit}\n{piece}"));
    let notes: Vec<String> = notes.collect();
    conn.rows("cannot tell the other servers", SEND, &[&conn.schema(), &notes])
        .await
        .map(drop)
}

/// A notification; one that cannot be read is a reason to count anew.
pub(crate) fn read(text: &str) -> Note {
    let head = |line: &str| {
        let (server, commit) = line.split_once(' ')?;
        Some((server.parse().ok()?, commit.parse().ok()?))
    };
    let told = text.split_once('\n');
    let whose = told.and_then(|(line, piece)| Some((head(line)?, piece)));
    whose.map_or_else(
        || Note::read((0, 0), COUNT_ANEW),
        |(whose, piece)| Note::read(whose, piece),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_says_whose_it_is() {
        let note = read("7 12\nm digits 1 9 0\nabout");
        assert_eq!((note.server, note.number, note.words.len()), (7, 12, 1));
        assert!(note.is_said && !note.is_anew);
        for text in ["a newer program says this", "7 x\nabout", ""] {
            assert!(read(text).is_anew, "{text}");
        }
    }
}
