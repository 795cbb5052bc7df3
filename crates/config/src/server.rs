//! The server's own settings: the validated form of `cresset.toml`, `CRESSET_*` and flags.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::celery::{Celery, ServiceUrl};
use crate::door::{Listen, Network};
use cresset_task::Tenant;
use ipnet::IpNet;

/// Effective settings of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Where HTTP listens. Default 127.0.0.1:8700.
    pub listen: Vec<Listen>,
    /// Where operators are answered; default where everybody is.
    pub admin_listen: Vec<Listen>,
    /// Permissions of sockets in the file system. Default 0660.
    pub socket_mode: u32,
    /// The certificate of this server, with those between it and a root.
    pub tls_cert: Option<PathBuf>,
    /// Its key.
    pub tls_key: Option<PathBuf>,
    /// For how long browsers are to come in TLS only. Default they are not told.
    pub hsts: Option<Duration>,
    /// Proxies that are believed what they say of their callers. Default none.
    pub trusted_proxies: Vec<Network>,
    /// Origins of pages that may ask. Default none.
    pub cors_origins: Vec<String>,
    /// Where the embedded store lives. Default `./.cresset`.
    pub data_dir: PathBuf,
    /// Where built environments live. Default: `$XDG_CACHE_HOME/cresset` or `~/.cache/cresset`.
    pub cache_dir: PathBuf,
    /// A model folder or a folder of them. Default: the current directory.
    pub models: PathBuf,
    /// Where tasks and results are kept. Default: in the data folder, see [`ServerConfig::database`].
    pub store: Option<ServiceUrl>,
    /// What applications write into the store's table `inbox` becomes tasks; not in SQLite, which has none.
    pub inbox: bool,
    /// Whose those tasks are. Default: nobody's.
    pub inbox_tenant: Option<Tenant>,
    /// When an accepted task counts as stored.
    pub durability: Durability,
    /// Inputs and results whose stored form is larger are kept in files beside the database. Default 128 KiB.
    pub max_inline_bytes: usize,
    /// How long results are kept after a task ends. Default 1 day.
    pub result_ttl: Duration,
    /// How long dead letters and their inputs are kept. Default 30 days.
    pub dead_ttl: Duration,
    /// The largest request body. Default 64 MiB.
    pub max_body_bytes: usize,
    /// Request bodies held at once, in all. Default 1 GiB.
    pub max_inflight_body_bytes: usize,
    /// Large answers that are being read at once, in all. Default 1 GiB.
    pub max_inflight_answer_bytes: usize,
    /// Results that come piece by piece: what is kept of them for readers, in all. Default 64 MiB.
    pub max_stream_bytes: usize,
    /// Answers of so many bytes are packed for who asks for that. Default 4 KiB.
    pub compress_above: usize,
    /// Bodies of more bytes are spooled to files. Default 1 MiB.
    pub spool_above: usize,
    /// Bytes of all of those. Default 16 GiB.
    pub max_spool_bytes: u64,
    /// Bounds over all models, and of each client. Default none.
    pub admission: Admission,
    /// How clients are told apart.
    pub clients: Clients,
    /// Whether callers need a key.
    pub auth: Auth,
    /// The longest `?wait=`. Default 5 min.
    pub max_wait: Duration,
    /// Open connections at most. Default 20,000.
    pub max_connections: usize,
    /// The same for each address. Default not bounded.
    pub max_connections_per_address: Option<u64>,
    /// A connection on which nothing is asked is closed after this. Default 75 s.
    pub idle_timeout: Duration,
    /// From the first byte of a head to its last. Default 10 s.
    pub head_timeout: Duration,
    /// A body must move on by `min_rate` in such a span. Default 30 s.
    pub body_timeout: Duration,
    /// An answer must be taken at `min_rate` in such a span. Default 30 s.
    pub write_timeout: Duration,
    /// Bytes a second. Default 1 KiB.
    pub min_rate: u64,
    /// How long a stop waits for batches in flight. Default 30 s.
    pub drain_timeout: Duration,
    /// Answer tracebacks of failed tasks to callers. Default false: they are in the log only.
    pub show_tracebacks: bool,
    /// How it is a Celery worker. Default: not.
    pub celery: Celery,
    /// What signs webhooks and whom they may reach.
    pub webhooks: Webhooks,
    /// Filter directives of the log. Default `info`.
    pub log_level: String,
    /// How log lines look.
    pub log_format: LogFormat,
}

/// What signs webhooks, whom they may reach, and how long they are remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhooks {
    /// A file of secrets. Default none: without secrets there are no webhooks.
    pub secrets_file: Option<PathBuf>,
    /// Networks that are called though they are not public. Default none.
    pub allow: Vec<IpNet>,
    /// How long settled deliveries are kept, and addresses stay disabled. Default 3 days.
    pub retention: Duration,
}

impl Default for Webhooks {
    fn default() -> Self {
        Self {
            secrets_file: None,
            allow: Vec::new(),
            retention: Duration::from_secs(3 * 86_400),
        }
    }
}

