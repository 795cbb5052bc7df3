//! The text of a key: `crs_ID_SECRET`, ID 16 and SECRET 64 hexadecimal digits.
//!
//! The prefix lets people, and programs that look for leaked secrets, see what it is. The id is no secret.

use std::fmt;
use std::str::FromStr;

use rand::TryRng as _;
use rand::rngs::SysRng;

use crate::record::SecretHash;

/// What every key begins with.
pub const PREFIX: &str = "crs_";
const ID_BYTES: usize = 8;
const SECRET_BYTES: usize = 32;

/// Which key it is; no secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId([u8; ID_BYTES]);

impl KeyId {
    /// That of something that has no key, from a hash of what it is.
    pub(crate) fn derived(hash: &[u8; 32]) -> Self {
        let mut id = [0; ID_BYTES];
        id.copy_from_slice(&hash[..ID_BYTES]);
        Self(id)
    }
}

/// The text is not the id of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the id of a key is 16 hexadecimal digits: what stands between `crs_` and the next `_`")]
pub struct BadKeyId;

/// A whole key. Only [`reveal`](Self::reveal) shows it.
pub struct Token {
    /// Which key it says it is.
    pub id: KeyId,
    secret: [u8; SECRET_BYTES],
}

impl Token {
    /// A new key, from the system's random numbers.
    pub fn fresh() -> Result<Self, std::io::Error> {
        let (mut id, mut secret) = ([0; ID_BYTES], [0; SECRET_BYTES]);
        for bytes in [&mut id[..], &mut secret[..]] {
            SysRng.try_fill_bytes(bytes).map_err(std::io::Error::other)?;
        }
        Ok(Self {
            id: KeyId(id),
            secret,
        })
    }

    /// Reads a whole key; `None` when the text is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        Some(Self {
            id: id.parse().ok()?,
            secret: unhex(secret)?,
        })
    }

    /// What is kept of its secret.
    #[must_use]
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(&self.secret)
    }

    /// The key as its holder is to have it. To be shown once, and written nowhere.
    #[must_use]
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}_{}", self.id, hex(&self.secret))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}_[secret]", self.id)
    }
}

impl FromStr for KeyId {
    type Err = BadKeyId;

    fn from_str(text: &str) -> Result<Self, BadKeyId> {
        unhex(text).map(Self).ok_or(BadKeyId)
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&hex(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl serde::Serialize for KeyId {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for KeyId {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The reverse, of exactly so many; only lower-case digits, so that a key has one text.
pub(crate) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let digits = text.as_bytes();
    let mut bytes = [0; N];
    if digits.len() != 2 * N {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = pair else { return None };
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_reads_back_and_only_reveal_shows_its_secret() {
        let token = Token::fresh().unwrap();
        let text = token.reveal();
        assert_eq!(text.len(), PREFIX.len() + 16 + 1 + 64);
        let again = Token::parse(&text).unwrap();
        assert_eq!((again.id, again.hash()), (token.id, token.hash()));
        let shown = format!("{token:?} {:?} {:?}", token.id, token.hash());
        let (_, secret) = text.rsplit_once('_').unwrap();
        assert!(!shown.contains(secret) && shown.contains("[secret]"), "{shown}");
    }

    #[test]
    fn no_two_keys_are_alike() {
        let (one, other) = (Token::fresh().unwrap(), Token::fresh().unwrap());
        assert_ne!(one.id, other.id);
        assert_ne!(one.hash(), other.hash());
    }

    proptest! {
        #[test]
        fn what_is_no_key_is_refused(text in "(crs_)?[0-9a-fA-F_]{0,90}") {
            if let Some(token) = Token::parse(&text) {
                prop_assert_eq!(token.reveal(), text);
            }
        }
    }
}
