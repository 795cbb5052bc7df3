//! What is kept of a key.

use std::fmt;
use std::str::FromStr;

use cresset_task::{ModelName, Tenant, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::pace::Rate;
use crate::token::{KeyId, hex, unhex};

/// The longest name of a key, in characters.
pub const NAME_MAX: usize = 100;

/// What a key may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Submit tasks, predict, and cancel, replay or throw away what is its tenant's.
    Submit,
    /// See the tasks and dead letters of its tenant, and the models.
    Read,
    /// All of it, of every tenant, and the server's figures.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Submit, Self::Read, Self::Admin];

    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|scope| scope.name() == text);
        found.ok_or_else(|| format!("a scope is submit, read or admin, not {text:?}"))
    }
}

/// The scopes of one key. `admin` has the others in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scopes(pub Vec<Scope>);

impl Scopes {
    /// Whether a key with these may do that.
    #[must_use]
    pub fn allow(&self, scope: Scope) -> bool {
        self.0.contains(&scope) || self.0.contains(&Scope::Admin)
    }
}

/// The SHA-256 of a key's secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretHash([u8; 32]);

impl SecretHash {
    pub(crate) fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// Whether both are of one secret, in a time that does not depend on where they differ.
    #[must_use]
    pub fn is(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hash]")
    }
}

impl Serialize for SecretHash {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for SecretHash {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        unhex(&String::deserialize(input)?)
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("a hash is 64 hexadecimal digits"))
    }
}

/// A key without its secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    /// Which key it is.
    pub id: KeyId,
    /// What people call it.
    pub name: String,
    /// Whose tasks its tasks are.
    pub tenant: Tenant,
    /// What it may do.
    pub scopes: Scopes,
    /// The models it may use; `None` is all.
    pub models: Option<Vec<ModelName>>,
    /// How many requests it may send; `None` is any number.
    pub rate: Option<Rate>,
    /// Queued tasks and predictions under way that it may have at once; `None` is any number.
    pub max_open: Option<u32>,
    /// When it was made.
    pub created_at: Timestamp,
    /// It does not open from then on.
    pub expires_at: Option<Timestamp>,
    /// It does not open any more.
    pub revoked_at: Option<Timestamp>,
    /// Of its secret.
    pub sha256: SecretHash,
}

impl KeyRecord {
    /// Whether it may use this model.
    #[must_use]
    pub fn allows_model(&self, name: &str) -> bool {
        self.models
            .as_ref()
            .is_none_or(|models| models.iter().any(|model| model.as_str() == name))
    }

    /// What is wrong with it, if anything is: a file may have been written by hand.
    #[must_use]
    pub fn mistake(&self) -> Option<String> {
        let id = self.id;
        if self.scopes.0.is_empty() {
            return Some(format!("key {id} has no scope; give it submit, read or admin"));
        }
        if self.rate.is_some_and(|rate| !rate.is_sane()) {
            return Some(format!("key {id} has a rate that cannot be"));
        }
        if self.max_open == Some(0) {
            return Some(format!(
                "key {id} may have nothing open; leave `max_open` out, or revoke it"
            ));
        }
        if self.models.as_ref().is_some_and(Vec::is_empty) {
            return Some(format!("key {id} may use no model; leave `models` out for all"));
        }
        let is_named = is_name(&self.name);
        (!is_named).then(|| format!("key {id} has no name of 1 to {NAME_MAX} characters on one line"))
    }
}

/// The first characters of a text, for people.
pub(crate) fn cut(text: &str, characters: usize) -> String {
    text.chars().take(characters).collect()
}

/// One line of text that can be shown anywhere.
pub(crate) fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && text.chars().count() <= NAME_MAX && !text.chars().any(char::is_control)
}
