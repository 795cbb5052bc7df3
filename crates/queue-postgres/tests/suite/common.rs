//! A store in a schema of its own, in the PostgreSQL on this machine, and what is left of it when its process dies.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use cresset_queue::conformance::{Applications, Harness, INBOX_TENANT, RemoteHarness, Transaction};
use cresset_queue::kit::{InboxOptions, PURGE_ROWS_MAX, Ttl};
use cresset_queue::{Backend, QueueError};
use cresset_queue_postgres::{Durability, PostgresOptions, PostgresStore, Target};
use cresset_task::TaskId;
use tokio::runtime::{Builder, Runtime};
use tokio_postgres::{Client, Config, NoTls};
use tokio_util::task::TaskTracker;
use url::Url;
use uuid::Uuid;

/// Where tests find it, unless told otherwise.
const URL: &str = "postgresql://postgres@127.0.0.1:5432/postgres";

const TTL: Ttl = Ttl {
    results: Duration::from_secs(100),
    letters: Duration::from_secs(1_000),
    deliveries: Duration::from_secs(500),
    tombstones: Duration::from_secs(300),
};

/// A schema that goes with this.
pub(crate) struct Schema {
    pub(crate) name: String,
    url: String,
}

impl Schema {
    /// `None`, and a word about it, where there is no PostgreSQL; a failure where there must be one.
    pub(crate) async fn or_skip() -> Option<Self> {
        let url = std::env::var("CRESSET_TEST_POSTGRES").unwrap_or_else(|_| URL.to_owned());
        let reached = connect(&url).await.map(drop);
        if let Err(error) = reached {
            let must =
                std::env::var("CI_HAS").is_ok_and(|has| has.split([' ', ',']).any(|one| one == "postgresql"));
            assert!(!must, "CI_HAS says that there is a PostgreSQL: {error}");
            eprintln!("skipped: no PostgreSQL at {url}: {error}");
            return None;
        }
        let name = format!("cresset_test_{}", Uuid::now_v7().simple());
        Some(Self { name, url })
    }

    pub(crate) fn target(&self) -> Target {
        Target::parse(&format!("{}?schema={}&sslmode=disable", self.url, self.name)).unwrap()
    }

    /// The same store, over a connection that is protected so.
    pub(crate) fn options_with(&self, ssl_mode: &str) -> PostgresOptions {
        let text = format!("{}?schema={}&sslmode={ssl_mode}", self.url, self.name);
        PostgresOptions {
            target: Target::parse(&text).unwrap(),
            ..self.options()
        }
    }

    /// The same store, asked for at another port of this machine.
    pub(crate) fn options_at(&self, port: u16) -> PostgresOptions {
        let mut url = Url::parse(&self.url).unwrap();
        url.set_port(Some(port)).unwrap();
        let text = format!("{url}?schema={}&sslmode=disable", self.name);
        PostgresOptions {
            target: Target::parse(&text).unwrap(),
            ..self.options()
        }
    }

    /// A connection of the test's own, in this schema.
    pub(crate) async fn client(&self) -> Client {
        let client = connect(&self.url).await.unwrap();
        client
            .batch_execute(&format!("SET search_path TO {}", self.name))
            .await
            .unwrap();
        client
    }

    pub(crate) fn options(&self) -> PostgresOptions {
        PostgresOptions {
            ttl: TTL,
            inbox: Some(InboxOptions {
                tenant: Some(INBOX_TENANT.parse().unwrap()),
            }),
            ..PostgresOptions::at(self.target())
        }
    }

    /// A number that a query of the test's own gives.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.client().await.query_one(sql, &[]).await.unwrap().get(0)
    }
}

impl Drop for Schema {
    fn drop(&mut self) {
        let (url, name) = (self.url.clone(), self.name.clone());
        // Another thread: this one may be within a runtime.
        let gone = std::thread::spawn(move || {
            block(async {
                let client = connect(&url).await?;
                client
                    .batch_execute(&format!("DROP SCHEMA IF EXISTS {name} CASCADE"))
                    .await
            })
        });
        if !matches!(gone.join(), Ok(Ok(()))) {
            eprintln!("a schema of a test is left behind");
        }
    }
}

async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let (client, connection) = url.parse::<Config>()?.connect(NoTls).await?;
    // Ends with the client.
    TaskTracker::new().spawn(connection);
    Ok(client)
}

pub(crate) fn block<T>(what: impl Future<Output = T>) -> T {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(what)
}

#[async_trait]
impl RemoteHarness for Schema {
    fn address(&self) -> (String, u16) {
        let url = Url::parse(&self.url).unwrap();
        (url.host_str().unwrap().to_owned(), url.port().unwrap_or(5432))
    }

