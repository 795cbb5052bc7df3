//! The address of a Redis, or of the sentinels that know which Redis it is, read as Celery reads one. Pure.
//!
//! `sentinel://:PASSWORD@HOST:26379/DB;sentinel://OTHER:26379`: the sentinels, and the password and the database of the Redis behind them. What
//! Celery takes from `broker_transport_options` is behind a `?` here. What is said of a mistake repeats nothing of the address: it may hold a
//! password.

use cresset_config::ServiceUrl;
use percent_encoding::percent_decode_str;
use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, RedisConnectionInfo};
use url::Url;

use crate::options::StartError;

/// Where a sentinel listens that names no port.
const SENTINEL_PORT: u16 = 26379;
/// Sentinels of one address: five are many.
const SENTINELS_MAX: usize = 16;
const OPTIONS: &str = "`master_name`, `sentinel_username`, `sentinel_password`, `ssl` and `sentinel_ssl`";

/// Where a Redis is.
pub(super) enum Address {
    /// Here.
    One(Box<Client>),
    /// Where sentinels say.
    Watched(Box<Watched>),
}

/// A master that sentinels watch.
pub(super) struct Watched {
    /// Its name.
    pub(super) master: String,
    pub(super) sentinels: Vec<Sentinel>,
    /// As whom it is used, and which database of it.
    redis: RedisConnectionInfo,
    is_secure: bool,
}

/// One of the sentinels.
pub(super) struct Sentinel {
    /// Its place, for people.
    pub(super) name: String,
    pub(super) client: Client,
}

impl Watched {
    /// The server that is at this place.
    pub(super) fn client(&self, host: &str, port: u16) -> redis::RedisResult<Client> {
        let info = address(host, port, self.is_secure).into_connection_info()?;
        Client::open(info.set_redis_settings(self.redis.clone()))
    }

    pub(super) fn db(&self) -> i64 {
        self.redis.db()
    }
}

/// Reads an address. `master`: what the settings call the master, for an address that does not say it.
pub(super) fn read(
    setting: &'static str,
    url: &ServiceUrl,
    master: Option<&str>,
) -> Result<Address, StartError> {
    let read = match url.scheme() {
        "sentinel" => watched(url, master).map(|watched| Address::Watched(Box::new(watched))),
        _ => one(url).map(|client| Address::One(Box::new(client))),
    };
    let address = read.map_err(|why| StartError::Url {
        setting,
        url: url.to_string(),
        why,
    })?;
    let is_secure = match &address {
        Address::One(_) => url.scheme() == "rediss",
        Address::Watched(watched) => {
            watched.is_secure || watched.sentinels.iter().any(|one| is_tls(&one.client))
        }
    };
    if is_secure {
        // Only the first call has an effect; another one in this process has set the same.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
    Ok(address)
}

fn is_tls(client: &Client) -> bool {
    matches!(client.get_connection_info().addr(), ConnectionAddr::TcpTls { .. })
}

fn one(url: &ServiceUrl) -> Result<Client, String> {
    let (address, query) = url.reveal().split_once('?').unwrap_or((url.reveal(), ""));
    for option in query.split('&').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("ssl_cert_reqs", word)) => verifies(word)?,
            _ => return Err("it has an option that is not known here".into()),
        }
    }
    // The error may repeat the address, password and all.
    Client::open(address).map_err(|error| format!("it is not an address of Redis ({:?})", error.kind()))
}

fn verifies(word: &str) -> Result<(), String> {
    match word {
        "required" | "CERT_REQUIRED" => Ok(()),
        _ => Err("TLS without checking the server's certificate is not offered".into()),
    }
}

fn address(host: &str, port: u16, is_secure: bool) -> ConnectionAddr {
    let host = host.to_owned();
    match is_secure {
        true => ConnectionAddr::TcpTls {
            host,
            port,
            insecure: false,
            tls_params: None,
        },
        false => ConnectionAddr::Tcp(host, port),
    }
}

/// What may stand in each of several addresses, and must be the same wherever it stands.
#[derive(Default)]
struct Said {
    master: Option<String>,
    username: Option<String>,
    password: Option<String>,
    is_secure: Option<String>,
    are_secure: Option<String>,
}

