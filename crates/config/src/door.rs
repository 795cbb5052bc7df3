//! Where the door listens, and whom it believes: addresses, networks and origins as settings have them.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::field::{Refusal, quote};

/// Listeners, networks or origins at most: more are a mistake in a template.
const ENTRIES_MAX: usize = 64;
/// The longest path of a socket that the kernel takes, less the zero at its end.
const SOCKET_PATH_MAX: usize = 107;

/// One address that is listened on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    /// Where.
    pub at: Address,
    /// How callers speak there.
    pub scheme: Scheme,
}

/// Where is listened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// TCP.
    Tcp(SocketAddr),
    /// A socket in the file system.
    Unix(PathBuf),
}

/// How callers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// TLS where there is a certificate, plain where there is none.
    Either,
    /// Plain HTTP, whatever there is.
    Http,
    /// TLS.
    Https,
}

impl Listen {
    /// TCP, in TLS where there is a certificate.
    #[must_use]
    pub const fn tcp(at: SocketAddr) -> Self {
        Self {
            at: Address::Tcp(at),
            scheme: Scheme::Either,
        }
    }

    /// Whether callers speak TLS there.
    #[must_use]
    pub fn is_tls(&self, has_certificate: bool) -> bool {
        match (&self.at, self.scheme) {
            (Address::Unix(_), _) | (_, Scheme::Http) => false,
            (_, Scheme::Https) => true,
            (_, Scheme::Either) => has_certificate,
        }
    }

    fn read(text: &str) -> Result<Self, Refusal> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix(path);
        }
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Scheme::Http, rest.trim_end_matches('/')),
            Some(("https", rest)) => (Scheme::Https, rest.trim_end_matches('/')),
            _ => (Scheme::Either, text),
        };
        match rest.parse() {
            Ok(at) => Ok(Self {
                at: Address::Tcp(at),
                scheme,
            }),
            Err(_) => Err(no_address(text, rest)),
        }
    }
}

fn unix(path: &str) -> Result<Listen, Refusal> {
    let path = path.strip_prefix("//").unwrap_or(path);
    if !path.starts_with('/') || path.len() > SOCKET_PATH_MAX || path.contains('\0') {
        return Err(Refusal::new(format!(
            "must have an absolute path of at most {SOCKET_PATH_MAX} bytes after `unix:`, is {}",
            quote(path)
        ))
        .hint("such as \"unix:/run/cresset/cresset.sock\""));
    }
    Ok(Listen {
        at: Address::Unix(path.into()),
        scheme: Scheme::Http,
    })
}

fn no_address(text: &str, rest: &str) -> Refusal {
    let refusal = Refusal::new(format!(
        "must be an IP address and a port, such as \"127.0.0.1:8700\", is {}",
        quote(text)
    ));
    let meant = match rest.rsplit_once(':') {
        None if rest.parse::<u16>().is_ok() => format!("127.0.0.1:{rest}"),
        None => format!("{rest}:8700"),
        Some(("", port)) => format!("0.0.0.0:{port}"),
        Some(("localhost", port)) => format!("127.0.0.1:{port}"),
        Some((host, port)) => format!("[{host}]:{port}"),
    };
    let meant = meant.parse::<SocketAddr>().ok();
    refusal.maybe_hint(meant.map(|a| format!("did you mean \"{a}\"?")))
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.at, self.scheme) {
            (Address::Unix(path), _) => write!(f, "unix:{}", path.display()),
            (Address::Tcp(at), Scheme::Either) => at.fmt(f),
            (Address::Tcp(at), Scheme::Http) => write!(f, "http://{at}"),
            (Address::Tcp(at), Scheme::Https) => write!(f, "https://{at}"),
        }
    }
}

/// Addresses that share their first bits; those of IPv4 in IPv6 are IPv4's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    bits: u8,
}

impl Network {
    /// Whether the address is one of it.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                (first.to_bits() ^ address.to_bits()) & mask == 0
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                (first.to_bits() ^ address.to_bits()) & mask == 0
            }
            _ => false,
        }
    }

    fn read(text: &str) -> Result<Self, Refusal> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let network = || {
            let first: IpAddr = address.parse().ok()?;
            let most = if first.is_ipv4() { 32 } else { 128 };
            let bits = bits.map_or(Some(most), |bits| bits.parse().ok())?;
            (bits <= most).then_some(Self { first, bits })
        };
        network().ok_or_else(|| {
            Refusal::new(format!(
                "must be an address or a network, such as \"10.0.0.0/8\", is {}",
                quote(text)
            ))
        })
    }
}

impl std::str::FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::read(text).map_err(|refusal| refusal.message)
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.first, self.bits)
    }
}

pub(crate) fn listens(texts: &[&str]) -> Result<Vec<Listen>, Refusal> {
    let listens = each(texts, Listen::read)?;
    for (i, one) in listens.iter().enumerate() {
        // Port 0 takes a free one, each time another.
        let free = matches!(one.at, Address::Tcp(at) if at.port() == 0);
        if !free && listens[i + 1..].iter().any(|other| other.at == one.at) {
            return Err(Refusal::new(format!("names {} twice", quote(&one.to_string()))));
        }
    }
    Ok(listens)
}

