//! Typed ids. A bare integer or string never stands for one of these.

use std::fmt;
use std::str::FromStr;

use uuid::Uuid;

/// The id of one task: a UUID version 7, so ids sort by the time they were made.
///
/// The inside is private on purpose: a Celery producer may choose any string as an id, and room for that must be
/// addable without touching the users of this type.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TaskId(Uuid);

impl TaskId {
    /// A fresh id. Unique across processes (74 random bits beside the millisecond).
    #[must_use]
    pub fn fresh() -> Self {
        #[cfg(feature = "simulated")]
        if let Some(random) = crate::simulated::id_bytes() {
            let millis = crate::time::Timestamp::now().as_micros().cast_unsigned() / 1_000;
            return Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid());
        }
        Self(Uuid::now_v7())
    }

    /// The 16 bytes a store keeps.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The id kept as these 16 bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_hyphenated().fmt(f)
    }
}

impl fmt::Debug for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TaskId({})", self.0.as_hyphenated())
    }
}

/// The text is not a task id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a task id is a UUID such as 019a2c3e-7b1f-7cc0-8000-2f6f8e1b5a10")]
pub struct BadTaskId;

impl FromStr for TaskId {
    type Err = BadTaskId;

    fn from_str(text: &str) -> Result<Self, BadTaskId> {
        Uuid::try_parse(text).map(Self).map_err(|_| BadTaskId)
    }
}

impl serde::Serialize for TaskId {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for TaskId {
    fn deserialize<D: serde::Deserializer<'de>>(input: D) -> Result<Self, D::Error> {
        String::deserialize(input)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// How often a task has been handed to an instance. It fences writes: a result is recorded only if it carries the
/// attempt that now holds the lease. The first delivery is attempt 1; 0 means "never delivered".
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(transparent)]
pub struct Attempt(pub u32);

impl Attempt {
    /// The attempt after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One place for an instance of a model: 0, 1, ... A restarted process keeps its place's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct InstanceId(pub u32);

impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One hand-over of tasks to an instance; never reused while a server lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub u64);

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_text_and_bytes() {
        let id = TaskId::fresh();
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(TaskId::from_bytes(*id.as_bytes()), id);
        assert_eq!("nonsense".parse::<TaskId>(), Err(BadTaskId));
    }

    #[test]
    fn ids_made_later_sort_later() {
        let first = TaskId::fresh();
        let second = TaskId::fresh();
        assert!(first < second);
    }
}
