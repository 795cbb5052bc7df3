//! Settings from their four layers, each stronger than the one before: defaults, `cresset.toml`, `CRESSET_*`, flags.
//! Every effective value keeps where it came from.
//!
//! A mistake in a layer that a stronger one overrides is reported all the same: it would bite on the day the override
//! goes. An empty variable counts as not set, because that is how service files and compose files unset one.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

use crate::door::Address;
use crate::field::{Given, Key, Refusal, Scalar};
use crate::mistake::{Mistake, Place, Position, Severity, sort};
use crate::report::Report;
use crate::server::ServerConfig;
use crate::settings::{OTHER_VARIABLES, SETTINGS, Setting};
use crate::suggest::did_you_mean;
use crate::walk::{self, Node};

/// Where an effective value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Built in.
    Default,
    /// The settings file.
    File {
        /// The file, as the caller named it.
        path: String,
        /// The line of the value.
        line: usize,
    },
    /// An environment variable.
    Env(&'static str),
    /// A flag, as the caller named it.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Env(name) => f.write_str(name),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

/// A settings file that the caller has read.
#[derive(Clone, Copy, Debug)]
pub struct SettingsFile<'a> {
    /// Its path. Messages repeat it, and relative paths inside the file are taken from its folder.
    pub path: &'a Path,
    /// Its text.
    pub text: &'a str,
}

/// A flag that was given on the command line.
#[derive(Clone, Debug)]
pub struct GivenFlag {
    /// As the user wrote it: `--listen`, `MODELS`.
    pub name: String,
    /// The setting it sets: `server.listen`.
    pub key: String,
    /// The value.
    pub value: String,
}

/// Settings and where each came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effective {
    /// The settings.
    pub config: ServerConfig,
    /// For each setting's key, where its value came from. Has every key of [`SETTINGS`].
    pub origins: BTreeMap<&'static str, Origin>,
    /// What does not stop us but should be said: unknown `CRESSET_*` variables.
    pub warnings: Vec<Mistake>,
}

/// One line of `cresset config show`.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Row {
    /// `server.listen`.
    pub key: &'static str,
    /// The value.
    pub value: Scalar,
    /// Where it came from.
    #[serde(serialize_with = "as_text")]
    pub origin: Origin,
}

fn as_text<S: serde::Serializer>(origin: &Origin, out: S) -> Result<S::Ok, S::Error> {
    out.collect_str(origin)
}

impl Effective {
    /// Resolves all layers, or gives every mistake in all of them. `env` may be the whole environment of the process.
    pub fn resolve<K, V>(
        file: Option<SettingsFile<'_>>,
        env: impl IntoIterator<Item = (K, V)>,
        flags: &[GivenFlag],
    ) -> Result<Self, Vec<Mistake>>
    where
        K: Into<OsString>,
        V: Into<OsString>,
    {
        let env: BTreeMap<OsString, OsString> = env.into_iter().map(|(k, v)| (k.into(), v.into())).collect();
        let mut config = ServerConfig::default();
        let mut origins = SETTINGS.iter().map(|s| (s.path(), Origin::Default)).collect();
        let mut mistakes = Vec::new();
        if let Some(cache) = cache_dir(&env) {
            config.cache_dir = cache;
        }
        if let Some(file) = file {
            mistakes.extend(read_file(file, &mut config, &mut origins));
        }
        let (errors, warnings) = read_env(&env, &mut config, &mut origins);
        mistakes.extend(errors);
        mistakes.extend(read_flags(flags, &mut config, &mut origins));
        mistakes.extend(together(&config, &origins));
        // Without a home folder the cache follows the data.
        if cache_dir(&env).is_none() && origins.get("server.cache_dir") == Some(&Origin::Default) {
            config.cache_dir = config.data_dir.join("cache");
        }
        if mistakes.is_empty() {
            Ok(Self {
                config,
                origins,
                warnings,
            })
        } else {
            mistakes.extend(warnings);
            sort(&mut mistakes);
            Err(mistakes)
        }
    }

