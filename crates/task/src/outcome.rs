//! How a task ends.

use std::time::Duration;

use crate::code::Code;
use crate::letter::Evidence;
use crate::payload::Payload;
use crate::state::Move;

/// The one terminal outcome of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It has a result.
    Success(Payload),
    /// It has an error.
    Failure(Failure),
    /// It was cancelled, or expired before it ran; says which.
    Revoked {
        /// In words, for the caller.
        reason: String,
    },
}

impl Outcome {
    /// The move of the state machine that this outcome makes.
    #[must_use]
    pub const fn as_move(&self) -> Move {
        match self {
            Self::Success(_) => Move::Succeed,
            Self::Failure(_) => Move::Fail,
            Self::Revoked { .. } => Move::Revoke,
        }
    }
}

/// Why a task failed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Failure {
    /// The stable code; one of the task failures in [`Code`].
    pub code: Code,
    /// The exception's class as Python names it (`ValueError`), or a class of ours (`InstanceDied`).
    #[serde(rename = "type")]
    pub type_: String,
    /// What went wrong, for the caller.
    pub message: String,
    /// Where in the model's code it went wrong; for those who may see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceback: Option<String>,
    /// Which part of the model's code was running.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// What the model's code says of another try. Not kept: it has been decided on when a failure is stored.
    #[serde(skip)]
    pub again: Again,
}

impl Failure {
    /// One of which no more is known than this.
    #[must_use]
    pub fn new(code: Code, type_: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code,
            type_: type_.into(),
            message: message.into(),
            traceback: None,
            stage: None,
            again: Again::default(),
        }
    }
}

/// What a failure's model, or its end, says of trying its input again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Again {
    /// Nothing: the model's retry policy decides.
    #[default]
    Policy,
    /// Yes, after this long if it says so (`cresset.Retry`).
    Wanted(Option<Duration>),
    /// No, whatever the policy says (`cresset.Reject`).
    Never,
    /// No: the input takes its process down, as this says. A task of it leaves a dead letter.
    Dead(Box<Evidence>),
}

/// The part of a model's code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Importing the entry module.
    Import,
    /// `load`.
    Load,
    /// `warmup`.
    Warmup,
    /// `preprocess`.
    Preprocess,
    /// `predict`.
    Predict,
    /// `postprocess`.
    Postprocess,
    /// Turning what the model gave back into a result.
    Output,
}

impl Stage {
    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Import => "import",
            Self::Load => "load",
            Self::Warmup => "warmup",
            Self::Preprocess => "preprocess",
            Self::Predict => "predict",
            Self::Postprocess => "postprocess",
            Self::Output => "output",
        }
    }
}
