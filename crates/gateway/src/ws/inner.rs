//! What is asked on a WebSocket is asked of the router, as a request in the name of who opened it: so it is checked, limited,
//! counted and refused as over HTTP, by the same code.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use axum::response::Response;
use bytes::Bytes;
use cresset_task::{Code, ModelName, TaskId};
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use crate::answer::JSON;
use crate::client::Peer;
use crate::problem::Problem;
use crate::ws::is_of_the_handshake;

/// The answers to a submit and to a cancellation, and problems, are far smaller.
const ANSWER_MAX: usize = 1 << 20;

/// Asks the router. Cheap to clone.
#[derive(Clone)]
pub(super) struct Inner {
    router: TowerToHyperService<Router>,
    headers: HeaderMap,
    peer: Option<Peer>,
}

/// What the router answered.
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
    /// The task that the answer names.
    pub(super) location: Option<TaskId>,
}

impl Inner {
    /// In the name of who sent this handshake.
    pub(super) fn new(router: Router, handshake: &Parts) -> Self {
        let headers = handshake.headers.iter();
        let kept = headers
            .filter(|(name, _)| !is_of_the_handshake(name))
            .map(|(name, value)| (name.clone(), value.clone()));
        Self {
            router: TowerToHyperService::new(router),
            headers: kept.collect(),
            peer: handshake.extensions.get::<Peer>().copied(),
        }
    }

    /// `POST /v1/models/{model}/tasks`.
    pub(super) async fn submit(&self, model: &ModelName, task: Bytes, key: Option<String>) -> Answered {
        let key = match key.map(HeaderValue::try_from).transpose() {
            Ok(key) => key,
            Err(_) => {
                return Answered::problem(&Problem::new(
                    Code::InvalidInput,
                    "`idempotency_key` has characters that no header can have; send 1 to 255 visible ASCII characters",
                ));
            }
        };
        let mut request = self.request(Method::POST, format!("/v1/models/{model}/tasks"), task.into());
        let headers = request.headers_mut();
        headers.insert(header::CONTENT_TYPE, JSON);
        if let Some(key) = key {
            headers.insert("idempotency-key", key);
        }
        self.ask(request).await
    }

    /// `POST /v1/tasks/{id}/cancel`.
    pub(super) async fn cancel(&self, id: TaskId) -> Answered {
        let request = self.request(Method::POST, format!("/v1/tasks/{id}/cancel"), Body::empty());
        self.ask(request).await
    }

    /// Whether this caller may see this task, which is there: `GET /v1/tasks/{id}/events` begins.
    pub(super) async fn may_follow(&self, id: TaskId) -> Result<(), Answered> {
        let request = self.request(Method::GET, format!("/v1/tasks/{id}/events"), Body::empty());
        let answer = self.call(request).await;
        if answer.status().is_success() {
            return Ok(()); // its stream ends as it is dropped
        }
        Err(Answered::of(answer).await)
    }

    fn request(&self, method: Method, path: String, body: Body) -> Request<Body> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        // Names of models and ids of tasks are all that varies, and they fit into a path.
        *request.uri_mut() = Uri::try_from(path).unwrap_or_default();
        *request.headers_mut() = self.headers.clone();
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(peer);
        }
        request
    }

    async fn ask(&self, request: Request<Body>) -> Answered {
        Answered::of(self.call(request).await).await
    }

    async fn call(&self, request: Request<Body>) -> Response {
        let Ok(response) = self.router.call(request).await;
        response
    }
}

impl Answered {
    async fn of(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let location = parts.headers.get(header::LOCATION);
        let location = location.and_then(|path| path.to_str().ok()?.rsplit('/').next()?.parse().ok());
        match to_bytes(body, ANSWER_MAX).await {
            Ok(body) => Self {
                status: parts.status,
                body,
                location,
            },
            Err(error) => Self::problem(
                &Problem::new(Code::Internal, "the answer could not be read").because(error.to_string()),
            ),
        }
    }

    /// An answer that never was at the router.
    pub(super) fn problem(problem: &Problem) -> Self {
        let (status, body) = problem.alone();
        Self {
            status,
            body: body.into(),
            location: None,
        }
    }
}
