//! A task that was accepted for a caller who may be willing to wait for its end, and the words in which it is told so.
//!
//! It knows no route: a submit and a prediction that takes a task make the same promise.

use std::time::Duration;

use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::Response;
use cresset_engine::{Accepted, Client, IdempotencyKey, Submission, TaskView};
use cresset_task::{CacheUse, ModelName};

use crate::answer::{json, with_header};
use crate::app::App;
use crate::idempotency::IDEMPOTENCY_REPLAYED;
use crate::json_out::ObjectOut;
use crate::order::Order;
use crate::prefer::{PREFERENCE_APPLIED, Preference};
use crate::problem::Problem;
use crate::{auth, tasks, trace};

/// About the size of the answer.
const ANSWER_BYTES: usize = 256;

/// A task that is on stable storage.
pub(crate) struct Promise {
    accepted: Accepted,
    /// The task at its end, if that came while the caller waited.
    pub(crate) ended: Option<TaskView>,
}

/// An order, as it is submitted.
pub(crate) fn submission(
    model: ModelName,
    order: Order,
    cache: CacheUse,
    idempotency_key: Option<IdempotencyKey>,
    parts: &Parts,
) -> Submission {
    let Order { input, mut options } = order;
    Submission {
        model,
        input,
        priority: options.priority,
        callback: options.callback(),
        metadata: options.metadata,
        due_at: options.due_at,
        expires_at: options.expires_at,
        deadline_at: options.deadline_at,
        cache,
        retry: options.retry,
        trace: trace::taken(&parts.extensions),
        tenant: auth::tenant(&parts.extensions),
        idempotency_key,
        client: parts.extensions.get::<Client>().cloned(),
    }
}

impl Promise {
    /// Of a task that is there already.
    pub(crate) fn of(accepted: Accepted) -> Self {
        Self {
            accepted,
            ended: None,
        }
    }

    /// Submits, and waits this long for the end.
    pub(crate) async fn make(
        app: &App,
        submission: Submission,
        wait: Option<Duration>,
    ) -> Result<Self, Problem> {
        let accepted = app.engine.submit(submission).await?;
        let ended = match wait {
            Some(wait) => tasks::ended(app, accepted.id, wait).await,
            None => None,
        };
        Ok(Self { accepted, ended })
    }

    /// 202 and what the task is.
    pub(crate) fn accepted(&self) -> Response {
        let mut answer = ObjectOut::new(ANSWER_BYTES);
        answer.plain("task_id", self.accepted.id);
        answer.plain("model", &self.accepted.model);
        answer.plain("status", self.accepted.state);
        answer.plain("created_at", self.accepted.created_at);
        answer.value("durable", &self.accepted.durable);
        json(StatusCode::ACCEPTED, answer.end())
    }

    /// The same answer, which says where the task is and what was preferred.
    pub(crate) fn sign(&self, mut response: Response, preference: Preference) -> Response {
        let in_place = response.status() == StatusCode::ACCEPTED;
        if let Some(applied) = preference.applied(in_place) {
            response = with_header(response, PREFERENCE_APPLIED, applied);
        }
        if self.accepted.replayed {
            response = with_header(response, IDEMPOTENCY_REPLAYED, "true".into());
        }
        with_header(
            response,
            header::LOCATION,
            format!("/v1/tasks/{}", self.accepted.id),
        )
    }
}
