//! MySQL and MariaDB. Connections are the library's: it keeps a few, and tries one before it is used again.

use std::path::PathBuf;
use std::time::Duration;

use async_trait::async_trait;
use cresset_celery::{Cell, show_sql_time};
use mysql_async::prelude::Queryable as _;
use mysql_async::{
    Conn, Error, OptsBuilder, Params, Pool, PoolConstraints, PoolOpts, SslOpts, TxOpts, Value,
};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::database::{Column, Database, Statement, Wrong};

/// A statement takes milliseconds, also with a new connection; one that takes so long will not end well.
const ANSWER_LIMIT: Duration = Duration::from_secs(15);
/// Enough for results that come in batches: each of their commits waits for the database's disk.
const CONNECTIONS_MAX: usize = 8;
/// The last words are not waited for for ever.
const FAREWELL: Duration = Duration::from_secs(2);
/// Statements of ours that differ, at most: each of a few columns' sets.
const STATEMENTS_KEPT: usize = 32;
/// A value that does not fit is refused, never cut, whatever the server does otherwise; times are UTC.
const SET_UP: &str =
    "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES'), time_zone = '+00:00', autocommit = 1";

const DUPLICATE: u16 = 1062;
/// Out of range, not of the column's characters, too long, larger than a packet.
const OF_VALUES: [u16; 5] = [1153, 1264, 1292, 1366, 1406];

/// The server, and what is to be said to it.
pub(super) struct Target {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) password: Option<String>,
    pub(super) database: String,
    /// A socket instead of host and port.
    pub(super) socket: Option<String>,
    /// In TLS, with a certificate from somebody who is trusted: these, or the world's.
    pub(super) tls: Option<Option<PathBuf>>,
}

/// The database.
pub(super) struct Mysql {
    pool: Pool,
}

impl Mysql {
    /// `house` owns the end of its connections, at `leave`: the library has a task for them, of which nobody else hears. Inside of a runtime.
    pub(super) fn new(target: Target, house: &TaskTracker, leave: CancellationToken) -> Result<Self, String> {
        let constraints = PoolConstraints::new(0, CONNECTIONS_MAX).ok_or("it can have no connections")?;
        let tls = target.tls.map(|roots| {
            let roots = roots.map(|path| vec![path.into()]);
            match roots {
                Some(roots) => SslOpts::default()
                    .with_disable_built_in_roots(true)
                    .with_root_certs(roots),
                None => SslOpts::default(),
            }
        });
        let options = OptsBuilder::default()
            .ip_or_hostname(target.host)
            .tcp_port(target.port)
            .user(Some(target.user))
            .pass(target.password)
            .db_name(Some(target.database))
            .prefer_socket(target.socket.is_some())
            .socket(target.socket)
            .ssl_opts(tls)
            .client_found_rows(true)
            .stmt_cache_size(STATEMENTS_KEPT)
            .setup(vec![SET_UP])
            .pool_opts(PoolOpts::default().with_constraints(constraints));
        let pool = Pool::new(options);
        house.spawn(part(pool.clone(), leave));
        Ok(Self { pool })
    }

    async fn with<T>(&self, act: impl AsyncFnOnce(&mut Conn) -> Result<T, Error>) -> Result<T, Wrong> {
        let used = async { act(&mut self.pool.get_conn().await?).await };
        match timeout(ANSWER_LIMIT, used).await {
            Ok(done) => done.map_err(|error| wrong(&error)),
            Err(_) => Err(Wrong::Away("the database does not answer".into())),
        }
    }
}

/// Says goodbye on every connection, when it is time.
async fn part(pool: Pool, leave: CancellationToken) {
    leave.cancelled().await;
    match timeout(FAREWELL, pool.disconnect()).await {
        Ok(Ok(())) => tracing::debug!("connections to the result backend are closed"),
        Ok(Err(error)) => tracing::debug!(%error, "connections to the result backend broke at their end"),
        Err(_) => tracing::debug!("connections to the result backend did not end in time"),
    }
}

fn wrong(error: &Error) -> Wrong {
    match error {
        Error::Server(told) if told.code == DUPLICATE => Wrong::Duplicate,
        Error::Server(told) if OF_VALUES.contains(&told.code) => Wrong::Refused(told.message.clone()),
        Error::Server(told) => Wrong::Away(told.message.clone()),
        other => Wrong::Away(other.to_string()),
    }
}

fn values(cells: &[Cell]) -> Params {
    let value = |cell: &Cell| match cell {
        Cell::Null => Value::NULL,
        Cell::Text(text) => Value::Bytes(text.as_bytes().to_vec()),
        Cell::Bytes(bytes) => Value::Bytes(bytes.clone()),
        Cell::Int(int) => Value::Int(*int),
        Cell::Time(at) => Value::Bytes(show_sql_time(*at).into_bytes()),
    };
    match cells {
        [] => Params::Empty,
        cells => Params::Positional(cells.iter().map(value).collect()),
    }
}

fn cells(row: mysql_async::Row) -> Vec<Cell> {
    let cell = |value| match value {
        Value::Int(int) => Cell::Int(int),
        Value::UInt(int) => i64::try_from(int).map_or(Cell::Null, Cell::Int),
        Value::Bytes(bytes) => Cell::Bytes(bytes),
        _ => Cell::Null,
    };
    row.unwrap().into_iter().map(cell).collect()
}

#[async_trait]
impl Database for Mysql {
    async fn columns(&self, table: &'static str) -> Result<Vec<Column>, Wrong> {
        let sql = "SELECT column_name, extra LIKE '%auto_increment%' OR column_default IS NOT NULL \
                   FROM information_schema.columns WHERE table_schema = DATABASE() AND table_name = ?";
        let found = self
            .rows(&Statement::new(sql, vec![Cell::Text(table.into())]))
            .await?;
        let column = |row: Vec<Cell>| {
            Some(Column {
                name: super::database::text(row.first())?.to_owned(),
                is_filled: matches!(row.get(1), Some(Cell::Int(is_filled)) if *is_filled != 0),
            })
        };
        Ok(found.into_iter().filter_map(column).collect())
    }

    fn next_of(&self, sequence: &'static str) -> String {
        format!("NEXT VALUE FOR {sequence}")
    }

    async fn run(&self, statement: &Statement) -> Result<u64, Wrong> {
        self.with(async |conn| {
            conn.exec_drop(&statement.sql, values(&statement.cells)).await?;
            Ok(conn.affected_rows())
        })
        .await
    }

    async fn rows(&self, statement: &Statement) -> Result<Vec<Vec<Cell>>, Wrong> {
        self.with(async |conn| {
            let rows = conn.exec(&statement.sql, values(&statement.cells)).await?;
            Ok(rows.into_iter().map(cells).collect())
        })
        .await
    }

    async fn all(&self, changes: &[Statement], read: &Statement) -> Result<Option<Vec<Vec<Cell>>>, Wrong> {
        self.with(async |conn| {
            let mut transaction = conn.start_transaction(TxOpts::default()).await?;
            for change in changes {
                transaction.exec_drop(&change.sql, values(&change.cells)).await?;
                if transaction.affected_rows() == 0 {
                    transaction.rollback().await?;
                    return Ok(None);
                }
            }
            let rows = transaction.exec(&read.sql, values(&read.cells)).await?;
            transaction.commit().await?;
            Ok(Some(rows.into_iter().map(cells).collect()))
        })
        .await
    }
}
