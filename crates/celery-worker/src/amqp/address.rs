//! The broker's address, read as Celery reads one: a path of `/` or none is the virtual host `/`, and `//` is that, too.

use cresset_config::ServiceUrl;
use lapin::uri::{AMQPAuthority, AMQPQueryString, AMQPScheme, AMQPUri, AMQPUserInfo};
use percent_encoding::percent_decode_str;
use url::Url;

use crate::options::StartError;

/// Seconds between two heartbeats, unless the address says otherwise: a broker that is gone without a word is noticed after twice
/// as long.
const HEARTBEAT: u16 = 20;
const HEARTBEAT_MAX: u16 = 600;
/// The longest name of a virtual host in AMQP.
const NAME_MAX: usize = 255;

/// Where the broker is, and as whom. Not to be shown: it holds the password.
#[derive(Clone)]
pub(super) struct Address {
    pub(super) uri: AMQPUri,
}

impl Address {
    pub(super) fn read(url: &ServiceUrl) -> Result<Self, StartError> {
        parse(url.reveal())
            .map(|uri| Self { uri })
            .map_err(|why| StartError::Url {
                setting: "broker",
                url: url.to_string(),
                why,
            })
    }

    pub(super) fn host(&self) -> &str {
        &self.uri.authority.host
    }

    pub(super) fn port(&self) -> u16 {
        self.uri.authority.port
    }

    pub(super) fn is_secure(&self) -> bool {
        self.uri.scheme == AMQPScheme::AMQPS
    }
}

/// Reads an address. What it says of a mistake repeats nothing of it: it may hold a password.
fn parse(text: &str) -> Result<AMQPUri, String> {
    if text.contains(';') {
        return Err("one address of one broker is taken; for several put one name in front of them".into());
    }
    let url = Url::parse(text).map_err(|error| format!("it is no URL ({error})"))?;
    let scheme = match url.scheme() {
        "amqp" | "pyamqp" => AMQPScheme::AMQP,
        "amqps" => AMQPScheme::AMQPS,
        _ => return Err("it must begin with `amqp://` or `amqps://`".into()),
    };
    let decode = |text: &str| {
        let decoded = percent_decode_str(text).decode_utf8();
        decoded
            .map(|text| text.into_owned())
            .map_err(|_| "its name, password or virtual host is not UTF-8 behind the `%`".to_owned())
    };
    let host = match url.host_str() {
        None | Some("") => "127.0.0.1".to_owned(),
        Some(host) => decode(host.trim_start_matches('[').trim_end_matches(']'))?,
    };
    let username = match url.username() {
        "" => "guest".to_owned(),
        name => decode(name)?,
    };
    let password = url.password().map_or(Ok("guest".to_owned()), decode)?;
    let vhost = match url.path().strip_prefix('/').unwrap_or_default() {
        "" => "/".to_owned(),
        path => decode(path)?,
    };
    if vhost.len() > NAME_MAX {
        return Err(format!(
            "its virtual host must be at most {NAME_MAX} bytes, is {}",
            vhost.len()
        ));
    }
    let mut heartbeat = HEARTBEAT;
    for (name, value) in url.query_pairs() {
        if name != "heartbeat" {
            return Err("it has an option that is not known here; known is `heartbeat`".into());
        }
        let seconds = value.parse().ok().filter(|seconds| *seconds <= HEARTBEAT_MAX);
        heartbeat = seconds
            .ok_or_else(|| format!("its `heartbeat` must be 0 to {HEARTBEAT_MAX} seconds, 0 being none"))?;
    }
    let port = url.port().unwrap_or(match scheme {
        AMQPScheme::AMQP => 5672,
        AMQPScheme::AMQPS => 5671,
    });
    Ok(AMQPUri {
        scheme,
        authority: AMQPAuthority {
            userinfo: AMQPUserInfo { username, password },
            host,
            port,
        },
        vhost,
        query: AMQPQueryString {
            heartbeat: Some(heartbeat),
            ..AMQPQueryString::default()
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_read_as_celery_reads_it() {
        for (text, user, host, port, vhost) in [
            ("amqp://", "guest", "127.0.0.1", 5672, "/"),
            ("amqp://localhost", "guest", "localhost", 5672, "/"),
            ("amqp://localhost/", "guest", "localhost", 5672, "/"),
            ("amqp://guest:guest@h:5673//", "guest", "h", 5673, "/"),
            ("pyamqp://u:p%40@h/%2f", "u", "h", 5672, "/"),
            ("amqps://u:p@h/a%2Fb", "u", "h", 5671, "a/b"),
            ("amqp://u:p@[::1]/v?heartbeat=0", "u", "::1", 5672, "v"),
        ] {
            let uri = parse(text).unwrap();
            let authority = &uri.authority;
            assert_eq!(
                (
                    authority.userinfo.username.as_str(),
                    authority.host.as_str(),
                    authority.port,
                    uri.vhost.as_str()
                ),
                (user, host, port, vhost),
                "{text}"
            );
        }
        assert_eq!(
            parse("pyamqp://u:p%40@h").unwrap().authority.userinfo.password,
            "p@"
        );
        assert_eq!(parse("amqp://h?heartbeat=5").unwrap().query.heartbeat, Some(5));
    }

    #[test]
    fn a_mistake_is_named_and_no_password_repeated() {
        for (text, what) in [
            ("amqp://u:secret@a;amqp://b", "one address"),
            ("amqp://u:secret@h:port", "no URL"),
            ("amqp://u:secret@h/v?ssl=1", "`heartbeat`"),
            ("amqp://u:secret@h/v?heartbeat=601", "0 to 600"),
            ("amqp://u:secret%ff@h", "UTF-8"),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.contains(what) && !why.contains("secret"), "{text}: {why}");
        }
    }
}
