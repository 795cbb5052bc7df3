//! How states, ids and outcomes look in the tables. The numbers are on disk: none is ever changed or reused.

use bytes::Bytes;
use cresset_task::{Evidence, Failure, Outcome, Payload, RetryTerms, State, TaskId, Trace};

use super::Fault;

/// The `state` of a queued task; the SQL files and indexes spell it out.
pub const PENDING: i64 = 0;
/// The `state` of a leased task; likewise.
pub const STARTED: i64 = 1;

/// An outcome that is not a payload has kind 0; its state says what it is.
const PLAIN: u8 = 0;

/// The number of a state.
#[must_use]
pub fn state_number(state: State) -> i64 {
    match state {
        State::Pending => PENDING,
        State::Started => STARTED,
        State::Retry => 2,
        State::Success => 3,
        State::Failure => 4,
        State::Revoked => 5,
    }
}

/// The state that has this number.
pub fn state_of(number: i64) -> Result<State, Fault> {
    State::ALL
        .into_iter()
        .find(|s| state_number(*s) == number)
        .ok_or_else(|| Fault::Damaged(format!("a task has the unknown state {number}")))
}

/// What is to be stored.
#[derive(Clone, Debug)]
pub enum Content {
    /// An input.
    Payload(Payload),
    /// An end.
    Outcome(Outcome),
}

impl Content {
    /// Bytes it has at least in stored form, known without encoding it.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::Payload(payload) | Self::Outcome(Outcome::Success(payload)) => payload.weight(),
            Self::Outcome(Outcome::Failure(failure)) => failure.message.len(),
            Self::Outcome(Outcome::Revoked { reason }) => reason.len(),
        }
    }

    /// The stored form: a payload's own, a failure as JSON, a reason as text.
    pub fn encode(&self) -> Result<Stored, Fault> {
        let (kind, bytes) = match self {
            Self::Payload(payload) | Self::Outcome(Outcome::Success(payload)) => {
                (payload.kind(), payload.encode())
            }
            Self::Outcome(Outcome::Failure(failure)) => {
                let text = serde_json::to_vec(failure)
                    .map_err(|e| Fault::Misuse(format!("a failure cannot be written as JSON: {e}")))?;
                (PLAIN, text.into())
            }
            Self::Outcome(Outcome::Revoked { reason }) => (PLAIN, Bytes::copy_from_slice(reason.as_bytes())),
        };
        Ok(Stored { kind, bytes })
    }
}

/// The state that an outcome leads to.
#[must_use]
pub fn state_after(outcome: &Outcome) -> State {
    match outcome {
        Outcome::Success(_) => State::Success,
        Outcome::Failure(_) => State::Failure,
        Outcome::Revoked { .. } => State::Revoked,
    }
}

/// Bytes of a payload or an outcome, and what they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// What kind of payload it is, or 0.
    pub kind: u8,
    /// Them.
    pub bytes: Bytes,
}

impl Stored {
    /// The payload that it is.
    pub fn as_payload(&self) -> Result<Payload, Fault> {
        Payload::decode(self.kind, &self.bytes).map_err(|e| Fault::Damaged(format!("a stored payload: {e}")))
    }

    /// The outcome of a task in this state; `None` for an open one.
    pub fn as_outcome(&self, state: State) -> Result<Option<Outcome>, Fault> {
        Ok(match state {
            State::Pending | State::Started | State::Retry => None,
            State::Success => Some(Outcome::Success(self.as_payload()?)),
            State::Failure => {
                let failure: Failure = serde_json::from_slice(&self.bytes)
                    .map_err(|e| Fault::Damaged(format!("a stored failure: {e}")))?;
                Some(Outcome::Failure(failure))
            }
            State::Revoked => {
                let reason = String::from_utf8(self.bytes.to_vec())
                    .map_err(|_| Fault::Damaged("a stored reason is not UTF-8".into()))?;
                Some(Outcome::Revoked { reason })
            }
        })
    }
}

/// How a task is tried again, in stored form.
pub fn retry_text(terms: Option<&RetryTerms>) -> Result<Option<String>, Fault> {
    terms
        .map(serde_json::to_string)
        .transpose()
        .map_err(|e| Fault::Misuse(format!("the terms of a retry cannot be written as JSON: {e}")))
}

/// The reverse.
pub fn retry_of(text: Option<&str>) -> Result<Option<Box<RetryTerms>>, Fault> {
    text.map(serde_json::from_str)
        .transpose()
        .map_err(|e| Fault::Damaged(format!("how a task is to be tried again: {e}")))
}

/// Evidence in stored form.
pub(super) fn evidence_text(evidence: Evidence) -> Result<String, Fault> {
    serde_json::to_string(&evidence.bounded())
        .map_err(|e| Fault::Misuse(format!("evidence cannot be written as JSON: {e}")))
}

/// A count as the tables have it.
#[must_use]
pub fn as_number(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The trace of a task. One that cannot be read is said, and the task goes on without: no work is lost for it.
#[must_use]
pub fn trace_of(id: TaskId, text: Option<&str>) -> Option<Box<Trace>> {
    match text?.parse() {
        Ok(trace) => Some(Box::new(trace)),
        Err(error) => {
            tracing::warn!(task = %id, %error, "a task's trace cannot be read");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_on_disk_are_these() {
        assert_eq!(State::ALL.map(state_number), [0, 1, 2, 3, 4, 5]);
        for state in State::ALL {
            assert_eq!(state_of(state_number(state)).unwrap(), state);
        }
        assert!(state_of(6).is_err());
    }
}
