//! The one state machine of a task.
//!
//! ```text
//!              Start               Succeed
//!   PENDING ----------> STARTED ------------> SUCCESS
//!    |   ^               |  |
//!    |   | Requeue       |  | Fail
//!    |   +---------------+  +---------------> FAILURE
//!    |   |               |
//!    |   | Requeue       | Retry
//!    |  RETRY <----------+
//!    |   |  Start -> STARTED
//!    |   |
//!    +---+--- Revoke (also from STARTED) ---> REVOKED
//!    +------- Fail (expired, refused) ------> FAILURE
//! ```
//!
//! The states are Celery's, because every Django team knows them. Terminal states are final. Unlike Celery, an unknown
//! id has no state at all.

use std::fmt;
use std::str::FromStr;

/// Where a task is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum State {
    /// Accepted and queued.
    Pending,
    /// Handed to an instance.
    Started,
    /// Failed in a way that is tried again, later.
    Retry,
    /// Done, with a result. Terminal.
    Success,
    /// Done, with an error. Terminal.
    Failure,
    /// Cancelled, or expired before it ran. Terminal.
    Revoked,
}

/// What can happen to a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Move {
    /// An instance takes it.
    Start,
    /// It goes back to the queue through no fault of its own (its instance died, the server stopped).
    Requeue,
    /// It failed and will be tried again.
    Retry,
    /// It has a result.
    Succeed,
    /// It has an error.
    Fail,
    /// It was cancelled or expired.
    Revoke,
}

/// A move that the state does not allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a task that is {from} cannot {move_:?}")]
pub struct IllegalMove {
    /// The state it was in.
    pub from: State,
    /// What was tried.
    pub move_: Move,
}

impl State {
    /// Every state, in the order of a task's life.
    pub const ALL: [Self; 6] = [
        Self::Pending,
        Self::Started,
        Self::Retry,
        Self::Success,
        Self::Failure,
        Self::Revoked,
    ];

    /// The name that users, stores and the wire see.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Started => "STARTED",
            Self::Retry => "RETRY",
            Self::Success => "SUCCESS",
            Self::Failure => "FAILURE",
            Self::Revoked => "REVOKED",
        }
    }

    /// True for `SUCCESS`, `FAILURE` and `REVOKED`: nothing changes after them.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        matches!(self, Self::Success | Self::Failure | Self::Revoked)
    }

    /// The state after `move_`, or why there is none. The only place that knows the arrows.
    pub const fn after(self, move_: Move) -> Result<Self, IllegalMove> {
        match (self, move_) {
            (Self::Pending | Self::Retry, Move::Start) => Ok(Self::Started),
            (Self::Started, Move::Requeue) => Ok(Self::Pending),
            (Self::Started, Move::Retry) => Ok(Self::Retry),
            (Self::Started, Move::Succeed) => Ok(Self::Success),
            (Self::Pending | Self::Started | Self::Retry, Move::Fail) => Ok(Self::Failure),
            (Self::Pending | Self::Started | Self::Retry, Move::Revoke) => Ok(Self::Revoked),
            (from, move_) => Err(IllegalMove { from, move_ }),
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// The text is not a state's name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a status is one of PENDING, STARTED, RETRY, SUCCESS, FAILURE, REVOKED")]
pub struct BadState;

impl FromStr for State {
    type Err = BadState;

    fn from_str(text: &str) -> Result<Self, BadState> {
        Self::ALL.into_iter().find(|s| s.name() == text).ok_or(BadState)
    }
}

impl serde::Serialize for State {
    fn serialize<S: serde::Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOVES: [Move; 6] = [
        Move::Start,
        Move::Requeue,
        Move::Retry,
        Move::Succeed,
        Move::Fail,
        Move::Revoke,
    ];

    #[test]
    fn terminal_states_are_final() {
        for state in State::ALL.into_iter().filter(|s| s.is_terminal()) {
            for move_ in MOVES {
                assert_eq!(state.after(move_), Err(IllegalMove { from: state, move_ }));
            }
        }
    }

    #[test]
    fn every_open_state_can_reach_an_end() {
        for state in State::ALL.into_iter().filter(|s| !s.is_terminal()) {
            assert!(
                MOVES
                    .iter()
                    .any(|m| state.after(*m).is_ok_and(State::is_terminal)),
                "{state}"
            );
        }
    }

    #[test]
    fn names_are_read_back() {
        for state in State::ALL {
            assert_eq!(state.name().parse(), Ok(state));
        }
        assert_eq!("DONE".parse::<State>(), Err(BadState));
    }
}
