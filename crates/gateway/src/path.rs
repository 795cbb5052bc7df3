//! The variable part of a path: a model's name or a task's id.

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequestParts, Path};
use axum::http::request::Parts;
use cresset_engine::EngineError;
use cresset_task::{BulkId, Code, EventId, TaskId};

use crate::problem::Problem;
use crate::query::cut;

/// A longer name is nobody's, and is not repeated in an answer.
const NAME_MAX: usize = 256;

/// The `{model}` of a path, as text: the engine knows which names there are.
pub(crate) struct ModelPath(pub(crate) String);

/// The `{id}` of a task's path.
pub(crate) struct TaskPath(pub(crate) TaskId);

/// The `{id}` of a dead letter's path: that of its task.
pub(crate) struct LetterPath(pub(crate) TaskId);

/// The `{id}` of a webhook's path.
pub(crate) struct WebhookPath(pub(crate) EventId);

/// The `{id}` of a batch's path.
pub(crate) struct BulkPath(pub(crate) BulkId);

impl<S: Send + Sync> FromRequestParts<S> for BulkPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        id(parts, state, "batch's id", Code::UnknownBatch).await.map(Self)
    }
}

/// A name that no model can have is told as one that none has.
impl<S: Send + Sync> FromRequestParts<S> for ModelPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match segment(parts, state).await {
            Ok(name) if name.len() <= NAME_MAX => Ok(Self(name)),
            Ok(name) => Err(EngineError::UnknownModel {
                name: cut(&name),
                nearest: None,
            }
            .into()),
            Err(_) => Err(EngineError::UnknownModel {
                name: "(not UTF-8)".into(),
                nearest: None,
            }
            .into()),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for TaskPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        id(parts, state, "task id", Code::UnknownTask).await.map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for LetterPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        id(parts, state, "task id", Code::UnknownLetter).await.map(Self)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for WebhookPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        id(parts, state, "webhook's id", Code::UnknownWebhook)
            .await
            .map(Self)
    }
}

/// Text that cannot be an id is told as an id that nobody has, with what an id looks like.
async fn id<T: FromStr<Err: Display>, S: Send + Sync>(
    parts: &mut Parts,
    state: &S,
    what: &str,
    unknown: Code,
) -> Result<T, Problem> {
    let text = segment(parts, state)
        .await
        .unwrap_or_else(|_| "(not UTF-8)".into());
    text.parse()
        .map_err(|error| Problem::new(unknown, format!("`{}` is not a {what}: {error}", cut(&text))))
}

async fn segment<S: Send + Sync>(parts: &mut Parts, state: &S) -> Result<String, PathRejection> {
    Path::<String>::from_request_parts(parts, state)
        .await
        .map(|Path(text)| text)
}
