//! What proxies say of their callers, as far as they are believed (`server.trusted_proxies`).
//!
//! ```text
//!   caller 203.0.113.9 --> proxy 10.0.0.2 --> proxy 10.0.0.1 --> here
//!                                             X-Forwarded-For: 1.2.3.4, 203.0.113.9, 10.0.0.2
//! ```
//!
//! Each proxy adds whom it saw at the end; what was there before may be anybody's invention. So the list is read from its end,
//! past proxies that are believed, to the first address that is none: here 203.0.113.9, with 10.0.0.0/8 believed.

use std::net::{IpAddr, SocketAddr};

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use cresset_config::Network;

use crate::app::App;
use crate::client::Peer;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// The longest prefix that is believed: longer than any path that somebody writes down.
const PREFIX_MAX: usize = 256;

/// What is known of a request's way here.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Way {
    /// Who asks.
    pub(crate) caller: Option<IpAddr>,
    /// What a proxy took from the front of the path.
    prefix: Option<String>,
}

impl Way {
    /// Finds out, and lets the others know whose request it is.
    pub(crate) fn of(app: &App, request: &mut Request) -> Self {
        let Some(Peer(peer)) = request.extensions().get::<Peer>().copied() else {
            return Self::default();
        };
        let trusted = &app.options.trusted_proxies;
        if !is_believed(trusted, peer) {
            return Self {
                caller: peer,
                prefix: None,
            };
        }
        let caller = caller(trusted, peer, request.headers());
        request.extensions_mut().insert(Peer(caller));
        Self {
            caller,
            prefix: prefix(request.headers()),
        }
    }

    /// A `Location` of ours, as the caller has to ask for it.
    pub(crate) fn mend(&self, headers: &mut HeaderMap) {
        let Some(prefix) = &self.prefix else { return };
        let Some(path) = headers.get(header::LOCATION).and_then(|path| path.to_str().ok()) else {
            return;
        };
        if let Ok(path) = HeaderValue::try_from(format!("{prefix}{path}")) {
            headers.insert(header::LOCATION, path);
        }
    }
}

/// Who comes by the file system has been let in by its permissions, and is believed where anybody is.
fn is_believed(trusted: &[Network], peer: Option<IpAddr>) -> bool {
    !trusted.is_empty() && peer.is_none_or(|peer| trusted.iter().any(|network| network.contains(peer)))
}

fn caller(trusted: &[Network], peer: Option<IpAddr>, headers: &HeaderMap) -> Option<IpAddr> {
    let one = headers
        .contains_key(X_FORWARDED_FOR)
        .then(|| last_of_others(trusted, peer, &X_FORWARDED_FOR, headers, node));
    let other = headers
        .contains_key(header::FORWARDED)
        .then(|| last_of_others(trusted, peer, &header::FORWARDED, headers, element));
    match (one, other) {
        // A proxy writes one of them, and may hand on the other as it came. If they differ nobody knows which.
        (Some(one), Some(other)) if one != other => peer,
        (Some(one), _) => one,
        (None, Some(other)) => other,
        (None, None) => peer,
    }
}

/// The last address that is not a believed proxy's; where the list ends or cannot be read, whoever said so.
fn last_of_others(
    trusted: &[Network],
    peer: Option<IpAddr>,
    name: &HeaderName,
    headers: &HeaderMap,
    read: impl Fn(&str) -> Option<IpAddr>,
) -> Option<IpAddr> {
    let lines: Vec<&str> = headers
        .get_all(name)
        .iter()
        .map(|line| line.to_str().unwrap_or("?"))
        .collect();
    let mut said_by = peer;
    for entry in lines.iter().rev().flat_map(|line| line.rsplit(',')) {
        let Some(address) = read(entry.trim()) else {
            return said_by;
        };
        said_by = Some(address);
        if !is_believed(trusted, said_by) {
            break;
        }
    }
    said_by
}

/// An address, perhaps in brackets or quotes, perhaps with a port.
fn node(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches('"');
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    let address = bare.parse::<IpAddr>().ok();
    let address = address.or_else(|| text.parse::<SocketAddr>().ok().map(|at| at.ip()));
    address.map(|address| address.to_canonical())
}

/// The `for` of one element of `Forwarded` (RFC 7239).
fn element(text: &str) -> Option<IpAddr> {
    let pairs = text.split(';').filter_map(|pair| pair.split_once('='));
    let mut seen = pairs.filter(|(key, _)| key.trim().eq_ignore_ascii_case("for"));
    node(seen.next()?.1.trim())
}