pub(crate) fn networks(texts: &[&str]) -> Result<Vec<Network>, Refusal> {
    each(texts, Network::read)
}

/// Origins as browsers send them (RFC 6454), or `*` for all.
pub(crate) fn origins(texts: &[&str]) -> Result<Vec<String>, Refusal> {
    let origins = each(texts, origin)?;
    if origins.len() > 1 && origins.iter().any(|origin| origin == "*") {
        return Err(Refusal::new("has `*`, which is all, and others beside it"));
    }
    Ok(origins)
}

fn origin(text: &str) -> Result<String, Refusal> {
    let host = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let is_host = |host: &str| {
        !host.is_empty()
            && host
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-.:[]_".contains(&b))
    };
    if text == "*" || host.is_some_and(is_host) {
        return Ok(text.to_owned());
    }
    let refusal = Refusal::new(format!(
        "must be an origin, such as \"https://app.example.com\", or \"*\", is {}",
        quote(text)
    ));
    let meant = text.to_ascii_lowercase();
    let meant = meant.trim_end_matches('/');
    Err(match meant != text && origin(meant).is_ok() {
        true => refusal.hint(format!("did you mean \"{meant}\"?")),
        false => refusal,
    })
}

fn each<T>(texts: &[&str], read: impl Fn(&str) -> Result<T, Refusal>) -> Result<Vec<T>, Refusal> {
    if texts.len() > ENTRIES_MAX {
        return Err(Refusal::new(format!(
            "has {} entries, and may have {ENTRIES_MAX}",
            texts.len()
        )));
    }
    texts.iter().map(|text| read(text.trim())).collect()
}

/// Permissions as `chmod` writes them.
pub(crate) fn mode(text: &str) -> Result<u32, Refusal> {
    let mode = u32::from_str_radix(text.trim(), 8)
        .ok()
        .filter(|mode| *mode <= 0o777);
    mode.ok_or_else(|| {
        Refusal::new(format!(
            "must be permissions, such as \"0660\", is {}",
            quote(text)
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back_as_they_are_shown() {
        for text in [
            "127.0.0.1:8700",
            "[::1]:0",
            "http://0.0.0.0:80",
            "https://[::]:443",
            "unix:/run/cresset.sock",
        ] {
            assert_eq!(Listen::read(text).unwrap().to_string(), text);
        }
        assert_eq!(Listen::read("unix:///a").unwrap().to_string(), "unix:/a");
        for wrong in [
            "unix:",
            "unix:run",
            "ftp://1.2.3.4:5",
            "8700",
            "https://host:1",
            "",
        ] {
            assert!(Listen::read(wrong).is_err(), "{wrong}");
        }
        assert!(
            listens(&["1.2.3.4:5", "https://1.2.3.4:5"]).is_err(),
            "twice the same"
        );
        assert!(listens(&["1.2.3.4:0", "1.2.3.4:0"]).is_ok());
    }

    #[test]
    fn a_certificate_makes_tls_where_nothing_else_is_said() {
        let tls = |text: &str, has| Listen::read(text).unwrap().is_tls(has);
        assert!(tls("1.2.3.4:5", true) && !tls("1.2.3.4:5", false));
        assert!(!tls("http://1.2.3.4:5", true) && tls("https://1.2.3.4:5", true));
        assert!(!tls("unix:/a", true));
    }

    #[test]
    fn networks_have_their_addresses_and_no_others() {
        let has =
            |network: &str, address: &str| Network::read(network).unwrap().contains(address.parse().unwrap());
        assert!(has("10.0.0.0/8", "10.255.0.1") && !has("10.0.0.0/8", "11.0.0.1"));
        assert!(has("10.1.2.3", "10.1.2.3") && !has("10.1.2.3", "10.1.2.4"));
        assert!(has("10.0.0.0/8", "::ffff:10.0.0.1"), "IPv4 in IPv6");
        assert!(has("fd00::/8", "fd12::1") && !has("fd00::/8", "fe80::1"));
        assert!(has("0.0.0.0/0", "1.2.3.4") && !has("0.0.0.0/0", "::1"));
        for wrong in ["", "10.0.0.0/33", "10.0.0/8", "::/129", "host"] {
            assert!(Network::read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn origins_are_written_as_browsers_send_them() {
        assert!(origins(&["https://a.example", "http://localhost:3000"]).is_ok());
        assert!(origins(&["*"]).is_ok());
        for wrong in ["https://a.example/", "a.example", "HTTPS://A", "https://", "null"] {
            assert!(origins(&[wrong]).is_err(), "{wrong}");
        }
        assert!(origins(&["*", "https://a"]).is_err());
        assert_eq!((mode("0660").unwrap(), mode("777").unwrap()), (0o660, 0o777));
        assert!(mode("1777").is_err() && mode("rw").is_err());
    }
}