    /// Every setting with its value and origin, in the order of the default file.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let row = |setting: &Setting| {
            let origin = self
                .origins
                .get(setting.path())
                .cloned()
                .unwrap_or(Origin::Default);
            Some(Row {
                key: setting.path(),
                value: setting.key.value(&self.config)?,
                origin,
            })
        };
        SETTINGS.iter().filter_map(row).collect()
    }

    /// The rows as a `cresset.toml` with each value's origin in a comment; it reads back as the same settings.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let lines: Vec<(String, String, String)> = self
            .rows()
            .into_iter()
            .map(|row| {
                let (table, name) = row.key.rsplit_once('.').unwrap_or(("", row.key));
                (
                    table.to_owned(),
                    format!("{name} = {}", row.value.to_toml()),
                    row.origin.to_string(),
                )
            })
            .collect();
        let width = lines
            .iter()
            .map(|(_, line, _)| line.chars().count())
            .max()
            .unwrap_or(0);
        let mut out = String::new();
        let mut last = None;
        for (table, line, origin) in &lines {
            if last != Some(table) {
                if last.is_some() {
                    out.push('\n');
                }
                out.push_str(&format!("[{table}]\n"));
                last = Some(table);
            }
            out.push_str(&format!("{line:width$}  # {origin}\n"));
        }
        out
    }
}

/// What is wrong with settings that are each right.
fn together(config: &ServerConfig, origins: &Origins) -> Vec<Mistake> {
    let place = |key: &str| match origins.get(key) {
        Some(Origin::File { path, line }) => Place::File {
            path: path.clone(),
            at: Some(Position {
                line: *line,
                column: 1,
            }),
        },
        Some(Origin::Env(name)) => Place::Env((*name).to_owned()),
        Some(Origin::Flag(name)) => Place::Flag(name.clone()),
        Some(Origin::Default) | None => Place::Flag(key.to_owned()),
    };
    let mistake = |key: &'static str, message: String| Mistake::at(place(key), key, message);
    let (cert, key, mut found) = ("server.tls_cert", "server.tls_key", Vec::new());
    match (&config.tls_cert, &config.tls_key) {
        (Some(_), None) => found.push(mistake(cert, format!("needs its key: set `{key}` too"))),
        (None, Some(_)) => found.push(mistake(key, format!("needs its certificate: set `{cert}` too"))),
        _ => {}
    }
    for (name, listens) in [
        ("server.listen", &config.listen),
        ("server.admin_listen", &config.admin_listen),
    ] {
        for listen in listens {
            if config.tls_cert.is_none() && listen.is_tls(false) {
                found.push(mistake(
                    name,
                    format!("`{listen}` needs a certificate: set `{cert}` and `{key}`"),
                ));
            }
        }
    }
    for admin in &config.admin_listen {
        let free = matches!(admin.at, Address::Tcp(at) if at.port() == 0);
        if !free && config.listen.iter().any(|listen| listen.at == admin.at) {
            found.push(mistake(
                "server.admin_listen",
                format!("`{admin}` is in `server.listen` too"),
            ));
        }
    }
    if config.inbox && config.inbox_tenant.is_some() && config.database().is_some() {
        let needs = "the embedded store has no inbox; set `store.url` to one in PostgreSQL, MySQL or MariaDB, or leave this out";
        found.push(mistake("store.inbox_tenant", needs.into()));
    }
    let jwt = &config.auth.jwt;
    let words = [
        ("auth.jwt_keys", jwt.keys.is_some()),
        ("auth.jwt_issuer", jwt.issuer.is_some()),
        ("auth.jwt_audience", jwt.audience.is_some()),
    ];
    if let Some((given, _)) = words.iter().find(|(_, is_there)| *is_there) {
        for (lacking, _) in words.iter().filter(|(_, is_there)| !is_there) {
            found.push(mistake(given, format!("needs `{lacking}` too")));
        }
    }
    found
}

