//! Every setting of the server: its key in `cresset.toml`, its variable, its flag, what it takes, its words.
//!
//! This table is the registry of `CRESSET_*` variables too: a variable that is neither here nor in [`OTHER_VARIABLES`]
//! does nothing, and whoever sets one is told.

use std::net::SocketAddr;
use std::time::Duration;

use crate::field::{Field, Key, Refusal, quote};
use crate::server::{Durability, LogFormat, ServerConfig};
use crate::suggest::nearest;

const DAY: Duration = Duration::from_secs(86_400);
const LOG_LEVELS: [&str; 6] = ["trace", "debug", "info", "warn", "error", "off"];

/// One setting of the server.
pub struct Setting {
    pub(crate) key: Key<ServerConfig>,
    /// The environment variable.
    pub env: &'static str,
    /// The flag of `cresset serve`, without its dashes. `models` is the positional argument.
    pub flag: &'static str,
}

impl Setting {
    /// Its key in `cresset.toml`: `server.listen`.
    #[must_use]
    pub fn path(&self) -> &'static str {
        self.key.path
    }

    /// What it does.
    #[must_use]
    pub fn doc(&self) -> &'static str {
        self.key.doc
    }

    /// What it takes, in words.
    #[must_use]
    pub fn form(&self) -> String {
        self.key.form()
    }

    /// True when it takes true or false, so that its flag may stand without a value.
    #[must_use]
    pub fn is_switch(&self) -> bool {
        matches!(self.key.field, Field::Bool { .. })
    }

    /// The default: a value as TOML, or words.
    #[must_use]
    pub fn default_text(&self) -> String {
        match self.key.default {
            Some(words) => words.into(),
            None => self
                .key
                .value(&ServerConfig::default())
                .map(|v| v.to_toml())
                .unwrap_or_default(),
        }
    }

    /// The setting with this key.
    #[must_use]
    pub fn find(path: &str) -> Option<&'static Self> {
        SETTINGS.iter().find(|s| s.path() == path)
    }
}

/// A `CRESSET_*` variable that is no setting.
pub struct OtherVariable {
    /// Its name.
    pub name: &'static str,
    /// Who reads it and for what.
    pub doc: &'static str,
}

/// The variables beside those of [`SETTINGS`].
pub const OTHER_VARIABLES: &[OtherVariable] = &[
    OtherVariable {
        name: "CRESSET_CONFIG",
        doc: "The settings file to read, as `--config` does.",
    },
    OtherVariable {
        name: "CRESSET_URL",
        doc: "The server that client commands talk to, as `--url` does.",
    },
    OtherVariable {
        name: "CRESSET_PARENT_PID",
        doc: "Given to model processes: the server's process id. Not for you to set.",
    },
    OtherVariable {
        name: "CRESSET_MODEL",
        doc: "Given to model processes: the model's name. Not for you to set.",
    },
    OtherVariable {
        name: "CRESSET_INSTANCE",
        doc: "Given to model processes: the instance's number. Not for you to set.",
    },
];

macro_rules! setting {
    ($path:literal, $env:literal, $flag:literal, $field:expr, $doc:expr) => {
        Setting {
            key: Key {
                path: $path,
                doc: $doc,
                default: None,
                example: None,
                field: $field,
            },
            env: $env,
            flag: $flag,
        }
    };
    ($path:literal, $env:literal, $flag:literal, $field:expr, $doc:expr, default: $default:literal, example: $example:literal) => {
        Setting {
            key: Key {
                path: $path,
                doc: $doc,
                default: Some($default),
                example: Some($example),
                field: $field,
            },
            env: $env,
            flag: $flag,
        }
    };
}