impl Said {
    fn option(&mut self, name: &str, value: &str) -> Result<(), String> {
        let slot = match name {
            "master_name" => &mut self.master,
            "sentinel_username" => &mut self.username,
            "sentinel_password" => &mut self.password,
            "ssl" => &mut self.is_secure,
            "sentinel_ssl" => &mut self.are_secure,
            "ssl_cert_reqs" => return verifies(value),
            _ => {
                return Err(format!(
                    "it has an option that is not known here; known are {OPTIONS}"
                ));
            }
        };
        match slot {
            Some(known) if known != value => Err(format!("its `{name}` is said twice, and differs")),
            _ => {
                *slot = Some(value.to_owned());
                Ok(())
            }
        }
    }
}

fn watched(url: &ServiceUrl, master: Option<&str>) -> Result<Watched, String> {
    let addresses = url.addresses();
    if addresses.len() > SENTINELS_MAX {
        return Err(format!("it must be at most {SENTINELS_MAX} sentinels"));
    }
    let (mut said, mut places, mut first) = (Said::default(), Vec::new(), None);
    for text in addresses {
        let url = Url::parse(text).map_err(|error| format!("an address of it is no URL ({error})"))?;
        if url.host_str().is_some_and(|host| host.contains(';')) {
            return Err("each of its addresses must begin with `sentinel://`".into());
        }
        for (name, value) in url.query_pairs() {
            said.option(&name, &value)?;
        }
        places.push((host(&url)?, url.port().unwrap_or(SENTINEL_PORT)));
        let redis = behind(&url)?;
        match &first {
            None => first = Some(redis),
            Some(first) if redis == Behind::default() || redis == *first => {}
            Some(_) => {
                return Err(
                    "user, password and database are those of its first address, with Celery too, and another one says other ones".into(),
                );
            }
        }
    }
    let Behind { user, password, db } = first.unwrap_or_default();
    let master = said
        .master
        .or_else(|| master.map(str::to_owned))
        .filter(|name| !name.is_empty());
    let master = master.ok_or(
        "it does not say which master the sentinels are to be asked for: `?master_name=mymaster` behind it, or celery.master_name",
    )?;
    let are_secure = switch("sentinel_ssl", said.are_secure.as_deref())?;
    let own = login(
        RedisConnectionInfo::default(),
        said.username.as_deref(),
        said.password.as_deref(),
    );
    let sentinel = |(host, port): (String, u16)| {
        let info = address(&host, port, are_secure).into_connection_info();
        let client = info.and_then(|info: ConnectionInfo| Client::open(info.set_redis_settings(own.clone())));
        let client =
            client.map_err(|error| format!("a sentinel's address cannot be used ({:?})", error.kind()))?;
        let name = match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        Ok::<_, String>(Sentinel { name, client })
    };
    let redis = login(
        RedisConnectionInfo::default().set_db(db),
        user.as_deref(),
        password.as_deref(),
    );
    Ok(Watched {
        master,
        sentinels: places.into_iter().map(sentinel).collect::<Result<_, _>>()?,
        redis,
        is_secure: switch("ssl", said.is_secure.as_deref())?,
    })
}

/// The Redis behind the sentinels.
#[derive(Default, PartialEq)]
struct Behind {
    user: Option<String>,
    password: Option<String>,
    db: i64,
}

fn behind(url: &Url) -> Result<Behind, String> {
    let db = match url.path().trim_matches('/') {
        "" => 0,
        path => path
            .parse()
            .ok()
            .filter(|db| *db >= 0)
            .ok_or("its database must be a number, as in `sentinel://HOST:26379/0`")?,
    };
    let user = Some(url.username()).filter(|name| !name.is_empty());
    Ok(Behind {
        user: user.map(decode).transpose()?,
        password: url.password().map(decode).transpose()?,
        db,
    })
}

fn host(url: &Url) -> Result<String, String> {
    match url.host_str() {
        None | Some("") => Ok("127.0.0.1".into()),
        Some(host) => decode(host.trim_start_matches('[').trim_end_matches(']')),
    }
}

fn decode(text: &str) -> Result<String, String> {
    let decoded = percent_decode_str(text).decode_utf8();
    decoded
        .map(|text| text.into_owned())
        .map_err(|_| "its host, name or password is not UTF-8 behind the `%`".into())
}

