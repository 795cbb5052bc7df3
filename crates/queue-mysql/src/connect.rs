//! A connection, set up as all of ours are.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use cresset_queue::kit::remote::{Dial, Link};
use mysql_async::prelude::Queryable as _;
use mysql_async::{DriverError, Error, Params, Row};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::error::{StoreError, col};
use crate::target::{CONNECT_LIMIT, SslMode, Target};

/// A lock of somebody else is waited for so long.
const LOCK_LIMIT: Duration = Duration::from_secs(15);

/// The database ends the session of a server that has said nothing for so long, and so its lock is free; each says something
/// every few seconds.
const SILENCE_LIMIT: Duration = Duration::from_secs(30);

/// What is sent at once has so many bytes at most, unless one statement alone has more.
const PACKET_MAX: usize = 4 * 1024 * 1024;

/// The database must take packets of this size, which is what MariaDB takes unless told otherwise.
const PACKET_NEEDED: u64 = 16 * 1024 * 1024;

const OLDEST_MYSQL: (u32, u32) = (8, 0);
const OLDEST_MARIADB: (u32, u32) = (10, 6);

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// It has the lock, and writes: what it reads is as it is now.
    Writer,
    /// It reads: what one transaction of it reads is of one moment.
    Reader,
    /// It looks for what other servers did, each time at what is there now.
    Ear,
}

/// Which database.
#[derive(Clone)]
pub(crate) struct Dialer {
    pub(crate) target: Target,
}

/// What a statement gave.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) rows: Vec<Row>,
    /// Rows that it found to change.
    pub(crate) found: u64,
}

/// A statement, and what cannot be done when it fails.
pub(crate) type Piece<'a> = (&'static str, Cow<'a, str>);

/// A connection. When it is dropped, so is its session in the database.
pub(crate) struct Conn {
    client: Mutex<mysql_async::Conn>,
    /// A question was given up in the middle, or the connection is lost.
    is_over: AtomicBool,
    /// The session's number.
    pub(crate) session: i64,
    /// The version, for people.
    pub(crate) version: String,
    /// Whether the database flushes each commit.
    pub(crate) flushes: bool,
}

impl Conn {
    pub(crate) async fn open(dialer: &Dialer, role: Role) -> Result<Arc<Self>, StoreError> {
        let limited = timeout(CONNECT_LIMIT, Self::connect(&dialer.target, role)).await;
        limited.unwrap_or_else(|_| {
            Err(StoreError::Away(format!(
                "{} did not answer within {CONNECT_LIMIT:?}",
                dialer.target
            )))
        })
    }

    async fn connect(target: &Target, role: Role) -> Result<Arc<Self>, StoreError> {
        let connected = match mysql_async::Conn::new(target.options(target.ssl)?).await {
            Err(Error::Driver(DriverError::NoClientSslFlagFromServer)) if target.ssl == SslMode::Prefer => {
                mysql_async::Conn::new(target.options(SslMode::Disable)?).await
            }
            connected => connected,
        };
        let client = connected.map_err(StoreError::mysql("cannot connect"))?;
        let mut conn = Self {
            client: Mutex::new(client),
            is_over: AtomicBool::new(false),
            session: 0,
            version: String::new(),
            flushes: true,
        };
        conn.set_up(role).await?;
        Ok(Arc::new(conn))
    }

