//! The HTTP client behind `submit` (also with `--jsonl`), `status`, `result`, `cancel`, `batch` and `models`: one place that knows paths, time
//! limits and what an answer means.
//!
//! A call is made once and its end is typed ([`CallError`]); whether to try again is the caller's decision, because only
//! the caller knows whether asking twice could make two tasks.

mod batches;
mod dead;
mod error;
mod key;
mod pages;
mod submission;
mod target;
mod tasks;
mod upload;
mod wait;
mod webhooks;
mod wire;
mod workers;

use std::path::Path;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use cresset_task::TaskId;
use reqwest::{Certificate, Method, Response, header};
use tokio_rustls::rustls::crypto::ring;

pub(crate) use batches::{Batch, BatchWaitEnd, Opening};
pub(crate) use dead::Letter;
pub(crate) use error::CallError;
#[cfg(test)]
pub(crate) use error::Problem;
pub(crate) use key::ApiKey;
pub(crate) use submission::SubmitBody;
pub(crate) use target::{DEFAULT_URL, Target};
pub(crate) use tasks::{Listed, TaskFilter};
pub(crate) use upload::Upload;
pub(crate) use wait::{POLL, WaitEnd};
pub(crate) use webhooks::{Tested, Webhook, WebhookFilter};
pub(crate) use wire::{
    Accepted, Batching, Cancelled, Instance, Model, Models, Progress, RetryShown, Task, Tensor,
};
pub(crate) use workers::{Worker, WorkerModel};

use crate::exit::{Exit, Trouble};

/// A server in the same data centre answers a connect in milliseconds; one that takes longer than this is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// One call, the long poll's own waiting not counted. Sending and storing a large body is the longest of them.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a connection is silent before it is asked whether the other side is still there: an upload, or the answer to one, may
/// rightly take longer than any limit of a call.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// The largest answer that is read: results are a caller's own doing, a runaway answer must not eat all memory.
const ANSWER_MAX: usize = 256 << 20;
/// Idle connections kept: as many as `submit --jsonl` may have in flight by default, so that it does not reconnect.
const IDLE_CONNECTIONS: usize = 64;

/// A server to talk to; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    http: reqwest::Client,
    target: Target,
}