fn switch(name: &str, said: Option<&str>) -> Result<bool, String> {
    match said {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(_) => Err(format!("its `{name}` must be `true` or `false`")),
    }
}

fn login(info: RedisConnectionInfo, user: Option<&str>, password: Option<&str>) -> RedisConnectionInfo {
    let info = match user {
        Some(user) => info.set_username(user),
        None => info,
    };
    match password {
        Some(password) => info.set_password(password),
        None => info,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn celery(url: &str) -> ServiceUrl {
        ServiceUrl::new(url)
    }

    fn names(url: &str) -> (Watched, Vec<String>) {
        let watched = watched(&celery(url), None).unwrap();
        let names = watched.sentinels.iter().map(|one| one.name.clone()).collect();
        (watched, names)
    }

    #[test]
    fn sentinels_are_read_as_celery_writes_them() {
        let (one, names_of) = names(
            "sentinel://me:p%40@a:26380/2;sentinel://b;sentinel://[::1]:1/?master_name=mymaster&sentinel_password=own&ssl=true",
        );
        assert_eq!(
            (one.master.as_str(), names_of),
            (
                "mymaster",
                vec!["a:26380".into(), "b:26379".into(), "[::1]:1".into()]
            )
        );
        let redis = one.client("m", 7).unwrap();
        let info = redis.get_connection_info();
        let settings = info.redis_settings();
        assert_eq!(
            (settings.username(), settings.password(), settings.db()),
            (Some("me"), Some("p@"), 2)
        );
        assert!(is_tls(&redis), "the server is spoken to in TLS");
        let sentinel = one.sentinels[0].client.get_connection_info();
        assert_eq!(
            (
                sentinel.redis_settings().username(),
                sentinel.redis_settings().password()
            ),
            (None, Some("own"))
        );
        assert!(!is_tls(&one.sentinels[0].client));
        let again = watched(&celery("sentinel://:p@a/1;sentinel://:p@b/1"), Some("theirs")).unwrap();
        assert_eq!((again.master.as_str(), again.db()), ("theirs", 1));
        let nearest = watched(&celery("sentinel://a?master_name=x"), Some("theirs")).unwrap();
        assert_eq!(nearest.master, "x", "the address says it better");
    }

    #[test]
    fn a_mistake_is_named_and_no_password_repeated() {
        for (text, what) in [
            ("sentinel://:secret@a/0", "which master"),
            ("sentinel://:secret@a/0?master_name=", "which master"),
            ("sentinel://:secret@a/x?master_name=m", "must be a number"),
            (
                "sentinel://a/0;sentinel://:secret@b/0?master_name=m",
                "first address",
            ),
            ("sentinel://a/0;sentinel://b/1?master_name=m", "first address"),
            (
                "sentinel://:secret@a;b/0?master_name=m",
                "begin with `sentinel://`",
            ),
            ("sentinel://:secret@a:port/0?master_name=m", "no URL"),
            ("sentinel://:secret@a/0?master=m", "`master_name`"),
            (
                "sentinel://a/0?master_name=m;sentinel://b/0?master_name=n",
                "differs",
            ),
            (
                "sentinel://:secret@a/0?master_name=m&ssl=maybe",
                "`true` or `false`",
            ),
            (
                "sentinel://:secret@a/0?master_name=m&ssl_cert_reqs=none",
                "certificate",
            ),
        ] {
            let why = watched(&celery(text), None).err().unwrap();
            assert!(why.contains(what) && !why.contains("secret"), "{text}: {why}");
        }
        let many = format!("sentinel://a{}", ";sentinel://b".repeat(SENTINELS_MAX));
        assert!(watched(&celery(&many), Some("m")).err().unwrap().contains("16"));
    }

    #[test]
    fn one_server_is_read_as_it_was() {
        assert_eq!(
            one(&celery("redis://h:7/3"))
                .unwrap()
                .get_connection_info()
                .redis_settings()
                .db(),
            3
        );
        for (text, what) in [
            ("redis://:secret@h?x=1", "option"),
            ("rediss://:secret@h?ssl_cert_reqs=none", "certificate"),
        ] {
            let why = one(&celery(text)).err().unwrap();
            assert!(why.contains(what) && !why.contains("secret"), "{text}: {why}");
        }
    }
}
