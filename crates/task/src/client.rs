//! Who a request is from, as far as bounds are concerned.
//!
//! That is the API key that it carries, what a proxy says in a header, or the address of the connection. Each way of telling clients apart has a
//! prefix of its own, so that a header cannot pass for an address, nor for a key.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

/// The longest name that a header may give a client: longer than any UUID, mail address or host name worth counting by.
pub const CLIENT_NAME_MAX: usize = 128;

/// The longest key with its prefix.
const KEY_MAX: usize = CLIENT_NAME_MAX + 16;

/// What a client is counted under. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ClientKey(Arc<str>);

/// The text does not name a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a client's name has 1 to {CLIENT_NAME_MAX} visible ASCII characters")]
pub struct BadClientKey;

impl ClientKey {
    /// The client at this address. One of IPv6 is its network of 64 bits: whoever has one address of it has all.
    #[must_use]
    pub fn address(address: IpAddr) -> Self {
        let text = match address.to_canonical() {
            IpAddr::V4(address) => format!("address:{address}"),
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                let network = std::net::Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0);
                format!("address:{network}/64")
            }
        };
        Self(text.into())
    }

    /// The client that is called so.
    pub fn named(name: &str) -> Result<Self, BadClientKey> {
        if (1..=CLIENT_NAME_MAX).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(format!("name:{name}").into()))
        } else {
            Err(BadClientKey)
        }
    }

    /// Whoever uses the API key with this id.
    pub fn keyed(id: &str) -> Result<Self, BadClientKey> {
        if (1..=CLIENT_NAME_MAX).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric()) {
            Ok(Self(format!("key:{id}").into()))
        } else {
            Err(BadClientKey)
        }
    }

    /// As text, prefix included: what a store keeps.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ClientKey {
    type Err = BadClientKey;

    /// Reads what [`as_str`](Self::as_str) gave, also that of a later version with one prefix more.
    fn from_str(text: &str) -> Result<Self, BadClientKey> {
        let (kind, name) = text.split_once(':').ok_or(BadClientKey)?;
        let is_kind = !kind.is_empty() && kind.bytes().all(|b| b.is_ascii_lowercase());
        let is_name = !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic());
        if is_kind && is_name && text.len() <= KEY_MAX {
            Ok(Self(text.into()))
        } else {
            Err(BadClientKey)
        }
    }
}

impl fmt::Display for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientKey({})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> String {
        ClientKey::address(address.parse().unwrap()).as_str().to_owned()
    }

    #[test]
    fn a_client_is_an_address_or_a_network_or_a_name() {
        assert_eq!(at("10.0.0.7"), "address:10.0.0.7");
        assert_eq!(at("::ffff:10.0.0.7"), "address:10.0.0.7");
        assert_eq!(at("2001:db8:1:2:3:4:5:6"), "address:2001:db8:1:2::/64");
        assert_eq!(at("2001:db8:1:2::9"), at("2001:db8:1:2:ffff::"));
        assert_eq!(ClientKey::named("team-a").unwrap().as_str(), "name:team-a");
        let longest = "x".repeat(CLIENT_NAME_MAX);
        for bad in ["", "two words", "caf\u{e9}", "tab\t", &format!("{longest}x")] {
            assert_eq!(ClientKey::named(bad), Err(BadClientKey), "{bad:?}");
        }
        assert!(ClientKey::named(&longest).is_ok());
    }

    #[test]
    fn a_key_is_read_back_and_other_text_is_none() {
        let long = ClientKey::named(&"x".repeat(CLIENT_NAME_MAX)).unwrap();
        for key in [ClientKey::address([10, 0, 0, 7].into()), long] {
            assert_eq!(key.as_str().parse(), Ok(key));
        }
        assert!("later:1".parse::<ClientKey>().is_ok());
        for bad in ["", "x", ":x", "name:", "Name:x", "name:a b"] {
            assert_eq!(bad.parse::<ClientKey>(), Err(BadClientKey), "{bad:?}");
        }
    }
}
