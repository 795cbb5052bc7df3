//! Which tables in which database: what the address of a result backend says, in SQLAlchemy's form. What is wrong with it is told without
//! the password.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config as PostgresConfig;
use tokio_postgres::config::SslMode;
use url::Url;

use super::mysql;
use super::postgres::{CONNECT_LIMIT, Tls};

/// What a URL may say behind the `?`; some of it is the drivers' of Python's and means nothing here.
const POSTGRES_OPTIONS: &str =
    "sslmode, sslrootcert, host, user, application_name, client_encoding, connect_timeout";

const MYSQL_OPTIONS: &str = "unix_socket, ssl, ssl_ca, charset, connect_timeout";

/// Whose tables.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Layout {
    Celery,
    Django,
}

/// Which database.
pub(super) enum Engine {
    Postgres(Box<PostgresConfig>, Tls),
    Mysql(Box<mysql::Target>),
    Sqlite(PathBuf),
}

/// Both.
pub(super) struct Address {
    pub(super) layout: Layout,
    pub(super) engine: Engine,
}

impl Address {
    /// Reads `db+postgresql+psycopg2://user:password@host/database` and the like; the driver is Python's business.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (layout, rest) = text.split_once('+').unwrap_or(("", text));
        let layout = match layout {
            "django-db" => Layout::Django,
            _ => Layout::Celery,
        };
        let (scheme, place) = rest.split_once("://").unwrap_or((rest, ""));
        let dialect = scheme.split('+').next().unwrap_or_default();
        let engine = match dialect {
            "postgresql" => postgres(place)?,
            "mysql" | "mariadb" => mysql(place)?,
            "sqlite" => sqlite(place)?,
            other => return Err(format!("{other:?} is no database that is known here")),
        };
        Ok(Self { layout, engine })
    }
}

fn decoded(text: &str, what: &str) -> Result<String, String> {
    let text = percent_decode_str(text).decode_utf8();
    text.map(|text| text.into_owned())
        .map_err(|_| format!("{what} in it is not UTF-8"))
}

/// The parts that servers are told by.
struct Place {
    url: Url,
    user: String,
    password: Option<String>,
    host: String,
    database: String,
}

impl Place {
    fn parse(place: &str) -> Result<Self, String> {
        // The name of a scheme that has a host is all that `Url` needs to know.
        let url = Url::parse(&format!("db://{place}"));
        let url = url.map_err(|error| {
            format!("it is no URL ({error}); special characters of a password are written as %XX")
        })?;
        let database = decoded(url.path().trim_start_matches('/'), "the database")?;
        if database.is_empty() || database.contains('/') {
            return Err("it names no database; the form is ...://user:password@host/database".into());
        }
        let password = url
            .password()
            .map(|text| decoded(text, "the password"))
            .transpose()?;
        let host = decoded(url.host_str().unwrap_or_default(), "the host")?;
        Ok(Self {
            user: decoded(url.username(), "the user")?,
            password,
            host: host.trim_matches(['[', ']']).to_owned(),
            database,
            url,
        })
    }
}

fn postgres(place: &str) -> Result<Engine, String> {
    let mut place = Place::parse(place)?;
    let mut config = PostgresConfig::new();
    let (mut mode, mut roots) = (None, None);
    config.application_name("cresset");
    for (name, value) in place.url.query_pairs() {
        match &*name {
            "host" => place.host = value.into_owned(),
            "user" => place.user = value.into_owned(),
            "application_name" => drop(config.application_name(&*value)),
            "sslmode" => mode = Some(value.into_owned()),
            "sslrootcert" => roots = Some(PathBuf::from(&*value)),
            "client_encoding" | "connect_timeout" => {}
            _ => {
                return Err(format!(
                    "it has the option {name:?}; known are {POSTGRES_OPTIONS}"
                ));
            }
        }
    }
    if place.host.is_empty() || place.user.is_empty() {
        return Err(
            "it must name a host and a user; a folder with a socket is given as db+postgresql:///database?host=/run/postgresql&user=NAME"
                .into(),
        );
    }
    let is_near =
        place.host.starts_with('/') || matches!(place.host.as_str(), "localhost" | "127.0.0.1" | "::1");
    let wire = match mode.as_deref() {
        Some("disable") => SslMode::Disable,
        Some("require" | "verify-ca" | "verify-full") => SslMode::Require,
        Some("allow" | "prefer") | None if is_near && roots.is_none() => SslMode::Disable,
        Some("allow" | "prefer") | None => SslMode::Prefer,
        Some(other) => {
            return Err(format!(
                "sslmode is {other:?}; it is one of disable, prefer, require, verify-ca, verify-full"
            ));
        }
    };
    config
        .user(&place.user)
        .dbname(&place.database)
        .host(&place.host)
        .port(place.url.port().unwrap_or(5432))
        .connect_timeout(CONNECT_LIMIT)
        .ssl_mode(wire);
    if let Some(password) = place.password {
        config.password(password);
    }
    let tls = match wire {
        SslMode::Disable => Tls::Off,
        _ => Tls::On { roots },
    };
    Ok(Engine::Postgres(Box::new(config), tls))
}

