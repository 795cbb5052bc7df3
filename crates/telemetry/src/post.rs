//! How requests travel: by the HTTP client that the program has, on its runtime. OpenTelemetry's own thread waits for them.

use std::error::Error;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use reqwest::{Client, redirect};
use rustls::crypto::ring;
use tokio::runtime::Handle;
use tokio_util::task::TaskTracker;

/// What is read of an answer: it says little, and a collector is not trusted with our memory.
const ANSWER_MAX: usize = 64 << 10;

#[derive(Debug)]
pub(crate) struct Post {
    client: Client,
    runtime: Handle,
    tracker: TaskTracker,
}

impl Post {
    /// One whose requests are tasks of this runtime.
    pub(crate) fn new(runtime: Handle, timeout: Duration) -> Result<Self, reqwest::Error> {
        // The only one there is; an error says that it has been said before.
        let _said = ring::default_provider().install_default();
        let client = Client::builder()
            .user_agent(concat!("cresset/", env!("CARGO_PKG_VERSION")))
            .timeout(timeout)
            .redirect(redirect::Policy::none())
            .build()?;
        Ok(Self {
            client,
            runtime,
            tracker: TaskTracker::new(),
        })
    }
}

#[async_trait]
impl HttpClient for Post {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let request = self
            .client
            .request(head.method, head.uri.to_string())
            .headers(head.headers)
            .body(body);
        // Dropping the handle does not stop it; its own time limit does.
        let asked = self.tracker.spawn_on(ask(request), &self.runtime);
        asked.await?
    }
}

async fn ask(request: reqwest::RequestBuilder) -> Result<Response<Bytes>, HttpError> {
    let mut answer = request.send().await.map_err(told)?;
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        response = response.header(name, value);
    }
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(told)? {
        let room = ANSWER_MAX - body.len();
        if piece.len() > room {
            return Err(format!("the collector answered more than {ANSWER_MAX} bytes").into());
        }
        body.extend_from_slice(&piece);
    }
    Ok(response.body(body.into())?)
}

/// Says why in the log: OpenTelemetry calls all of it a network error. The address is left out, as it may have a secret in it.
fn told(error: reqwest::Error) -> reqwest::Error {
    let error = error.without_url();
    let mut first: &dyn Error = &error;
    while let Some(cause) = first.source() {
        first = cause;
    }
    tracing::debug!(%error, cause = %first, "the collector cannot be asked");
    error
}
