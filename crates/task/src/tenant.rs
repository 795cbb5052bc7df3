//! Whose tasks are whose, where callers are told apart by keys.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest name of a tenant.
pub const TENANT_MAX: usize = 64;

/// The name under which tasks are kept apart from those of others. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tenant(Arc<str>);

/// The text names no tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a tenant's name has 1 to {TENANT_MAX} characters: a-z, 0-9, `_`, `.` and `-`, a letter or a digit first"
)]
pub struct BadTenant;

/// Whose a task is, of an id that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// No task has this id, as far as anyone can remember.
    Unknown,
    /// There is such a task, or was until it expired: of this tenant, or of none, as it was submitted without a key.
    Of(Option<Tenant>),
}

impl Tenant {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Tenant {
    type Err = BadTenant;

    fn from_str(text: &str) -> Result<Self, BadTenant> {
        let is_plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let starts = text.bytes().next().is_some_and(is_plain);
        let fits = text.len() <= TENANT_MAX && text.bytes().all(|b| is_plain(b) || b"_.-".contains(&b));
        match starts && fits {
            true => Ok(Self(text.into())),
            false => Err(BadTenant),
        }
    }
}

impl fmt::Display for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl serde::Serialize for Tenant {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Tenant {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        let longest = "t".repeat(TENANT_MAX);
        for good in ["a", "0", "team-7.web_x", longest.as_str()] {
            assert_eq!(good.parse::<Tenant>().unwrap().as_str(), good);
        }
        let long = "t".repeat(TENANT_MAX + 1);
        for bad in ["", "-a", ".", "A", "a b", "caf\u{e9}", "a/b", long.as_str()] {
            assert_eq!(bad.parse::<Tenant>(), Err(BadTenant), "{bad:?}");
        }
    }
}
