//! The id of a bulk: many tasks that came in one request.

use std::fmt;
use std::str::FromStr;

use crate::TaskId;

/// The id of one bulk: a UUID version 7, as a task's is. Never mistaken for one: the types differ.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BulkId(TaskId);

impl BulkId {
    /// A fresh id.
    #[must_use]
    pub fn fresh() -> Self {
        Self(TaskId::fresh())
    }

    /// The 16 bytes a store keeps.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The id kept as these 16 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(TaskId::from_bytes(bytes))
    }
}

impl fmt::Display for BulkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for BulkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BulkId({})", self.0)
    }
}

/// The text is not a bulk's id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a batch's id is a UUID such as 019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10")]
pub struct BadBulkId;

impl FromStr for BulkId {
    type Err = BadBulkId;

    fn from_str(text: &str) -> Result<Self, BadBulkId> {
        text.parse().map(Self).map_err(|_| BadBulkId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_text_and_bytes() {
        let id = BulkId::fresh();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(BulkId::from_bytes(*id.as_bytes()), id);
        assert_eq!("nonsense".parse::<BulkId>(), Err(BadBulkId));
    }
}
