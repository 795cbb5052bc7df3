//! A transaction on its way to the database, in as few trips as its questions need.
//!
//! What must be known before it goes on is asked for (`all`); what is only to be done waits (`later`), and goes along with the
//! next question or with the commit. Its beginning goes along with the first question, so whether this server may write at all
//! is known before anything is committed.

use std::borrow::Cow;

use mysql_async::{Params, Row};

use crate::connect::{Answer, Conn, Piece};
use crate::error::StoreError;
use crate::locks::now_micros;
use crate::member::Member;
use crate::sql::sql;

const BEGIN: &str = "START TRANSACTION";
const COMMIT: Piece<'static> = ("cannot commit", Cow::Borrowed("COMMIT"));

/// Every group counts itself, in the row of its server as long as that has not ended.
const FENCE: &str = concat!(
    "UPDATE servers SET commits = ?, seen_at = ",
    now_micros!(),
    " WHERE id = ? AND number = ? AND ended_at IS NULL"
);

/// Looked at once the row above is ours.
const IS_HEARD: &str = "SELECT 1 FROM servers WHERE ended_at IS NULL AND id <> ? LIMIT 1";

/// Where the answers to the two above are, behind that to the beginning.
const FENCED_AT: usize = 1;
const IS_HEARD_AT: usize = 2;

/// One that has not ended yet. Dropped without its rest being sent, it is to be rolled back.
pub(crate) struct Tx<'a> {
    conn: &'a Conn,
    /// What it begins with, until that is sent.
    begin: Vec<Piece<'static>>,
    /// It is a group, of a server that must still be there.
    is_fenced: bool,
    is_heard: bool,
    /// To be done, and not sent yet.
    waiting: Vec<Piece<'static>>,
}

/// What is sent with the commit.
pub(crate) struct Rest(Vec<Piece<'static>>);

impl<'a> Tx<'a> {
    /// A group of this number, which nobody commits who has been taken for ended.
    pub(crate) fn of_group(conn: &'a Conn, member: Member, number: i64) -> Self {
        let doing = "cannot write under the server's number";
        let begin = [
            BEGIN.to_owned(),
            sql!(FENCE, number, member.id, member.number),
            sql!(IS_HEARD, member.id),
        ];
        Self {
            begin: begin.map(|text| (doing, text.into())).into(),
            is_fenced: true,
            ..Self::on(conn)
        }
    }

    /// Any other.
    pub(crate) fn on(conn: &'a Conn) -> Self {
        Self {
            conn,
            begin: vec![("cannot begin", BEGIN.into())],
            is_fenced: false,
            is_heard: false,
            waiting: Vec::new(),
        }
    }

    /// Others are on the store, and are to be told. Known once it has begun.
    pub(crate) fn is_heard(&self) -> bool {
        self.is_heard
    }

    /// What each statement gives, once all that waited is done.
    pub(crate) async fn all(
        &mut self,
        doing: &'static str,
        statements: &[String],
    ) -> Result<Vec<Answer>, StoreError> {
        let begins = self.begin.len();
        let (begin, waiting) = (std::mem::take(&mut self.begin), std::mem::take(&mut self.waiting));
        let mut pieces: Vec<Piece<'_>> = begin.into_iter().chain(waiting).collect();
        let before = pieces.len();
        pieces.extend(statements.iter().map(|text| (doing, text.as_str().into())));
        let mut answers = self.conn.send(&pieces).await.map_err(|(_, error)| error)?;
        let answered = answers.split_off(before.min(answers.len()));
        if begins > 0 && self.is_fenced {
            if answers.get(FENCED_AT).is_none_or(|fenced| fenced.found == 0) {
                return Err(StoreError::Fenced(
                    "other servers took this one for ended and have given its leases back: nothing was written"
                        .into(),
                ));
            }
            self.is_heard = answers
                .get(IS_HEARD_AT)
                .is_some_and(|others| !others.rows.is_empty());
        }
        Ok(answered)
    }

    /// The rows that a statement gives.
    pub(crate) async fn rows(&mut self, doing: &'static str, sql: String) -> Result<Vec<Row>, StoreError> {
        let mut answers = self.all(doing, &[sql]).await?;
        Ok(answers.pop().map(|answer| answer.rows).unwrap_or_default())
    }

    /// The one row that it gives, or none.
    pub(crate) async fn row(&mut self, doing: &'static str, sql: String) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(doing, sql).await?.pop())
    }

    /// How many rows it found to change.
    pub(crate) async fn run(&mut self, doing: &'static str, sql: String) -> Result<u64, StoreError> {
        let answers = self.all(doing, &[sql]).await?;
        Ok(answers.last().map_or(0, |answer| answer.found))
    }

    /// These are done before whatever is asked next, and before the commit: nobody needs to know what they give. What they
    /// fail with, the whole transaction does.
    pub(crate) fn later(&mut self, doing: &'static str, statements: impl IntoIterator<Item = String>) {
        let pieces = statements.into_iter().map(|text| (doing, text.into()));
        self.waiting.extend(pieces);
    }

    /// A statement whose values are too large to be written into it.
    pub(crate) async fn put(
        &mut self,
        doing: &'static str,
        sql: &str,
        values: Params,
    ) -> Result<(), StoreError> {
        self.begun().await?;
        self.conn.put(doing, sql, values).await
    }

    /// It has begun, if with nothing else.
    pub(crate) async fn begun(&mut self) -> Result<(), StoreError> {
        if self.begin.is_empty() {
            return Ok(());
        }
        self.all("cannot begin", &[]).await.map(drop)
    }

    /// What is left to be sent.
    pub(crate) async fn rest(mut self) -> Result<Rest, StoreError> {
        self.begun().await?;
        Ok(Rest(self.waiting))
    }

    /// Commits one that is no group.
    pub(crate) async fn commit(self) -> Result<(), StoreError> {
        let conn = self.conn;
        let rest = self.rest().await?;
        rest.commit(conn).await.map_err(|(_, error)| error)
    }
}

impl Rest {
    /// Commits. What went wrong is said with whether that was before the commit.
    pub(crate) async fn commit(mut self, conn: &Conn) -> Result<(), (bool, StoreError)> {
        let before = self.0.len();
        self.0.push(COMMIT);
        let sent = conn.send(&self.0).await;
        sent.map(drop).map_err(|(at, error)| (at < before, error))
    }
}
