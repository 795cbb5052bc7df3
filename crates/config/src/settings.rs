//! Every setting of the server: its key in `cresset.toml`, its variable, its flag, what it takes, its words.
//!
//! This table is the registry of `CRESSET_*` variables too: a variable that is neither here nor in [`OTHER_VARIABLES`]
//! does nothing, and whoever sets one is told.

#[macro_use]
mod forms;

mod auth;
mod celery;
mod entrances;
mod store;
mod table;

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use crate::door;
use crate::field::{Field, Key, Refusal, quote};
use crate::server::{ClientIdentity, Durability, LogFormat, ServerConfig};
use crate::suggest::nearest;

pub use self::table::SETTINGS;

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
        name: "CRESSET_KEY",
        doc: "The API key that client commands and the Python client send, as `--key` does.",
    },
    OtherVariable {
        name: "CRESSET_CA",
        doc: "Who signed that server's certificate, as `--ca` does.",
    },
    OtherVariable {
        name: "CRESSET_WEBHOOKS_SECRETS",
        doc: "The secrets that webhooks are signed with, parted by white space or commas; instead of `webhooks.secrets_file`.",
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

fn set_listen(c: &mut ServerConfig, texts: &[&str]) -> Result<(), Refusal> {
    c.listen = door::listens(texts)?;
    match c.listen.is_empty() {
        true => Err(Refusal::new("must name an address, such as \"127.0.0.1:8700\"")),
        false => Ok(()),
    }
}

fn set_admin_listen(c: &mut ServerConfig, texts: &[&str]) -> Result<(), Refusal> {
    c.admin_listen = door::listens(texts)?;
    Ok(())
}

fn set_socket_mode(c: &mut ServerConfig, text: &str) -> Result<(), Refusal> {
    c.socket_mode = door::mode(text)?;
    Ok(())
}

fn set_trusted_proxies(c: &mut ServerConfig, texts: &[&str]) -> Result<(), Refusal> {
    c.trusted_proxies = door::networks(texts)?;
    Ok(())
}

fn set_cors_origins(c: &mut ServerConfig, texts: &[&str]) -> Result<(), Refusal> {
    c.cors_origins = door::origins(texts)?;
    Ok(())
}

/// All of them as text.
fn shown(all: &[impl ToString]) -> Vec<String> {
    all.iter().map(ToString::to_string).collect()
}

fn set_client_key(c: &mut ServerConfig, name: &str) {
    c.clients.identify = ClientIdentity::called(name);
}

fn set_client_header(c: &mut ServerConfig, text: &str) -> Result<(), Refusal> {
    let name = text.trim();
    // RFC 9110, 5.6.2: a token.
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(is_token) {
        return Err(Refusal::new(format!(
            "must be the name of a header, such as \"X-Client-Id\", is {}",
            quote(text)
        )));
    }
    c.clients.header = name.to_owned();
    Ok(())
}

fn show_webhooks_allow(c: &ServerConfig) -> Option<String> {
    let networks: Vec<String> = c.webhooks.allow.iter().map(ToString::to_string).collect();
    (!networks.is_empty()).then(|| networks.join(", "))
}

fn set_webhooks_allow(c: &mut ServerConfig, text: &str) -> Result<(), Refusal> {
    let network = |word: &str| {
        let alone = || word.parse::<IpAddr>().map(IpNet::from);
        word.parse::<IpNet>().or_else(|_| alone()).map_err(|_| {
            Refusal::new(format!(
                "{} is not a network; write 10.0.0.0/8, fd00::/8 or an address such as 10.1.2.3",
                quote(word)
            ))
        })
    };
    let words = text.split([',', ' ']).filter(|word| !word.is_empty());
    c.webhooks.allow = words.map(network).collect::<Result<_, _>>()?;
    Ok(())
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
