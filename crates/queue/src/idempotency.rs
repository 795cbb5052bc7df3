//! What makes a submit recognisable when it is sent again, and what a store says to it.
//!
//! A caller that got no answer cannot know whether its submit made a task. With a key of its own it may simply send it
//! again: the key says *which* submit it is, the digest that it is the *same* one. What goes into a digest is the
//! caller's business; a store only compares it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use cresset_task::{State, TaskId, Tenant, Timestamp};

/// The longest key: longer than any UUID, path or hash that callers use, short enough for an index.
pub const IDEMPOTENCY_KEY_MAX: usize = 255;

/// A caller's name for one submit: 1 to [`IDEMPOTENCY_KEY_MAX`] visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(Arc<str>);

impl IdempotencyKey {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same key as this tenant's own, so that those of two tenants never meet. No key of a caller has a space.
    #[must_use]
    pub fn within(&self, tenant: &Tenant) -> Self {
        Self(format!("{tenant} {}", self.0).into())
    }
}

/// The text is not an idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadIdempotencyKey;

impl fmt::Display for BadIdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a key is 1 to {IDEMPOTENCY_KEY_MAX} visible ASCII characters")
    }
}

impl std::error::Error for BadIdempotencyKey {}

impl FromStr for IdempotencyKey {
    type Err = BadIdempotencyKey;

    fn from_str(text: &str) -> Result<Self, BadIdempotencyKey> {
        let fits = (1..=IDEMPOTENCY_KEY_MAX).contains(&text.len());
        if fits && text.bytes().all(|b| b.is_ascii_graphic()) {
            Ok(Self(text.into()))
        } else {
            Err(BadIdempotencyKey)
        }
    }
}

/// A submit that may be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// Which submit it is, among those to the same model.
    pub key: IdempotencyKey,
    /// A digest of all that was submitted.
    pub digest: [u8; 32],
}

/// What became of a submit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// It made the task it carries.
    New,
    /// It had been submitted before: nothing changed, and this is the task it made then.
    Replayed {
        /// The task.
        id: TaskId,
        /// Where it is in its life now.
        state: State,
        /// When it was accepted.
        created_at: Timestamp,
    },
    /// Its key belongs to a submit with another digest: nothing changed.
    KeyReused,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_visible_ascii_of_bounded_length() {
        let longest = "k".repeat(IDEMPOTENCY_KEY_MAX);
        for good in [
            "a",
            "!~",
            "8e03978e-40d5-43dd-bc93-6894a57f9324",
            longest.as_str(),
        ] {
            assert_eq!(good.parse::<IdempotencyKey>().unwrap().as_str(), good);
        }
        let too_long = "k".repeat(IDEMPOTENCY_KEY_MAX + 1);
        for bad in ["", "a b", "a\tb", "caf\u{e9}", "\u{7f}", too_long.as_str()] {
            assert_eq!(bad.parse::<IdempotencyKey>(), Err(BadIdempotencyKey), "{bad:?}");
        }
    }
}
