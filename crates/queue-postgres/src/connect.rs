//! A connection, set up as all of ours are, with its statements prepared once.

use std::collections::HashMap;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};

use cresset_queue::kit::remote::{Dial, Link, STATEMENT_LIMIT};
use tokio::time::timeout;
use tokio_postgres::types::ToSql;
use tokio_postgres::{AsyncMessage, Client, Row, Statement};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::error::{StoreError, col};
use crate::target::{CONNECT_LIMIT, KEEPALIVE_EVERY, KEEPALIVE_IDLE, KEEPALIVE_TIMES, Target, UNHEARD_LIMIT};
use crate::tls;

/// The oldest PostgreSQL that is tested.
const VERSION_OLDEST: i32 = 150_000;

/// Values that go with a statement.
pub(crate) type Params<'a> = &'a [&'a (dyn ToSql + Sync)];

/// Which database, and whose the tasks are that drive its connections.
#[derive(Clone)]
pub(crate) struct Dialer {
    pub(crate) target: Target,
    pub(crate) tasks: TaskTracker,
}

impl Dialer {
    pub(crate) fn new(target: Target) -> Self {
        Self {
            target,
            tasks: TaskTracker::new(),
        }
    }
}

/// Connections to read on.
impl Dial for Dialer {
    type Conn = Conn;
    type Error = StoreError;

    const ANSWERS_MANY: bool = true;

    async fn open(&self) -> Result<Arc<Conn>, StoreError> {
        Conn::open(self).await
    }

    async fn end(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// What is done with what the database tells by itself.
pub(crate) type Heard = Box<dyn Fn(&str) + Send + Sync>;

/// A connection. When it is dropped, so is its session in the database.
pub(crate) struct Conn {
    client: Client,
    statements: Mutex<HashMap<&'static str, Statement>>,
    over: CancellationToken,
    schema: String,
    /// The version, as `server_version_num` has it.
    pub(crate) version: i32,
    /// Whether the database flushes at all, as its `fsync` has it.
    pub(crate) flushes: bool,
}

impl Conn {
    pub(crate) async fn open(dialer: &Dialer) -> Result<Arc<Self>, StoreError> {
        // It listens to nothing, so nothing is told.
        Self::open_hearing(dialer, Box::new(|_| {})).await
    }

    /// One that gives what is told on the channels that it listens to.
    pub(crate) async fn open_hearing(dialer: &Dialer, heard: Heard) -> Result<Arc<Self>, StoreError> {
        let limited = timeout(CONNECT_LIMIT, Self::connect(dialer, heard)).await;
        limited.unwrap_or_else(|_| {
            Err(StoreError::Away(format!(
                "{} did not answer within {CONNECT_LIMIT:?}",
                dialer.target
            )))
        })
    }

    async fn connect(Dialer { target, tasks }: &Dialer, heard: Heard) -> Result<Arc<Self>, StoreError> {
        let connector = tls::connector(target)?;
        let connected = target.config.connect(connector).await;
        let (client, mut connection) = connected.map_err(StoreError::postgres("cannot connect"))?;
        let over = CancellationToken::new();
        let ended = over.clone();
        // Ends when the client is dropped, or the connection is.
        tasks.spawn(async move {
            let _guard = ended.drop_guard();
            while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
                match message {
                    Ok(AsyncMessage::Notification(told)) => heard(told.payload()),
                    Ok(AsyncMessage::Notice(notice)) => tracing::debug!(%notice, "the database says"),
                    Ok(_) => {}
                    Err(error) => {
                        tracing::debug!(%error, "a connection to the database ended");
                        return;
                    }
                }
            }
        });
        let mut conn = Self {
            client,
            statements: Mutex::default(),
            over,
            schema: target.schema.clone(),
            version: 0,
            flushes: true,
        };
        conn.set_up(target).await?;
        Ok(Arc::new(conn))
    }

    /// Tables of a queue change faster than what is known of them, so a plan must not go by the number of rows: indexes
    /// always. Plans that look dear for that would be compiled, which costs more than all of them take.
    ///
    /// The database looks for us as we look for it: the lock of a server whose machine is gone must not stay for the two
    /// hours that it takes where nobody asks.
    async fn set_up(&mut self, target: &Target) -> Result<(), StoreError> {
        let settings = format!(
            "SET search_path TO \"{}\", pg_temp; SET enable_seqscan = off; SET jit = off; SET client_min_messages = warning; \
             SET statement_timeout = {}; SET lock_timeout = {}; SET idle_in_transaction_session_timeout = {}; \
             SET tcp_keepalives_idle = {}; SET tcp_keepalives_interval = {}; SET tcp_keepalives_count = {}; \
             SET tcp_user_timeout = {}",
            target.schema,
            STATEMENT_LIMIT.as_millis(),
            STATEMENT_LIMIT.as_millis(),
            (2 * STATEMENT_LIMIT).as_millis(),
            KEEPALIVE_IDLE.as_secs(),
            KEEPALIVE_EVERY.as_secs(),
            KEEPALIVE_TIMES,
            UNHEARD_LIMIT.as_millis(),
        );
        let cannot = || StoreError::postgres("cannot set up a connection");
        self.client.batch_execute(&settings).await.map_err(cannot())?;
        let about = "SELECT current_setting('server_version_num')::int, current_setting('server_version'), \
                     current_setting('server_encoding'), current_setting('fsync') <> 'off', \
                     set_config('synchronous_commit', CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on' \
                     ELSE current_setting('synchronous_commit') END, false)";
        let row = self.client.query_one(about, &[]).await.map_err(cannot())?;
        self.version = col(&row, 0)?;
        self.flushes = col(&row, 3)?;
        let (version, encoding): (String, String) = (col(&row, 1)?, col(&row, 2)?);
        fit(self.version, &version, &encoding)
    }

    /// The schema in which everything is.
    pub(crate) fn schema(&self) -> &str {
        &self.schema
    }

    /// Waits until the connection is gone.
    pub(crate) async fn over(&self) {
        self.over.cancelled().await;
    }

    async fn statement(&self, sql: &'static str) -> Result<Statement, tokio_postgres::Error> {
        let known = self.statements().get(sql).cloned();
        if let Some(statement) = known {
            return Ok(statement);
        }
        let statement = self.client.prepare(sql).await?;
        self.statements().insert(sql, statement.clone());
        Ok(statement)
    }

    /// Has statements ready, so that those that are sent together are carried out in the order in which they are sent.
    pub(crate) async fn prepare(&self, all: &[&'static str]) -> Result<(), StoreError> {
        for sql in all {
            self.statement(sql)
                .await
                .map_err(StoreError::postgres("cannot prepare a statement"))?;
        }
        Ok(())
    }

    fn statements(&self) -> std::sync::MutexGuard<'_, HashMap<&'static str, Statement>> {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The rows that a statement of ours gives.
    pub(crate) async fn rows(
        &self,
        doing: &'static str,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Vec<Row>, StoreError> {
        let rows = async { self.client.query(&self.statement(sql).await?, params).await };
        rows.await.map_err(StoreError::postgres(doing))
    }

    /// The one row that it gives, or none.
    pub(crate) async fn row(
        &self,
        doing: &'static str,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(doing, sql, params).await?.pop())
    }

    /// How many rows it changed.
    pub(crate) async fn run(
        &self,
        doing: &'static str,
        sql: &'static str,
        params: Params<'_>,
    ) -> Result<u64, StoreError> {
        let changed = async { self.client.execute(&self.statement(sql).await?, params).await };
        changed.await.map_err(StoreError::postgres(doing))
    }

    /// Several statements without values.
    pub(crate) async fn batch(&self, doing: &'static str, sql: &str) -> Result<(), StoreError> {
        self.client
            .batch_execute(sql)
            .await
            .map_err(StoreError::postgres(doing))
    }
}

impl Link for Conn {
    type Error = StoreError;

    fn is_over(&self) -> bool {
        self.client.is_closed()
    }

    async fn batch(&self, doing: &'static str, sql: &str) -> Result<(), StoreError> {
        Self::batch(self, doing, sql).await
    }
}

/// Whether it is a database that this program can use.
fn fit(number: i32, version: &str, encoding: &str) -> Result<(), StoreError> {
    if number < VERSION_OLDEST {
        return Err(StoreError::Unfit(format!(
            "the database is PostgreSQL {version}; 15 or newer is needed"
        )));
    }
    if encoding != "UTF8" {
        return Err(StoreError::Unfit(format!(
            "the database is encoded in {encoding}; UTF8 is needed (CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0)"
        )));
    }
    Ok(())
}

/// Text as PostgreSQL can keep it: it has no NUL.
pub(crate) fn text(text: &str) -> std::borrow::Cow<'_, str> {
    if text.contains('\0') {
        text.replace('\0', "\u{2400}").into()
    } else {
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_server_and_another_encoding_are_refused_in_words() {
        assert!(fit(150_020, "15.20", "UTF8").is_ok());
        let old = fit(140_011, "14.11", "UTF8").unwrap_err().to_string();
        assert_eq!(old, "the database is PostgreSQL 14.11; 15 or newer is needed");
        assert!(
            fit(170_001, "17.1", "SQL_ASCII")
                .unwrap_err()
                .to_string()
                .contains("UTF8 is needed")
        );
    }

    #[test]
    fn text_is_kept_without_its_nul() {
        assert_eq!(text("a\0b"), "a\u{2400}b");
        assert_eq!(text("plain"), "plain");
    }
}