    fn commit(&self) -> &'static [u8] {
        b"COMMIT\0"
    }

    fn set_up(&self) -> &'static [u8] {
        b"SET search_path TO"
    }

    async fn open(&self, port: Option<u16>) -> Arc<dyn Backend> {
        let options = port.map_or_else(|| self.options(), |port| self.options_at(port));
        Arc::new(PostgresStore::open(options).await.unwrap())
    }

    async fn end_session(&self) {
        let end = "SELECT pg_terminate_backend(pid) FROM servers WHERE ended_at IS NULL";
        self.client().await.execute(end, &[]).await.unwrap();
    }

    async fn tasks(&self) -> i64 {
        self.number("SELECT count(*) FROM tasks").await
    }

    async fn forget(&self, and_leases: bool) {
        let leases = match and_leases {
            true => "; UPDATE tasks SET state = 0, attempts = 0, holder = NULL",
            false => "",
        };
        let forget = format!("BEGIN; UPDATE servers SET commits = commits - 1{leases}; COMMIT");
        self.client().await.batch_execute(&forget).await.unwrap();
    }

    async fn end_all(&self) {
        let end =
            "UPDATE servers SET ended_at = 1; UPDATE tasks SET state = 0, holder = NULL WHERE state = 1";
        self.client().await.batch_execute(end).await.unwrap();
    }
}

/// A transaction of an application's, on a connection of its own.
struct Open(Client);

#[async_trait]
impl Transaction for Open {
    async fn end(self: Box<Self>, commits: bool) {
        let sql = if commits { "COMMIT" } else { "ROLLBACK" };
        self.0.batch_execute(sql).await.unwrap();
    }
}

impl Schema {
    async fn begin(&self) -> Box<Open> {
        let client = self.client().await;
        client.batch_execute("BEGIN").await.unwrap();
        Box::new(Open(client))
    }
}

#[async_trait]
impl Applications for Schema {
    async fn begin(&self, rows: &[(&str, String)]) -> (Vec<TaskId>, Box<dyn Transaction>) {
        let open = Self::begin(self).await;
        let mut ids = Vec::new();
        for (model, input) in rows {
            let sql = "SELECT enqueue($1, $2::text::jsonb)";
            let row = open.0.query_one(sql, &[model, input]).await.unwrap();
            ids.push(TaskId::from_bytes(*row.get::<_, Uuid>(0).as_bytes()));
        }
        (ids, open)
    }

    async fn write_as(&self, id: TaskId, model: &str, input: &str) {
        let sql = "INSERT INTO inbox (id, model, input) VALUES ($1, $2, $3::text::json)";
        let id = Uuid::from_bytes(*id.as_bytes());
        self.client()
            .await
            .execute(sql, &[&id, &model, &input])
            .await
            .unwrap();
    }

    async fn hold(&self, id: TaskId) -> Box<dyn Transaction> {
        let open = Self::begin(self).await;
        let id = Uuid::from_bytes(*id.as_bytes());
        let sql = "SELECT 1 FROM inbox WHERE id = $1 FOR UPDATE";
        assert_eq!(open.0.execute(sql, &[&id]).await.unwrap(), 1);
        open
    }

    async fn left(&self) -> (usize, Vec<String>) {
        let rows = self
            .client()
            .await
            .query("SELECT error FROM inbox", &[])
            .await
            .unwrap();
        let errors = rows.iter().filter_map(|row| row.get(0)).collect();
        (rows.len(), errors)
    }
}

/// Opens stores in one schema, each on a runtime of its own, so that it can die as a process does.
pub(crate) struct PostgresHarness {
    schema: Schema,
    durability: Durability,
    /// Each with the store that works on it.
    runtimes: Mutex<Vec<(usize, Runtime)>>,
}

impl PostgresHarness {
    pub(crate) fn or_skip(durability: Durability) -> Option<Self> {
        Some(Self {
            schema: block(Schema::or_skip())?,
            durability,
            runtimes: Mutex::default(),
        })
    }

    async fn open_now(&self) -> Result<Arc<dyn Backend>, QueueError> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let options = PostgresOptions {
            durability: self.durability,
            ..self.schema.options()
        };
        let opened = runtime.spawn(PostgresStore::open(options)).await.unwrap();
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

    /// Until the database has seen that so many servers are left.
    async fn are_left(&self, count: i64) {
        let sql = "SELECT count(*) FROM servers AS s JOIN pg_locks AS l ON l.pid = s.pid \
                   WHERE s.ended_at IS NULL AND l.locktype = 'advisory' AND l.objsubid = 1";
        let client = self.schema.client().await;
        while client.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) > count {
            // Only keeps the asking civil.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl Drop for PostgresHarness {
    fn drop(&mut self) {
        self.kill(None);
    }
}

/// Which store it is, among those that are open.
fn which(store: &Arc<dyn Backend>) -> usize {
    Arc::as_ptr(store).addr()
}

#[async_trait]
impl Harness for PostgresHarness {
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
        self.are_left(0).await;
        self.open().await
    }

    fn applications(&self) -> Option<&dyn Applications> {
        Some(&self.schema)
    }

    fn turning_points(&self) -> Vec<usize> {
        // Rows larger than this are kept out of line.
        vec![2_000]
    }

    fn ttl(&self) -> Ttl {
        TTL
    }

    fn purge_max(&self) -> usize {
        PURGE_ROWS_MAX
    }
}
