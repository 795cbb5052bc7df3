//! The server's own settings: the validated form of `cresset.toml`, `CRESSET_*` and flags.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Effective settings of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Where HTTP listens. Default 127.0.0.1:8700.
    pub listen: SocketAddr,
    /// Where the embedded store lives. Default `./.cresset`.
    pub data_dir: PathBuf,
    /// Where built environments live. Default: `$XDG_CACHE_HOME/cresset` or `~/.cache/cresset`.
    pub cache_dir: PathBuf,
    /// A model folder or a folder of them. Default: the current directory.
    pub models: PathBuf,
    /// When an accepted task counts as stored.
    pub durability: Durability,
    /// Inputs and results whose stored form is larger are kept in files beside the database. Default 128 KiB.
    pub max_inline_bytes: usize,
    /// How long results are kept after a task ends. Default 1 day.
    pub result_ttl: Duration,
    /// The largest request body. Default 64 MiB.
    pub max_body_bytes: usize,
    /// The longest `?wait=`. Default 5 min.
    pub max_wait: Duration,
    /// Open connections at most. Default 20,000.
    pub max_connections: usize,
    /// How long a stop waits for batches in flight. Default 30 s.
    pub drain_timeout: Duration,
    /// Answer tracebacks of failed tasks to callers. Default false: they are in the log only.
    pub show_tracebacks: bool,
    /// Filter directives of the log. Default `info`.
    pub log_level: String,
    /// How log lines look.
    pub log_format: LogFormat,
}

impl Default for ServerConfig {
    /// The built-in defaults. `cache_dir` is the one that needs no home folder; resolving settings finds the real one.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8700)),
            data_dir: ".cresset".into(),
            cache_dir: ".cresset/cache".into(),
            models: ".".into(),
            durability: Durability::Fsync,
            max_inline_bytes: 128 << 10,
            result_ttl: Duration::from_secs(86_400),
            max_body_bytes: 64 << 20,
            max_wait: Duration::from_secs(300),
            max_connections: 20_000,
            drain_timeout: Duration::from_secs(30),
            show_tracebacks: false,
            log_level: "info".into(),
            log_format: LogFormat::Text,
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