fn mysql(place: &str) -> Result<Engine, String> {
    let place = Place::parse(place)?;
    let (mut socket, mut tls) = (None, None);
    for (name, value) in place.url.query_pairs() {
        match &*name {
            "unix_socket" => socket = Some(value.into_owned()),
            "ssl" if matches!(&*value, "true" | "1") => tls = tls.or(Some(None)),
            "ssl_ca" => tls = Some(Some(PathBuf::from(&*value))),
            "charset" | "connect_timeout" => {}
            _ => {
                return Err(format!(
                    "it has the option {name:?}, or a value of it, which is not known; known are {MYSQL_OPTIONS}"
                ));
            }
        }
    }
    if place.user.is_empty() || (place.host.is_empty() && socket.is_none()) {
        return Err(
            "it must name a host and a user; a socket is given as db+mysql://user@localhost/database?unix_socket=/run/mysqld/mysqld.sock"
                .into(),
        );
    }
    Ok(Engine::Mysql(Box::new(mysql::Target {
        port: place.url.port().unwrap_or(3306),
        host: place.host,
        user: place.user,
        password: place.password,
        database: place.database,
        socket,
        tls,
    })))
}

/// `sqlite:///beside.db`, and `sqlite:////from/the/root.db`.
fn sqlite(place: &str) -> Result<Engine, String> {
    let (path, options) = place.split_once('?').unwrap_or((place, ""));
    match path.strip_prefix('/') {
        _ if !options.is_empty() => Err("an address of SQLite has no options here".into()),
        Some(path) if !path.is_empty() && path != ":memory:" => Ok(Engine::Sqlite(PathBuf::from(path))),
        _ => Err(
            "it names no file; the form is db+sqlite:///beside.db, or db+sqlite:////from/the/root.db".into(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Layout, PostgresConfig, Tls) {
        let Address { layout, engine } = Address::parse(text).unwrap();
        let Engine::Postgres(config, tls) = engine else {
            panic!("{text} is not PostgreSQL's");
        };
        (layout, *config, tls)
    }

    #[test]
    fn addresses_are_read_as_sqlalchemy_writes_them() {
        let (layout, config, tls) =
            read("db+postgresql+psycopg2://web:p%40ss@db.example:6432/app?client_encoding=utf8");
        assert_eq!(layout, Layout::Celery);
        assert_eq!(config.get_password(), Some(&b"p@ss"[..]));
        assert_eq!(
            (config.get_user(), config.get_dbname()),
            (Some("web"), Some("app"))
        );
        assert_eq!(config.get_ports(), [6432]);
        // Whoever is far away is checked, if it speaks TLS at all.
        assert_eq!(
            (config.get_ssl_mode(), tls),
            (SslMode::Prefer, Tls::On { roots: None })
        );
        let (layout, config, tls) = read("django-db+postgresql:///app?host=/run/postgresql&user=web");
        assert_eq!((layout, tls), (Layout::Django, Tls::Off));
        assert_eq!(config.get_ssl_mode(), SslMode::Disable);
        let engine = |text| Address::parse(text).unwrap().engine;
        let Engine::Mysql(target) = engine("db+mysql+pymysql://web:p%40ss@db/app?charset=utf8mb4&ssl=true")
        else {
            panic!("not MySQL's");
        };
        assert_eq!((target.port, target.password.as_deref()), (3306, Some("p@ss")));
        assert_eq!(target.tls, Some(None));
        assert!(
            matches!(engine("db+sqlite:///a/b.db"), Engine::Sqlite(path) if path.as_os_str() == "a/b.db")
        );
        assert!(
            matches!(engine("django-db+sqlite:////b.db"), Engine::Sqlite(path) if path.as_os_str() == "/b.db")
        );
    }

    #[test]
    fn what_is_wrong_is_said_and_the_password_is_not() {
        for (text, says) in [
            ("db+oracle://web:secret@db/app", "oracle"),
            ("db+postgresql://web:secret@db", "no database"),
            ("db+postgresql://web:secret@db/app?pool=3", "known are"),
            (
                "db+postgresql://web:secret@db/app?sslmode=maybe",
                "one of disable",
            ),
            ("db+postgresql:///app", "a host and a user"),
            ("db+mysql://web:secret@db/app?ssl=maybe", "known are"),
            ("db+mysql://db/app", "a host and a user"),
            ("db+sqlite://", "no file"),
            ("db+sqlite:///:memory:", "no file"),
            ("db+postgresql://web:sec ret@db:x/app", "no URL"),
        ] {
            let said = Address::parse(text).err().unwrap();
            assert!(said.contains(says), "{text}: {said}");
            assert!(!said.contains("sec"), "{said}");
        }
    }
}