    /// A value that does not fit is refused, never cut, whatever the server does otherwise.
    async fn set_up(&mut self, role: Role) -> Result<(), StoreError> {
        let doing = "cannot set up a connection";
        let (level, silence) = match role {
            Role::Writer | Role::Ear => ("READ COMMITTED", SILENCE_LIMIT),
            Role::Reader => ("REPEATABLE READ", 20 * SILENCE_LIMIT),
        };
        let settings = format!(
            "SET NAMES utf8mb4 COLLATE utf8mb4_bin; SET SESSION TRANSACTION ISOLATION LEVEL {level}; \
             SET SESSION sql_mode = 'STRICT_ALL_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION', \
             time_zone = '+00:00', autocommit = 1, innodb_lock_wait_timeout = {}, wait_timeout = {}",
            LOCK_LIMIT.as_secs(),
            silence.as_secs(),
        );
        self.batch(doing, &settings).await?;
        let about = self
            .row(doing, "SELECT VERSION(), CONNECTION_ID()".into())
            .await?;
        let about = about.ok_or_else(|| StoreError::Unfit("the database does not say what it is".into()))?;
        self.version = col(&about, 0)?;
        self.session = col(&about, 1)?;
        let asked = "SHOW VARIABLES WHERE Variable_name IN ('max_allowed_packet', 'innodb_flush_log_at_trx_commit', 'log_bin', \
                     'binlog_format')";
        let mut said = HashMap::new();
        for row in self.rows(doing, asked.into()).await? {
            said.insert(col::<String>(&row, 0)?.to_lowercase(), col::<String>(&row, 1)?);
        }
        let flushed = said.get("innodb_flush_log_at_trx_commit").map(String::as_str);
        self.flushes = matches!(flushed, Some("1" | "3"));
        fit(&self.version, &said)
    }

    /// What each statement gives. All of them go to the database at once, in as many packets as they need; the first that
    /// fails ends it.
    pub(crate) async fn all(
        &self,
        doing: &'static str,
        statements: &[String],
    ) -> Result<Vec<Answer>, StoreError> {
        let pieces: Vec<Piece> = statements
            .iter()
            .map(|text| (doing, text.as_str().into()))
            .collect();
        self.send(&pieces).await.map_err(|(_, error)| error)
    }

    /// The same for statements that do different things; the error with the place of the one that failed.
    pub(crate) async fn send(&self, pieces: &[Piece<'_>]) -> Result<Vec<Answer>, (usize, StoreError)> {
        let mut answers = Vec::with_capacity(pieces.len());
        let mut packet = String::new();
        for (at, (_, statement)) in pieces.iter().enumerate() {
            if !packet.is_empty() {
                packet.push(';');
            }
            packet.push_str(statement);
            let next = pieces.get(at + 1).map_or(PACKET_MAX, |(_, next)| next.len());
            if packet.len() + next >= PACKET_MAX
                && let Err(error) = self.ask(std::mem::take(&mut packet), &mut answers).await
            {
                let failed = answers.len().min(at);
                return Err((failed, StoreError::mysql(pieces[failed].0)(error)));
            }
        }
        Ok(answers)
    }

    /// Adds what each statement gives, up to one that fails.
    async fn ask(&self, packet: String, to: &mut Vec<Answer>) -> Result<(), Error> {
        let mut client = self.client.lock().await;
        // Who gives up in the middle leaves a connection that nobody can use.
        self.is_over.store(true, Ordering::Release);
        let answered = answers(&mut client, packet, to).await;
        let is_fine = !answered.as_ref().is_err_and(crate::error::ends_connection);
        self.is_over.store(!is_fine, Ordering::Release);
        answered
    }

    /// The rows that a statement of ours gives.
    pub(crate) async fn rows(&self, doing: &'static str, sql: String) -> Result<Vec<Row>, StoreError> {
        let mut answers = self.all(doing, &[sql]).await?;
        Ok(answers.pop().map(|answer| answer.rows).unwrap_or_default())
    }

    /// The one row that it gives, or none.
    pub(crate) async fn row(&self, doing: &'static str, sql: String) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(doing, sql).await?.pop())
    }

    /// How many rows it found to change.
    pub(crate) async fn run(&self, doing: &'static str, sql: String) -> Result<u64, StoreError> {
        let answers = self.all(doing, &[sql]).await?;
        Ok(answers.last().map_or(0, |answer| answer.found))
    }

    /// Several statements without values.
    pub(crate) async fn batch(&self, doing: &'static str, sql: &str) -> Result<(), StoreError> {
        let done = self.ask(sql.to_owned(), &mut Vec::new()).await;
        done.map_err(StoreError::mysql(doing))
    }

    /// A statement whose values are too large to be written into it.
    pub(crate) async fn put(&self, doing: &'static str, sql: &str, values: Params) -> Result<(), StoreError> {
        let mut client = self.client.lock().await;
        self.is_over.store(true, Ordering::Release);
        let done = client.exec_drop(sql, values).await;
        let is_fine = !done.as_ref().is_err_and(crate::error::ends_connection);
        self.is_over.store(!is_fine, Ordering::Release);
        done.map_err(StoreError::mysql(doing))
    }
}

impl Link for Conn {
    type Error = StoreError;

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    async fn batch(&self, doing: &'static str, sql: &str) -> Result<(), StoreError> {
        Self::batch(self, doing, sql).await
    }
}

/// Connections to read on.
impl Dial for Dialer {
    type Conn = Conn;
    type Error = StoreError;