impl Default for ServerConfig {
    /// The built-in defaults. `cache_dir` is the one that needs no home folder; resolving settings finds the real one.
    fn default() -> Self {
        Self {
            listen: vec![Listen::tcp(SocketAddr::from(([127, 0, 0, 1], 8700)))],
            admin_listen: Vec::new(),
            socket_mode: 0o660,
            tls_cert: None,
            tls_key: None,
            hsts: None,
            trusted_proxies: Vec::new(),
            cors_origins: Vec::new(),
            data_dir: ".cresset".into(),
            cache_dir: ".cresset/cache".into(),
            models: ".".into(),
            store: None,
            inbox: true,
            inbox_tenant: None,
            durability: Durability::Fsync,
            max_inline_bytes: 128 << 10,
            result_ttl: Duration::from_secs(86_400),
            dead_ttl: Duration::from_secs(30 * 86_400),
            max_body_bytes: 64 << 20,
            max_inflight_body_bytes: 1 << 30,
            max_inflight_answer_bytes: 1 << 30,
            max_stream_bytes: 64 << 20,
            compress_above: 4 << 10,
            spool_above: 1 << 20,
            max_spool_bytes: 16 << 30,
            admission: Admission::default(),
            clients: Clients::default(),
            auth: Auth::default(),
            max_wait: Duration::from_secs(300),
            max_connections: 20_000,
            max_connections_per_address: None,
            idle_timeout: Duration::from_secs(75),
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            min_rate: 1 << 10,
            drain_timeout: Duration::from_secs(30),
            show_tracebacks: false,
            celery: Celery::default(),
            webhooks: Webhooks::default(),
            log_level: "info".into(),
            log_format: LogFormat::Text,
        }
    }
}

/// Bounds on what is queued and what waits, over all models. `None` is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Admission {
    /// Queued tasks.
    pub max_queue: Option<u64>,
    /// Bytes of their inputs.
    pub max_queue_bytes: Option<u64>,
    /// Synchronous predictions that wait or run.
    pub max_waiting: Option<u64>,
    /// What one client may have.
    pub client: ClientBounds,
}

/// Bounds of one client, over all models. `None` is none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientBounds {
    /// Its queued tasks.
    pub max_queue: Option<u64>,
    /// Bytes of their inputs.
    pub max_queue_bytes: Option<u64>,
    /// Its synchronous predictions that wait or run.
    pub max_waiting: Option<u64>,
    /// Its requests under way.
    pub max_requests: Option<u64>,
}

/// Whether callers need a key, and where the keys are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Auth {
    /// They do. Default: no.
    pub enabled: bool,
    /// The file of keys. Default: `keys.json` in the data folder, see [`ServerConfig::keys_file`].
    pub keys: Option<PathBuf>,
    /// `/metrics` needs none all the same. Default: it needs one with the scope `admin`.
    pub open_metrics: bool,
    /// Whose tokens are taken beside keys.
    pub jwt: Jwt,
}

/// The identity provider whose tokens are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Jwt {
    /// Where its public keys are. Default: no tokens are taken.
    pub keys: Option<KeySet>,
    /// The `iss` of its tokens. There if `keys` is.
    pub issuer: Option<String>,
    /// What must be among their `aud`. There if `keys` is.
    pub audience: Option<String>,
    /// The claim that has the tenant. Default `sub`.
    pub tenant: String,
}

impl Default for Jwt {
    fn default() -> Self {
        Self {
            keys: None,
            issuer: None,
            audience: None,
            tenant: "sub".into(),
        }
    }
}

/// Where a JSON Web Key Set is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySet {
    /// In a file.
    File(PathBuf),
    /// Behind an address.
    Url(String),
}

impl fmt::Display for KeySet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Url(url) => f.write_str(url),
        }
    }
}

impl ServerConfig {
    /// The database file of the embedded store; `None` when tasks are kept by a server of its own, see `store`.
    #[must_use]
    pub fn database(&self) -> Option<PathBuf> {
        match &self.store {
            None => Some(self.data_dir.join("tasks.db")),
            Some(url) => url.reveal().strip_prefix("sqlite://").map(PathBuf::from),
        }
    }

    /// The file of keys.
    #[must_use]
    pub fn keys_file(&self) -> PathBuf {
        let beside_the_store = || self.data_dir.join("keys.json");
        self.auth.keys.clone().unwrap_or_else(beside_the_store)
    }
}

/// How clients are told apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clients {
    /// By what. Default off.
    pub identify: ClientIdentity,
    /// The header that names a client. Default `X-Client-Id`.
    pub header: String,
}

impl Default for Clients {
    fn default() -> Self {
        Self {
            identify: ClientIdentity::Off,
            header: "X-Client-Id".into(),
        }
    }
}

/// By what clients are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientIdentity {
    /// They are not.
    Off,
    /// The address of the connection.
    Address,
    /// A header; without it the address.
    Header,
}

impl ClientIdentity {
    /// The names in `cresset.toml`.
    pub const NAMES: &'static [&'static str] = &["off", "address", "header"];

    /// The name in `cresset.toml`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Address => "address",
            Self::Header => "header",
        }
    }

    /// What is called so; `Off` is what nothing else is.
    pub(crate) fn called(name: &str) -> Self {
        match name {
            "address" => Self::Address,
            "header" => Self::Header,
            _ => Self::Off,
        }
    }
}

/// When an accepted task counts as stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// After fsync: survives power loss.
    Fsync,
    /// After the write reached the operating system: survives our crash, not power loss. Replies say so.
    Os,
}

impl Durability {
    /// The name in `cresset.toml`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fsync => "fsync",
            Self::Os => "os",
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// The name in `cresset.toml`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}