/// A path in front of ours, which plays no tricks in a `Location`.
fn prefix(headers: &HeaderMap) -> Option<String> {
    let text = headers
        .get(X_FORWARDED_PREFIX)?
        .to_str()
        .ok()?
        .trim_end_matches('/');
    let is_sane = |b: u8| b.is_ascii_alphanumeric() || b"-._~/".contains(&b);
    let sane = text.len() <= PREFIX_MAX
        && text.starts_with('/')
        && !text.contains("//")
        && !text.split('/').any(|part| part == "..")
        && text.bytes().all(is_sane);
    sane.then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(peer: &str, lines: &[(&'static str, &str)]) -> String {
        let trusted: Vec<Network> = ["10.0.0.0/8", "fd00::/8"]
            .iter()
            .map(|n| n.parse().unwrap())
            .collect();
        let headers = lines
            .iter()
            .map(|(name, value)| {
                (
                    HeaderName::from_static(name),
                    HeaderValue::from_str(value).unwrap(),
                )
            })
            .collect();
        let peer: Option<IpAddr> = peer.parse().ok();
        match is_believed(&trusted, peer) {
            true => caller(&trusted, peer, &headers),
            false => peer,
        }
        .map_or_else(String::new, |caller| caller.to_string())
    }

    #[test]
    fn the_caller_is_the_last_who_is_no_proxy() {
        let xff = |peer: &str, list: &str| of(peer, &[("x-forwarded-for", list)]);
        assert_eq!(xff("10.0.0.1", "203.0.113.9"), "203.0.113.9");
        assert_eq!(xff("10.0.0.1", "1.2.3.4, 203.0.113.9, 10.0.0.2"), "203.0.113.9");
        assert_eq!(
            xff("198.51.100.1", "203.0.113.9"),
            "198.51.100.1",
            "anybody can say that"
        );
        assert_eq!(xff("10.0.0.1", "10.9.9.9, 10.0.0.2"), "10.9.9.9", "all are ours");
        assert_eq!(xff("10.0.0.1", "203.0.113.9, unknown, 10.0.0.2"), "10.0.0.2");
        assert_eq!(xff("10.0.0.1", ""), "10.0.0.1");
        assert_eq!(xff("10.0.0.1", "[2001:db8::1]:443"), "2001:db8::1");
        assert_eq!(xff("10.0.0.1", "203.0.113.9:5000"), "203.0.113.9");
        assert_eq!(xff("", "203.0.113.9"), "203.0.113.9", "by the file system");
        assert_eq!(xff("fd00::1", "::ffff:203.0.113.9"), "203.0.113.9");
        let lines = [("x-forwarded-for", "1.2.3.4"), ("x-forwarded-for", "203.0.113.9")];
        assert_eq!(
            of("10.0.0.1", &lines),
            "203.0.113.9",
            "several lines are one list"
        );
        assert_eq!(of("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn forwarded_is_read_as_its_standard_has_it() {
        let forwarded = |list: &str| of("10.0.0.1", &[("forwarded", list)]);
        assert_eq!(
            forwarded("for=203.0.113.9;proto=https, for=10.0.0.2"),
            "203.0.113.9"
        );
        assert_eq!(
            forwarded(r#"proto=https;For="[2001:db8::1]:4711""#),
            "2001:db8::1"
        );
        assert_eq!(forwarded("for=_hidden"), "10.0.0.1");
        assert_eq!(forwarded("proto=https"), "10.0.0.1");
        let both = |other: &str| {
            of(
                "10.0.0.1",
                &[("forwarded", other), ("x-forwarded-for", "203.0.113.9")],
            )
        };
        assert_eq!(both("for=203.0.113.9"), "203.0.113.9");
        assert_eq!(both("for=1.2.3.4"), "10.0.0.1", "one of them is invented");
    }

    #[test]
    fn a_prefix_is_a_plain_path() {
        let of = |text: &str| {
            let value = HeaderValue::from_str(text).unwrap();
            prefix(&HeaderMap::from_iter([(X_FORWARDED_PREFIX, value)]))
        };
        assert_eq!(of("/ml/").as_deref(), Some("/ml"));
        for wrong in [
            "",
            "/",
            "ml",
            "//evil.example",
            "/a/../b",
            "/a b",
            "/a?b",
            "https://evil.example",
        ] {
            assert_eq!(of(wrong), None, "{wrong}");
        }
    }
}