    const ANSWERS_MANY: bool = false;

    async fn open(&self) -> Result<Arc<Conn>, StoreError> {
        Conn::open(self, Role::Reader).await
    }
}

/// Adds the answers up to the one that fails, whose error the library keeps until somebody asks for what comes behind them.
async fn answers(client: &mut mysql_async::Conn, packet: String, to: &mut Vec<Answer>) -> Result<(), Error> {
    let mut result = client.query_iter(packet).await?;
    while result.columns().is_some() {
        let mut answer = Answer {
            found: result.affected_rows(),
            rows: Vec::new(),
        };
        while let Some(row) = result.next().await? {
            answer.rows.push(row);
        }
        to.push(answer);
    }
    result.next().await.map(drop)
}

/// Whether it is a database that this program can use.
fn fit(version: &str, said: &HashMap<String, String>) -> Result<(), StoreError> {
    let is_mariadb = version.contains("MariaDB");
    let (name, oldest) = match is_mariadb {
        true => ("MariaDB", OLDEST_MARIADB),
        false => ("MySQL", OLDEST_MYSQL),
    };
    let numbers = version.strip_prefix("5.5.5-").unwrap_or(version);
    let mut numbers = numbers.split(['.', '-']).map(|part| part.parse().unwrap_or(0));
    let found = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if found < oldest {
        return Err(StoreError::Unfit(format!(
            "the database is {name} {version}; MySQL 8.0 or MariaDB 10.6 is needed, or newer"
        )));
    }
    let packet = said
        .get("max_allowed_packet")
        .and_then(|size| size.parse::<u64>().ok());
    if packet.is_some_and(|size| size < PACKET_NEEDED) {
        return Err(StoreError::Unfit(format!(
            "the database takes packets of {} bytes at most; set max_allowed_packet to {PACKET_NEEDED} (16M) or more in \
             its section [mysqld], and connect again",
            packet.unwrap_or_default()
        )));
    }
    let has = |name: &str, value: &str| {
        said.get(name)
            .is_some_and(|said| said.eq_ignore_ascii_case(value))
    };
    if has("log_bin", "ON") && has("binlog_format", "STATEMENT") {
        return Err(StoreError::Unfit(
            "the database writes a binary log of statements, which cannot follow what servers do at once; set \
             binlog_format to ROW or MIXED"
                .into(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(pairs: &[(&str, &str)]) -> HashMap<String, String> {
        let owned = pairs
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        owned.collect()
    }

    #[test]
    fn what_cannot_be_used_is_refused_in_words() {
        let fine = said(&[("max_allowed_packet", "16777216")]);
        for version in [
            "10.6.0-MariaDB",
            "11.4.2-MariaDB-log",
            "5.5.5-10.11.6-MariaDB",
            "8.0.36",
            "9.1.0",
        ] {
            assert!(fit(version, &fine).is_ok(), "{version}");
        }
        for version in ["10.5.9-MariaDB", "5.5.5-10.3.1-MariaDB", "5.7.44-log", "what"] {
            let refused = fit(version, &fine).unwrap_err().to_string();
            assert!(
                refused.contains(version) && refused.contains("MariaDB 10.6"),
                "{refused}"
            );
        }
        let small = said(&[("max_allowed_packet", "1048576")]);
        let refused = fit("8.0.36", &small).unwrap_err().to_string();
        assert!(
            refused.contains("set max_allowed_packet to 16777216"),
            "{refused}"
        );
        let statements = said(&[("log_bin", "ON"), ("binlog_format", "STATEMENT")]);
        let refused = fit("8.0.36", &statements).unwrap_err().to_string();
        assert!(refused.contains("set binlog_format to ROW"), "{refused}");
    }
}
