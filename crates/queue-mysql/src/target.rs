//! Which database: what a URL says, with a clear word for whatever is wrong with it, and never the password.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use mysql_async::{Opts, OptsBuilder, SslOpts};
use percent_encoding::percent_decode_str;
use url::Url;

use crate::error::StoreError;

/// A connection that cannot be had in this time cannot be had now.
pub(crate) const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// A connection on which nothing came for so long is asked whether it still is there.
const KEEPALIVE: Duration = Duration::from_secs(10);
const PORT: u16 = 3306;
/// Statements that are kept prepared: those that bring large payloads.
const STATEMENTS_KEPT: usize = 8;

/// What a URL may say behind the `?`.
const PARAMETERS: &str = "sslmode, sslrootcert, socket, user";
const FORM: &str = "the form is mysql://user:password@host:port/database";

/// How a connection is protected.
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

/// A database.
#[derive(Clone)]
pub struct Target {
    host: String,
    port: u16,
    user: String,
    password: Option<String>,
    database: String,
    socket: Option<String>,
    roots: Option<PathBuf>,
    pub(crate) ssl: SslMode,
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
    /// Reads `mysql://user:password@host:port/database?sslmode=...`; `mariadb://` is the same.
    ///
    /// # Errors
    ///
    /// Says which part is wrong.
    pub fn parse(text: &str) -> Result<Self, BadTarget> {
        let Ok(url) = Url::parse(text) else {
            return bad(format!("it is no URL; {FORM}"));
        };
        if !matches!(url.scheme(), "mysql" | "mariadb") {
            return bad(format!("it begins with {:?}, not with mysql://", url.scheme()));
        }
        let database = decoded(url.path().trim_start_matches('/'), "the database")?;
        if database.is_empty() || database.contains('/') {
            return bad(format!("it names no database; {FORM}"));
        }
        let password = url.password().map(|text| decoded(text, "the password"));
        let host = decoded(url.host_str().unwrap_or_default(), "the host")?;
        let mut target = Self {
            host: host.trim_matches(['[', ']']).to_owned(),
            port: url.port().unwrap_or(PORT),
            user: decoded(url.username(), "the user")?,
            password: password.transpose()?,
            database,
            socket: None,
            roots: None,
            ssl: SslMode::default(),
        };
        for (name, value) in url.query_pairs() {
            match &*name {
                "socket" => target.socket = Some(value.into_owned()),
                "user" => target.user = value.into_owned(),
                "sslmode" => target.ssl = ssl_mode(&value)?,
                "sslrootcert" => target.roots = Some(PathBuf::from(&*value)),
                _ => return bad(format!("it has the parameter {name:?}; known are {PARAMETERS}")),
            }
        }
        target.checked()
    }

    fn checked(self) -> Result<Self, BadTarget> {
        if self.user.is_empty() {
            return bad(format!("it names no user; {FORM}"));
        }
        if self.host.is_empty() && self.socket.is_none() {
            return bad(
                "it names no host; a socket is given as mysql:///database?socket=/run/mysqld/mysqld.sock&user=NAME",
            );
        }
        if self.roots.is_some() && self.ssl != SslMode::VerifyFull {
            return bad(
                "sslrootcert is for sslmode=verify-full; the other modes ask nobody whom a certificate belongs to",
            );
        }
        Ok(self)
    }

    /// How to connect.
    pub(crate) fn options(&self, ssl: SslMode) -> Result<Opts, StoreError> {
        let tls = match ssl {
            _ if self.socket.is_some() => None,
            SslMode::Disable => None,
            SslMode::Prefer | SslMode::Require => Some(
                SslOpts::default()
                    .with_danger_accept_invalid_certs(true)
                    .with_danger_skip_domain_validation(true),
            ),
            SslMode::VerifyFull => Some(self.verified()?),
        };
        let host = if self.host.is_empty() {
            "localhost"
        } else {
            &self.host
        };
        let options = OptsBuilder::default()
            .ip_or_hostname(host)
            .tcp_port(self.port)
            .user(Some(&self.user))
            .pass(self.password.as_ref())
            .db_name(Some(&self.database))
            .prefer_socket(self.socket.is_some())
            .socket(self.socket.as_ref())
            .ssl_opts(tls)
            .tcp_keepalive(Some(KEEPALIVE))
            .tcp_nodelay(true)
            .client_found_rows(true)
            .stmt_cache_size(STATEMENTS_KEPT);
        Ok(options.into())
    }

    /// Trusts whom the file names, or whom this machine trusts.
    fn verified(&self) -> Result<SslOpts, StoreError> {
        let roots = match &self.roots {
            Some(path) => {
                let pem = std::fs::read(path);
                let pem =
                    pem.map_err(|e| StoreError::Unfit(format!("sslrootcert {}: {e}", path.display())))?;
                vec![pem.into()]
            }
            None => {
                let trusted = rustls_native_certs::load_native_certs().certs;
                trusted.into_iter().map(|one| one.to_vec().into()).collect()
            }
        };
        if roots.is_empty() {
            return Err(StoreError::Unfit(
                "sslmode=verify-full, but this machine trusts nobody: install ca-certificates, or name sslrootcert".into(),
            ));
        }
        Ok(SslOpts::default()
            .with_disable_built_in_roots(true)
            .with_root_certs(roots))
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

/// For people and logs: without the password.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.socket {
            Some(socket) => write!(f, "mysql://{}@{socket}/{}", self.user, self.database),
            None => write!(
                f,
                "mysql://{}@{}:{}/{}",
                self.user, self.host, self.port, self.database
            ),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_read_and_shown_without_its_password() {
        let target = Target::parse("mysql://web:p%40ss@db.example:3307/tasks?sslmode=require").unwrap();
        assert_eq!(target.to_string(), "mysql://web@db.example:3307/tasks");
        assert_eq!(
            (target.password.as_deref(), target.ssl),
            (Some("p@ss"), SslMode::Require)
        );
        assert!(!format!("{target:?}").contains("p@ss"));
        let socket = Target::parse("mariadb:///tasks?socket=/run/mysqld/mysqld.sock&user=web").unwrap();
        assert_eq!(socket.to_string(), "mysql://web@/run/mysqld/mysqld.sock/tasks");
    }

    #[test]
    fn what_is_wrong_is_said_and_the_password_is_not() {
        for (text, says) in [
            ("postgresql://web:secret@db/tasks", "not with mysql://"),
            ("mysql://db/tasks", "no user"),
            ("mysql://web:secret@db", "no database"),
            ("mysql://web:secret@db/tasks/more", "no database"),
            ("mysql://web:secret@db/tasks?sslmode=yes", "one of disable"),
            ("mysql://web:secret@db/tasks?pool=3", "known are"),
            ("mysql://web:secret@db/tasks?sslrootcert=/ca", "verify-full"),
            ("mysql:///tasks?user=web", "no host"),
            ("mysql://web:secret@db:x/tasks", "no URL"),
        ] {
            let said = Target::parse(text).unwrap_err().to_string();
            assert!(said.contains(says), "{text}: {said}");
            assert!(!said.contains("secret"), "{said}");
        }
    }
}
