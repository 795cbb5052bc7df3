//! Which database: what a URL says, with a clear word for whatever is wrong with it, and never the password.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::SslMode as Wire;
use url::Url;

/// The schema unless the URL names another one.
const SCHEMA_DEFAULT: &str = "cresset";
/// As many bytes as PostgreSQL keeps of a name.
const NAME_MAX: usize = 63;
/// A connection that cannot be had in this time cannot be had now.
pub(crate) const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// A connection on which nothing came for so long is asked whether it still is there, by us and by the database.
pub(crate) const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
pub(crate) const KEEPALIVE_EVERY: Duration = Duration::from_secs(3);
pub(crate) const KEEPALIVE_TIMES: u32 = 3;
/// What was sent and is not acknowledged for so long ends the connection.
pub(crate) const UNHEARD_LIMIT: Duration = Duration::from_secs(20);

/// What a URL may say behind the `?`.
const PARAMETERS: &str = "sslmode, sslrootcert, schema, host, user, application_name";

/// How a connection is protected, by libpq's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SslMode {
    /// In the clear.
    Disable,
    /// In TLS if the server has it; whom it belongs to is not asked.
    #[default]
    Prefer,
    /// In TLS; whom it belongs to is not asked.
    Require,
    /// In TLS, with a certificate for the server's name from somebody who is trusted.
    VerifyFull,
}

/// A database, and a schema in it.
#[derive(Clone)]
pub struct Target {
    pub(crate) config: Config,
    pub(crate) schema: String,
    pub(crate) ssl: SslMode,
    pub(crate) roots: Option<PathBuf>,
    shown: String,
}

/// What is wrong with a URL, and what would be right. Never has the password in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadTarget(String);

impl fmt::Display for BadTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for BadTarget {}

fn bad<T>(text: impl Into<String>) -> Result<T, BadTarget> {
    Err(BadTarget(text.into()))
}

impl Target {
    /// Reads `postgresql://user:password@host:port/database?sslmode=...&schema=...`.
    ///
    /// # Errors
    ///
    /// Says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, BadTarget> {
        let Ok(url) = Url::parse(text) else {
            return bad("it is no URL; the form is postgresql://user:password@host:port/database");
        };
        if !matches!(url.scheme(), "postgresql" | "postgres") {
            return bad(format!(
                "it begins with {:?}, not with postgresql://",
                url.scheme()
            ));
        }
        let mut target = Self {
            config: Config::new(),
            schema: SCHEMA_DEFAULT.to_owned(),
            ssl: SslMode::default(),
            roots: None,
            shown: String::new(),
        };
        let config = &mut target.config;
        let mut user = decoded(url.username(), "the user")?;
        if let Some(password) = url.password() {
            config.password(decoded(password, "the password")?);
        }
        let database = decoded(url.path().trim_start_matches('/'), "the database")?;
        if database.is_empty() || database.contains('/') {
            return bad("it names no database; the form is postgresql://user:password@host:port/database");
        }
        config.dbname(&database);
        config.application_name("cresset");
        config.port(url.port().unwrap_or(5432));
        let mut host = decoded(url.host_str().unwrap_or_default(), "the host")?;
        for (name, value) in url.query_pairs() {
            match &*name {
                "host" => host = value.into_owned(),
                "user" => user = value.into_owned(),
                "schema" => target.schema = schema_named(&value)?,
                "application_name" => drop(target.config.application_name(&*value)),
                "sslmode" => target.ssl = ssl_mode(&value)?,
                "sslrootcert" => target.roots = Some(PathBuf::from(&*value)),
                _ => return bad(format!("it has the parameter {name:?}; known are {PARAMETERS}")),
            }
        }
        if user.is_empty() {
            return bad("it names no user; the form is postgresql://user:password@host:port/database");
        }
        if host.is_empty() {
            return bad(
                "it names no host; a folder with a socket is given as postgresql:///database?host=/run/postgresql&user=NAME",
            );
        }
        if target.roots.is_some() && target.ssl != SslMode::VerifyFull {
            return bad(
                "sslrootcert is for sslmode=verify-full; the other modes ask nobody whom a certificate belongs to",
            );
        }
        target.config.user(&user);
        target
            .config
            .host(host.trim_start_matches('[').trim_end_matches(']'));
        target.finish();
        target.shown = shown(&url, &user, &host, &database, &target.schema);
        Ok(target)
    }

    fn finish(&mut self) {
        self.config
            .ssl_mode(match self.ssl {
                SslMode::Disable => Wire::Disable,
                SslMode::Prefer => Wire::Prefer,
                SslMode::Require | SslMode::VerifyFull => Wire::Require,
            })
            .connect_timeout(CONNECT_LIMIT)
            .keepalives_idle(KEEPALIVE_IDLE)
            .keepalives_interval(KEEPALIVE_EVERY)
            .keepalives_retries(KEEPALIVE_TIMES)
            .tcp_user_timeout(UNHEARD_LIMIT);
    }

    /// The schema in which everything is.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// The same database with another schema.
    ///
    /// # Errors
    ///
    /// When it is no name for one.
    pub fn with_schema(mut self, schema: &str) -> Result<Self, BadTarget> {
        let before = std::mem::replace(&mut self.schema, schema_named(schema)?);
        self.shown = self
            .shown
            .replace(&format!("schema {before}"), &format!("schema {schema}"));
        Ok(self)
    }
}

