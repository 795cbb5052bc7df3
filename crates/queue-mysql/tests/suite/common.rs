//! A store in a database of its own, in the MariaDB on this machine, and what is left of it when its process dies.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cresset_queue::conformance::{Applications, Harness, INBOX_TENANT, IsAnswer, RemoteHarness, Transaction};
use cresset_queue::kit::{InboxOptions, PURGE_ROWS_MAX, Ttl};
use cresset_queue::{Backend, QueueError};
use cresset_queue_mysql::{MysqlOptions, MysqlStore, Target};
use cresset_task::TaskId;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error, Opts, OptsBuilder};
use tokio::runtime::{Builder, Runtime};
use url::Url;
use uuid::Uuid;

/// Where tests find it, unless told otherwise.
const URL: &str = "mysql://root@127.0.0.1:3306/mysql";

const TTL: Ttl = Ttl {
    results: Duration::from_secs(100),
    letters: Duration::from_secs(1_000),
    deliveries: Duration::from_secs(500),
    tombstones: Duration::from_secs(300),
};

/// A database that goes with this.
pub(crate) struct Database {
    pub(crate) name: String,
    url: String,
}

impl Database {
    /// `None`, and a word about it, where there is no MariaDB; a failure where there must be one.
    pub(crate) async fn or_skip() -> Option<Self> {
        let url = std::env::var("CRESSET_TEST_MYSQL").unwrap_or_else(|_| URL.to_owned());
        let name = format!("cresset_test_{}", Uuid::now_v7().simple());
        let made = async {
            let mut client = connect(&url, None).await?;
            client.query_drop(format!("CREATE DATABASE {name}")).await
        };
        if let Err(error) = made.await {
            let must =
                std::env::var("CI_HAS").is_ok_and(|has| has.split([' ', ',']).any(|one| one == "mariadb"));
            assert!(!must, "CI_HAS says that there is a MariaDB: {error}");
            eprintln!("skipped: no MariaDB at {url}: {error}");
            return None;
        }
        Some(Self { name, url })
    }

    fn target(&self, change: impl FnOnce(&mut Url)) -> Target {
        let mut url = Url::parse(&self.url).unwrap();
        url.set_path(&self.name);
        url.set_query(Some("sslmode=disable"));
        change(&mut url);
        Target::parse(url.as_str()).unwrap()
    }

    /// The same store, over a connection that is protected so.
    pub(crate) fn options_with(&self, ssl_mode: &str) -> MysqlOptions {
        let target = self.target(|url| url.set_query(Some(&format!("sslmode={ssl_mode}"))));
        MysqlOptions {
            target,
            ..self.options()
        }
    }

    /// The same store, asked for at another port of this machine.
    pub(crate) fn options_at(&self, port: u16) -> MysqlOptions {
        let target = self.target(|url| url.set_port(Some(port)).unwrap());
        MysqlOptions {
            target,
            ..self.options()
        }
    }

    /// The same store, for another user of the database.
    pub(crate) fn options_as(&self, user: &str, password: &str) -> MysqlOptions {
        let target = self.target(|url| {
            url.set_username(user).unwrap();
            url.set_password(Some(password)).unwrap();
        });
        MysqlOptions {
            target,
            ..self.options()
        }
    }

    /// A connection of the test's own, in this database.
    pub(crate) async fn client(&self) -> Conn {
        connect(&self.url, Some(&self.name)).await.unwrap()
    }

    pub(crate) fn options(&self) -> MysqlOptions {
        MysqlOptions {
            ttl: TTL,
            inbox: Some(InboxOptions {
                tenant: Some(INBOX_TENANT.parse().unwrap()),
            }),
            ..MysqlOptions::at(self.target(|_| ()))
        }
    }

    /// Runs a statement of the test's own.
    pub(crate) async fn run(&self, sql: &str) {
        self.client().await.query_drop(sql).await.unwrap();
    }