type Origins = BTreeMap<&'static str, Origin>;

fn cache_dir(env: &BTreeMap<OsString, OsString>) -> Option<PathBuf> {
    // The base directory rules say that a relative path there is to be ignored.
    let absolute = |name: &str| {
        env.get(OsStr::new(name))
            .map(PathBuf::from)
            .filter(|p| p.is_absolute())
    };
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .map(|p| p.join("cresset"))
}

fn read_file(file: SettingsFile<'_>, config: &mut ServerConfig, origins: &mut Origins) -> Vec<Mistake> {
    let path = file.path.display().to_string();
    let base = file.path.parent().unwrap_or(Path::new(""));
    let mut report = Report::new(&path, file.text);
    if let Some(root) = walk::parse(file.text, &mut report) {
        let mut by_hand =
            |key: &Key<ServerConfig>, value: &Node<'_>, _: &mut ServerConfig, report: &mut Report<'_>| {
                report.add(
                    value.span(),
                    key.path,
                    Refusal::new("is a key that this version cannot read"),
                );
            };
        let keys = SETTINGS.iter().map(|s| &s.key);
        for (key, sight) in walk::read_root(keys, root.get_ref(), config, base, &mut report, &mut by_hand) {
            origins.insert(
                key,
                Origin::File {
                    path: path.clone(),
                    line: report.position(sight.span.start).line,
                },
            );
        }
    }
    report.finish()
}

/// Errors and warnings.
fn read_env(
    env: &BTreeMap<OsString, OsString>,
    config: &mut ServerConfig,
    origins: &mut Origins,
) -> (Vec<Mistake>, Vec<Mistake>) {
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    for (name, value) in env {
        let Some(name) = name.to_str().filter(|name| name.starts_with("CRESSET_")) else {
            continue;
        };
        let place = Place::Env(name.to_owned());
        let Some(setting) = SETTINGS.iter().find(|s| s.env == name) else {
            if !OTHER_VARIABLES.iter().any(|other| other.name == name) {
                let known = SETTINGS
                    .iter()
                    .map(|s| s.env)
                    .chain(OTHER_VARIABLES.iter().map(|o| o.name));
                let mut mistake = Mistake::at(place, "", "no such setting, so it does nothing");
                mistake.severity = Severity::Warning;
                mistake.hint = did_you_mean(name, known);
                warnings.push(mistake);
            }
            continue;
        };
        let Some(text) = value.to_str() else {
            errors.push(Mistake::at(place, setting.path(), "must be UTF-8 text"));
            continue;
        };
        if text.is_empty() {
            continue;
        }
        match setting.key.take(config, Given::Word(text), Path::new("")) {
            Ok(()) => {
                origins.insert(setting.path(), Origin::Env(setting.env));
            }
            Err(refusal) => errors.push(refused(place, setting.path(), refusal)),
        }
    }
    (errors, warnings)
}

fn read_flags(flags: &[GivenFlag], config: &mut ServerConfig, origins: &mut Origins) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for flag in flags {
        let place = Place::Flag(flag.name.clone());
        let Some(setting) = Setting::find(&flag.key) else {
            let mistake = Mistake::at(place, flag.key.as_str(), "unknown key");
            mistakes.push(Mistake {
                hint: did_you_mean(&flag.key, SETTINGS.iter().map(Setting::path)),
                ..mistake
            });
            continue;
        };
        match setting.key.take(config, Given::Word(&flag.value), Path::new("")) {
            Ok(()) => {
                origins.insert(setting.path(), Origin::Flag(flag.name.clone()));
            }
            Err(refusal) => mistakes.push(refused(place, setting.path(), refusal)),
        }
    }
    mistakes
}

fn refused(place: Place, key: &str, refusal: Refusal) -> Mistake {
    Mistake {
        hint: refusal.hint,
        ..Mistake::at(place, key, refusal.message)
    }
}