fn decoded(text: &str, what: &str) -> Result<String, BadTarget> {
    let text = percent_decode_str(text)
        .decode_utf8()
        .map_err(|_| BadTarget(format!("{what} in it is not UTF-8")))?;
    if text.contains('\0') {
        return bad(format!("{what} in it has a NUL"));
    }
    Ok(text.into_owned())
}

fn schema_named(name: &str) -> Result<String, BadTarget> {
    let is_plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let begins = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    if begins && name.len() <= NAME_MAX && name.chars().all(is_plain) && !name.starts_with("pg_") {
        return Ok(name.to_owned());
    }
    bad(format!(
        "the schema {name:?} is no plain name: a to z, 0 to 9 and _, at most {NAME_MAX}, and not pg_..."
    ))
}

fn ssl_mode(name: &str) -> Result<SslMode, BadTarget> {
    Ok(match name {
        "disable" => SslMode::Disable,
        "prefer" => SslMode::Prefer,
        "require" => SslMode::Require,
        "verify-full" => SslMode::VerifyFull,
        _ => {
            return bad(format!(
                "sslmode is {name:?}; it is one of disable, prefer, require, verify-full"
            ));
        }
    })
}

fn shown(url: &Url, user: &str, host: &str, database: &str, schema: &str) -> String {
    let port = url.port().unwrap_or(5432);
    format!("postgresql://{user}@{host}:{port}/{database} (schema {schema})")
}

/// For people and logs: without the password.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({})", self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_and_shown_without_its_password() {
        let text = "postgresql://web:p%40ss@db.example:6432/tasks?sslmode=require&schema=blue";
        let target = Target::parse(text).unwrap();
        assert_eq!(
            target.to_string(),
            "postgresql://web@db.example:6432/tasks (schema blue)"
        );
        assert_eq!(target.config.get_password(), Some(&b"p@ss"[..]));
        assert_eq!((target.ssl, target.schema()), (SslMode::Require, "blue"));
        assert!(!format!("{target:?}").contains("p@ss"));
        let socket = Target::parse("postgresql:///tasks?host=/run/postgresql&user=web").unwrap();
        assert_eq!(
            socket.to_string(),
            "postgresql://web@/run/postgresql:5432/tasks (schema cresset)"
        );
    }

    #[test]
    fn what_is_wrong_is_said_and_the_password_is_not() {
        for (text, says) in [
            ("mysql://web:secret@db/tasks", "not with postgresql://"),
            ("postgresql://db/tasks", "no user"),
            ("postgresql://web:secret@db", "no database"),
            ("postgresql://web:secret@db/tasks?sslmode=yes", "one of disable"),
            ("postgresql://web:secret@db/tasks?schema=A", "no plain name"),
            ("postgresql://web:secret@db/tasks?schema=pg_x", "no plain name"),
            ("postgresql://web:secret@db/tasks?pool=3", "known are"),
            ("postgresql://web:secret@db/tasks?sslrootcert=/ca", "verify-full"),
            ("postgresql:///tasks?user=web", "no host"),
            ("postgresql://web:secret@/tasks", "no URL"),
            ("postgresql://web:secret@db:x/tasks", "no URL"),
        ] {
            let said = Target::parse(text).unwrap_err().to_string();
            assert!(said.contains(says), "{text}: {said}");
            assert!(!said.contains("secret"), "{said}");
        }
    }
}