    /// A number that a query of the test's own gives.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.client().await.query_first(sql).await.unwrap().unwrap()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let (url, name) = (self.url.clone(), self.name.clone());
        // Another thread: this one may be within a runtime.
        let gone = std::thread::spawn(move || {
            block(async {
                let mut client = connect(&url, None).await?;
                client.query_drop(format!("DROP DATABASE IF EXISTS {name}")).await
            })
        });
        if !matches!(gone.join(), Ok(Ok(()))) {
            eprintln!("a database of a test is left behind");
        }
    }
}

/// Whether these packets end with the word that all was done: one that nothing comes behind.
fn is_last_answer(mut packets: &[u8]) -> bool {
    let mut last: &[u8] = &[];
    while let [a, b, c, _number, rest @ ..] = packets {
        let length = usize::from(*a) | usize::from(*b) << 8 | usize::from(*c) << 16;
        let Some((packet, behind)) = rest.split_at_checked(length) else {
            return false;
        };
        (last, packets) = (packet, behind);
    }
    // Done, with no row and no number, and without the flag that more comes.
    matches!(last, [0, 0, 0, status, ..] if status & 8 == 0)
}

async fn connect(url: &str, database: Option<&str>) -> Result<Conn, Error> {
    let options = OptsBuilder::from_opts(Opts::from_url(url)?).prefer_socket(false);
    let options = match database {
        Some(name) => options.db_name(Some(name)),
        None => options,
    };
    Conn::new(options).await
}

pub(crate) fn block<T>(what: impl Future<Output = T>) -> T {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(what)
}

#[async_trait]
impl RemoteHarness for Database {
    fn address(&self) -> (String, u16) {
        let url = Url::parse(&self.url).unwrap();
        (url.host_str().unwrap().to_owned(), url.port().unwrap_or(3306))
    }

    fn commit(&self) -> &'static [u8] {
        b"COMMIT"
    }

    fn answer(&self) -> IsAnswer {
        is_last_answer
    }

    fn set_up(&self) -> &'static [u8] {
        b"ISOLATION LEVEL REPEATABLE READ"
    }

    async fn open(&self, port: Option<u16>) -> Arc<dyn Backend> {
        let options = port.map_or_else(|| self.options(), |port| self.options_at(port));
        Arc::new(MysqlStore::open(options).await.unwrap())
    }

    async fn end_session(&self) {
        let mut client = self.client().await;
        let there = "SELECT session FROM servers WHERE ended_at IS NULL";
        for session in client.query::<i64, _>(there).await.unwrap() {
            // It may have ended by itself.
            let _gone = client.query_drop(format!("KILL {session}")).await;
        }
    }

    async fn tasks(&self) -> i64 {
        self.number("SELECT COUNT(*) FROM tasks").await
    }

    async fn forget(&self, and_leases: bool) {
        self.run("UPDATE servers SET commits = commits - 1").await;
        if and_leases {
            self.run("UPDATE tasks SET state = 0, attempts = 0, holder = NULL")
                .await;
        }
    }

    async fn end_all(&self) {
        self.run(
            "UPDATE servers SET ended_at = 1; UPDATE tasks SET state = 0, holder = NULL WHERE state = 1",
        )
        .await;
    }
}

/// A transaction of an application's, on a connection of its own.
struct Open(Conn);

#[async_trait]
impl Transaction for Open {
    async fn end(mut self: Box<Self>, commits: bool) {
        let sql = if commits { "COMMIT" } else { "ROLLBACK" };
        self.0.query_drop(sql).await.unwrap();
    }
}

const WRITE: &str = "INSERT INTO inbox (id, model, input) VALUES (?, ?, ?)";

impl Database {
    async fn begin(&self) -> Box<Open> {
        let mut client = self.client().await;
        client.query_drop("START TRANSACTION").await.unwrap();
        Box::new(Open(client))
    }
}

#[async_trait]
impl Applications for Database {
    async fn begin(&self, rows: &[(&str, String)]) -> (Vec<TaskId>, Box<dyn Transaction>) {
        let mut open = Self::begin(self).await;
        let ids: Vec<TaskId> = rows.iter().map(|_| TaskId::fresh()).collect();
        let values = rows
            .iter()
            .zip(&ids)
            .map(|((model, input), id)| (id.to_string(), *model, input));
        open.0.exec_batch(WRITE, values).await.unwrap();
        (ids, open)
    }