impl Client {
    /// A client for the server at `target`, whose certificate comes from who is in the file `ca`, or whom this machine trusts.
    /// Connects to nothing yet.
    pub(crate) fn new(target: &Target, key: Option<&ApiKey>, ca: Option<&Path>) -> Result<Self, Trouble> {
        let mut headers = header::HeaderMap::new();
        if let Some(key) = key {
            headers.insert(header::AUTHORIZATION, key.header()?);
        }
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("cresset/", env!("CARGO_PKG_VERSION")))
            .default_headers(headers)
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_keepalive(KEEPALIVE)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .redirect(reqwest::redirect::Policy::none());
        if target.is_loopback() {
            // A proxy cannot reach our loopback; one in the environment is meant for the outside.
            builder = builder.no_proxy();
        }
        if let Some(socket) = target.socket() {
            builder = builder.unix_socket(socket);
        }
        // The only one there is; an error says that it has been said before.
        let _said = ring::default_provider().install_default();
        builder = match (target.is_tls(), ca) {
            // Those that this machine trusts are read from files, which takes a while.
            (false, _) => builder.tls_certs_only([]),
            (true, None) => builder,
            (true, Some(file)) => builder.tls_certs_only(authorities(file)?),
        };
        let http = builder.build().map_err(|error| {
            Trouble::new(Exit::SOFTWARE, format!("cannot set up the HTTP client: {error}"))
        })?;
        Ok(Self {
            http,
            target: target.clone(),
        })
    }

    /// Submits a task. `key` names this submit for servers that recognise a repeated one.
    pub(crate) async fn submit(
        &self,
        model: &str,
        body: Bytes,
        key: Option<&str>,
    ) -> Result<(Accepted, Bytes), CallError> {
        let path = format!("/v1/models/{}/tasks", segment(model));
        let mut request = self
            .request(Method::POST, &path)
            .header(header::CONTENT_TYPE, "application/json")
            .body(body);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.read(request.timeout(CALL_TIMEOUT)).await
    }

    /// A task as it is now, or, with `wait`, once it has ended, at the latest after that long.
    pub(crate) async fn task(&self, id: TaskId, wait: Option<Duration>) -> Result<(Task, Bytes), CallError> {
        let query = wait
            .map(|wait| format!("?wait={}ms", wait.as_millis()))
            .unwrap_or_default();
        let path = format!("/v1/tasks/{id}{query}");
        self.read(
            self.request(Method::GET, &path)
                .timeout(CALL_TIMEOUT + wait.unwrap_or_default()),
        )
        .await
    }

    /// Revokes a task that has not ended.
    pub(crate) async fn cancel(&self, id: TaskId) -> Result<(Cancelled, Bytes), CallError> {
        let path = format!("/v1/tasks/{id}/cancel");
        self.read(self.request(Method::POST, &path).timeout(CALL_TIMEOUT))
            .await
    }

    /// All models.
    pub(crate) async fn models(&self) -> Result<(Models, Bytes), CallError> {
        self.read(self.request(Method::GET, "/v1/models").timeout(CALL_TIMEOUT))
            .await
    }

    /// One model, as the server tells it.
    pub(crate) async fn model(&self, name: &str) -> Result<(Model, Bytes), CallError> {
        let path = format!("/v1/models/{}", segment(name));
        self.read(self.request(Method::GET, &path).timeout(CALL_TIMEOUT))
            .await
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http
            .request(method, self.target.join(path))
            .header(header::ACCEPT, "application/json")
    }

    /// Sends, and reads the answer as `T`; the bytes come along for those who hand them on untouched.
    async fn read<T: serde::de::DeserializeOwned>(
        &self,
        request: reqwest::RequestBuilder,
    ) -> Result<(T, Bytes), CallError> {
        let response = request
            .send()
            .await
            .map_err(|error| CallError::transport(&self.target, error))?;
        let status = response.status();
        let retry_after = error::retry_after(response.headers());
        let body = self.body(response).await?;
        if !status.is_success() {
            return Err(CallError::refused(&self.target, status, retry_after, &body));
        }
        match serde_json::from_slice(&body) {
            Ok(value) => Ok((value, body)),
            Err(error) => Err(CallError::Foreign {
                url: self.target.to_string(),
                what: format!("its answer is not what a Cresset server sends ({error})"),
            }),
        }
    }

    async fn body(&self, mut response: Response) -> Result<Bytes, CallError> {
        let mut body = BytesMut::new();
        while let Some(piece) = response
            .chunk()
            .await
            .map_err(|error| CallError::transport(&self.target, error))?
        {
            if body.len() + piece.len() > ANSWER_MAX {
                return Err(CallError::TooLarge {
                    url: self.target.to_string(),
                    limit: ANSWER_MAX,
                });
            }
            body.extend_from_slice(&piece);
        }
        Ok(body.freeze())
    }
}

/// The certificates in a file.
fn authorities(file: &Path) -> Result<Vec<Certificate>, Trouble> {
    let bad = |why: String| {
        Trouble::new(Exit::DATA, format!("--ca {}: {why}", file.display()))
            .hint("it is a PEM file with the certificate of who signed the server's")
    };
    let text = std::fs::read(file).map_err(|error| bad(error.to_string()))?;
    match Certificate::from_pem_bundle(&text) {
        Ok(found) if found.is_empty() => Err(bad("there is no certificate in it".into())),
        Ok(found) => Ok(found),
        Err(error) => Err(bad(error.to_string())),
    }
}

/// `text` as one segment of a path: what is not plainly harmless is percent-encoded.
fn segment(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_' | b'~')
            || (byte == b'.' && text.len() > 2)
        {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_name_cannot_leave_its_segment() {
        assert_eq!(segment("resnet-18.v2_a"), "resnet-18.v2_a");
        assert_eq!(segment("a/../b?c#d e"), "a%2F..%2Fb%3Fc%23d%20e");
        assert_eq!(segment(".."), "%2E%2E");
    }
}