/// Every setting, in the order of the default file.
pub const SETTINGS: &[Setting] = &[
    setting!(
        "server.listen",
        "CRESSET_LISTEN",
        "listen",
        Field::Text {
            form: "an address and port, such as \"127.0.0.1:8700\"",
            get: |c| Some(c.listen.to_string()),
            set: set_listen
        },
        "Where HTTP listens. `0.0.0.0` listens on every network; port 0 takes a free one."
    ),
    setting!(
        "server.models",
        "CRESSET_MODELS",
        "models",
        Field::Path {
            get: |c| Some(c.models.clone()),
            set: |c, p| c.models = p
        },
        "A model folder, or a folder of them. On the command line it is the argument of `cresset serve`."
    ),
    setting!(
        "server.data_dir",
        "CRESSET_DATA_DIR",
        "data-dir",
        Field::Path {
            get: |c| Some(c.data_dir.clone()),
            set: |c, p| c.data_dir = p
        },
        "Where tasks and results are kept."
    ),
    setting!(
        "server.cache_dir", "CRESSET_CACHE_DIR", "cache-dir",
        Field::Path { get: |c| Some(c.cache_dir.clone()), set: |c, p| c.cache_dir = p },
        "Where the environments of models are built. It can be deleted at any time while no server runs.",
        default: "`$XDG_CACHE_HOME/cresset`, or `~/.cache/cresset`", example: r#""/var/cache/cresset""#
    ),
    setting!(
        "server.max_connections",
        "CRESSET_MAX_CONNECTIONS",
        "max-connections",
        Field::Int {
            min: 1,
            max: 1_000_000,
            get: |c| Some(c.max_connections as u64),
            set: |c, n| c.max_connections = n as usize
        },
        "Open connections at most; more wait to be accepted."
    ),
    setting!(
        "server.drain_timeout",
        "CRESSET_DRAIN_TIMEOUT",
        "drain-timeout",
        Field::Duration {
            min: Duration::ZERO,
            max: DAY,
            get: |c| c.drain_timeout,
            set: |c, d| c.drain_timeout = d
        },
        "How long a stop waits for batches in flight. What is not done by then goes back to the queue."
    ),
    setting!(
        "limits.max_body_bytes",
        "CRESSET_MAX_BODY_BYTES",
        "max-body-bytes",
        Field::Bytes {
            min: 1 << 10,
            max: 1 << 30,
            get: |c| c.max_body_bytes as u64,
            set: |c, n| c.max_body_bytes = n as usize
        },
        "The largest request body; a larger one is refused with 413."
    ),
    setting!(
        "limits.max_wait",
        "CRESSET_MAX_WAIT",
        "max-wait",
        Field::Duration {
            min: Duration::ZERO,
            max: DAY,
            get: |c| c.max_wait,
            set: |c, d| c.max_wait = d
        },
        "The longest that `?wait=` waits for a task to end."
    ),
    setting!(
        "results.ttl",
        "CRESSET_RESULT_TTL",
        "result-ttl",
        Field::Duration {
            min: Duration::from_secs(1),
            max: Duration::from_secs(3650 * 86_400),
            get: |c| c.result_ttl,
            set: |c, d| c.result_ttl = d
        },
        "How long a task and its result are kept after the task has ended."
    ),
    setting!(
        "store.durability",
        "CRESSET_DURABILITY",
        "durability",
        Field::Choice {
            names: &["fsync", "os"],
            get: |c| c.durability.name(),
            set: set_durability
        },
        "When an accepted task counts as stored: `fsync`, after it is on the disk, survives a power cut; `os`, after the \
         operating system has it, survives a crash of ours and is faster. With `os` the answers say so."
    ),
    setting!(
        "store.max_inline_bytes",
        "CRESSET_MAX_INLINE_BYTES",
        "max-inline-bytes",
        Field::Bytes {
            // Below a page of the database a file costs more than it can save; above, the database itself has a limit.
            min: 4 << 10,
            max: 512 << 20,
            get: |c| c.max_inline_bytes as u64,
            set: |c, n| c.max_inline_bytes = n as usize
        },
        "Inputs and results that are stored in more bytes than this are files of their own beside the database, written \
         once; smaller ones are rows in it. What is stored already stays where it is."
    ),
    setting!(
        "api.show_tracebacks",
        "CRESSET_SHOW_TRACEBACKS",
        "show-tracebacks",
        Field::Bool {
            get: |c| c.show_tracebacks,
            set: |c, b| c.show_tracebacks = b
        },
        "Give callers the Python tracebacks of failed tasks. They show code and paths; the log has them in any case."
    ),
    setting!(
        "log.level",
        "CRESSET_LOG_LEVEL",
        "log-level",
        Field::Text {
            form: "a level or filter directives in quotes, such as \"info\"",
            get: |c| Some(c.log_level.clone()),
            set: set_log_level
        },
        "`error`, `warn`, `info`, `debug` or `trace`, or directives such as `info,cresset_engine=debug`."
    ),
    setting!(
        "log.format",
        "CRESSET_LOG_FORMAT",
        "log-format",
        Field::Choice {
            names: &["text", "json"],
            get: |c| c.log_format.name(),
            set: set_log_format
        },
        "How log lines look: `text` for people, `json` for programs, one object a line."
    ),
];

fn set_listen(c: &mut ServerConfig, text: &str) -> Result<(), Refusal> {
    let text = text.trim();
    if let Ok(listen) = text.parse::<SocketAddr>() {
        c.listen = listen;
        return Ok(());
    }
    let refusal = Refusal::new(format!(
        "must be an IP address and a port, such as \"127.0.0.1:8700\", is {}",
        quote(text)
    ));
    let meant = match text.rsplit_once(':') {
        None if text.parse::<u16>().is_ok() => format!("127.0.0.1:{text}"),
        None => format!("{text}:8700"),
        Some(("", port)) => format!("0.0.0.0:{port}"),
        Some(("localhost", port)) => format!("127.0.0.1:{port}"),
        Some((host, port)) => format!("[{host}]:{port}"),
    };
    Err(refusal.maybe_hint(
        meant
            .parse::<SocketAddr>()
            .ok()
            .map(|a| format!("did you mean \"{a}\"?")),
    ))
}

fn set_durability(c: &mut ServerConfig, name: &str) {
    c.durability = if name == Durability::Os.name() {
        Durability::Os
    } else {
        Durability::Fsync
    };
}

fn set_log_format(c: &mut ServerConfig, name: &str) {
    c.log_format = if name == LogFormat::Json.name() {
        LogFormat::Json
    } else {
        LogFormat::Text
    };
}

/// Finds slips in levels; the subscriber that gets the directives knows the rest of their grammar.
fn set_log_level(c: &mut ServerConfig, text: &str) -> Result<(), Refusal> {
    let text = text.trim();
    if text.is_empty() {
        return Err(Refusal::new("must not be empty").hint("\"off\" logs nothing"));
    }
    for directive in text.split(',').map(str::trim) {
        let (target, level) = match directive.rsplit_once('=') {
            _ if directive.contains(['[', '{']) => continue,
            Some((target, level)) => (Some(target), level),
            None => (None, directive),
        };
        if LOG_LEVELS.contains(&level.to_ascii_lowercase().as_str()) {
            continue;
        }
        let near = nearest(level, LOG_LEVELS);
        // A word alone may be a target, all of whose lines are then wanted.
        if target.is_none() && near.is_none() && !level.is_empty() {
            continue;
        }
        let refusal = Refusal::new(format!(
            "{} is not a level; the levels are {}",
            quote(level),
            LOG_LEVELS.join(", ")
        ));
        return Err(refusal.maybe_hint(near.map(|n| format!("did you mean \"{n}\"?"))));
    }
    c.log_level = text.to_owned();
    Ok(())
}