    async fn write_as(&self, id: TaskId, model: &str, input: &str) {
        let values = (id.to_string(), model, input);
        self.client().await.exec_drop(WRITE, values).await.unwrap();
    }

    async fn hold(&self, id: TaskId) -> Box<dyn Transaction> {
        let mut open = Self::begin(self).await;
        let sql = "SELECT seq FROM inbox WHERE id = ? FOR UPDATE";
        let held: Option<i64> = open.0.exec_first(sql, (id.to_string(),)).await.unwrap();
        assert!(held.is_some());
        open
    }

    async fn left(&self) -> (usize, Vec<String>) {
        let errors: Vec<Option<String>> = self
            .client()
            .await
            .query("SELECT error FROM inbox")
            .await
            .unwrap();
        (errors.len(), errors.into_iter().flatten().collect())
    }
}

/// Opens stores in one database, each on a runtime of its own, so that it can die as a process does.
pub(crate) struct MysqlHarness {
    database: Database,
    /// Each with the store that works on it.
    runtimes: Mutex<Vec<(usize, Runtime)>>,
}

impl MysqlHarness {
    pub(crate) fn or_skip() -> Option<Self> {
        Some(Self {
            database: block(Database::or_skip())?,
            runtimes: Mutex::default(),
        })
    }

    async fn open_now(&self) -> Result<Arc<dyn Backend>, QueueError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let opened = runtime
            .spawn(MysqlStore::open(self.database.options()))
            .await
            .unwrap();
        let opened = opened.map(|store| Arc::new(store) as Arc<dyn Backend>);
        let which = opened.as_ref().map_or(0, which);
        self.runtimes.lock().unwrap().push((which, runtime));
        opened
    }

    /// All of them, or this one.
    fn kill(&self, only: Option<usize>) {
        let mut runtimes = self.runtimes.lock().unwrap();
        let (dead, alive): (Vec<_>, Vec<_>) = runtimes
            .drain(..)
            .partition(|(which, _)| only.is_none_or(|only| only == *which));
        *runtimes = alive;
        for (_, runtime) in dead {
            runtime.shutdown_background();
        }
    }

    /// Until the database has seen that no server is left.
    async fn is_free(&self) {
        let mut client = self.database.client().await;
        let sql = "SELECT COUNT(*) FROM servers WHERE ended_at IS NULL \
                   AND IS_FREE_LOCK(CONCAT('cresset.', MD5(DATABASE()), '.', id)) = 0";
        while client.query_first::<i64, _>(sql).await.unwrap() != Some(0) {
            // Only keeps the asking civil.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Drop for MysqlHarness {
    fn drop(&mut self) {
        self.kill(None);
    }
}

/// Which store it is, among those that are open.
fn which(store: &Arc<dyn Backend>) -> usize {
    Arc::as_ptr(store).addr()
}

#[async_trait]
impl Harness for MysqlHarness {
    async fn open(&self) -> Arc<dyn Backend> {
        self.open_now().await.unwrap()
    }

    async fn open_beside(&self) -> Option<Arc<dyn Backend>> {
        Some(self.open().await)
    }

    async fn crash_one(&self, store: Arc<dyn Backend>) {
        self.kill(Some(which(&store)));
        drop(store);
    }

    /// Everything of it stops where it is, and its connections end.
    async fn crash(&self, store: Arc<dyn Backend>) -> Arc<dyn Backend> {
        self.kill(None);
        drop(store);
        self.is_free().await;
        self.open().await
    }

    fn applications(&self) -> Option<&dyn Applications> {
        Some(&self.database)
    }

    fn turning_points(&self) -> Vec<usize> {
        // What is larger goes by itself, and what is larger still in parts.
        vec![64 * 1024, 4 * 1024 * 1024]
    }

    fn ttl(&self) -> Ttl {
        TTL
    }

    fn purge_max(&self) -> usize {
        PURGE_ROWS_MAX
    }
}
