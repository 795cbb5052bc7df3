//! Model names.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The longest model name, in bytes: it appears in paths, queue names and metric labels.
pub const MODEL_NAME_MAX: usize = 128;

/// A model's name, `[a-z0-9][a-z0-9_.-]*`, at most [`MODEL_NAME_MAX`] bytes. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelName(Arc<str>);

impl ModelName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is not a model name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a model name starts with a-z or 0-9, goes on with a-z, 0-9, `_`, `.` or `-`, and has at most {MODEL_NAME_MAX} characters"
)]
pub struct BadModelName;

impl FromStr for ModelName {
    type Err = BadModelName;

    fn from_str(text: &str) -> Result<Self, BadModelName> {
        let head = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let tail = |b: u8| head(b) || matches!(b, b'_' | b'.' | b'-');
        match text.as_bytes() {
            [first, rest @ ..]
                if head(*first) && rest.iter().all(|b| tail(*b)) && text.len() <= MODEL_NAME_MAX =>
            {
                Ok(Self(text.into()))
            }
            _ => Err(BadModelName),
        }
    }
}

impl Borrow<str> for ModelName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl fmt::Debug for ModelName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ModelName({})", self.0)
    }
}

impl serde::Serialize for ModelName {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for ModelName {
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
    fn names_follow_the_rule() {
        for good in ["digits", "0", "resnet-18.v2_a"] {
            assert!(good.parse::<ModelName>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "-x",
            "Digits",
            "a/b",
            "a b",
            "é",
            &"a".repeat(MODEL_NAME_MAX + 1),
        ] {
            assert_eq!(bad.parse::<ModelName>(), Err(BadModelName), "{bad}");
        }
    }
}
