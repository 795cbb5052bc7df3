//! From an address and a body to an answer: looked up once, every address checked, signed, posted, within a bounded time.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use cresset_task::{CallbackUrl, Timestamp, Trace};
use http_body_util::Full;
use hyper::{Request, header};
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::ServerName;
use url::Host;

use crate::guard::Guard;
use crate::message::{ID, SIGNATURE, TIMESTAMP, TRACEPARENT, TRACESTATE};
use crate::policy::{Answer, retry_after};
use crate::post::Line;
use crate::secret::Keys;

/// A receiver has so long, from the look-up of its name to its status: it should take a message and work later.
pub const TRY_TIMEOUT: Duration = Duration::from_secs(15);

const USER_AGENT: &str = concat!("cresset/", env!("CARGO_PKG_VERSION"));

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// What it said of when to come back.
    pub retry_after: Option<String>,
    /// The beginning of its text.
    pub text: Bytes,
}

/// Why nothing came back.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The address may not be called. Which it is, is for the log alone: names of an inner network are not told to callers.
    #[error("its host is, or leads to, an address that may not be called; `webhooks.allow` opens networks")]
    Refused(IpAddr),
    /// The name cannot be looked up.
    #[error("the name of its host cannot be looked up: {0}")]
    Name(#[source] io::Error),
    /// Nobody is there.
    #[error("it cannot be connected to: {0}")]
    Connect(#[source] io::Error),
    /// TLS says no.
    #[error("TLS with it failed: {0}")]
    Tls(#[source] io::Error),
    /// It does not speak HTTP, or hung up.
    #[error("it did not answer in HTTP: {0}")]
    Http(#[source] hyper::Error),
    /// It took too long.
    #[error("it did not answer within {TRY_TIMEOUT:?}")]
    TimedOut,
    /// It cannot be sent at all.
    #[error("it cannot be sent: {0}")]
    Unsendable(#[source] hyper::http::Error),
}

/// Looks names up.
#[async_trait]
pub trait Resolve: Send + Sync {
    /// The addresses of a name.
    async fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// As this machine does it.
struct System;

#[async_trait]
impl Resolve for System {
    async fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((name, port)).await?.collect())
    }
}

/// Something to be sent.
#[derive(Clone, Debug)]
pub struct Words {
    /// Its name: the same for every try.
    pub id: String,
    /// The whole body.
    pub body: Bytes,
    /// Where this try is in the trace of the task's submitter.
    pub trace: Option<Trace>,
}

/// Sends.
pub struct Courier {
    keys: Keys,
    guard: Guard,
    resolve: Arc<dyn Resolve>,
    line: Line,
    timeout: Duration,
}

impl Courier {
    /// Signs with these keys, and calls what the guard admits.
    #[must_use]
    pub fn new(keys: Keys, guard: Guard) -> Self {
        Self {
            keys,
            guard,
            resolve: Arc::new(System),
            line: Line::of_this_machine(),
            timeout: TRY_TIMEOUT,
        }
    }

    /// One that looks names up so, waits so long and trusts nobody's certificates: for tests.
    #[must_use]
    pub fn looking_up(self, resolve: Arc<dyn Resolve>, timeout: Duration) -> Self {
        Self {
            resolve,
            timeout,
            line: Line::trusting(RootCertStore::empty()),
            ..self
        }
    }

    /// Whether an address is refused as it is written: a number that may not be called. Names are looked up when they are called.
    #[must_use]
    pub fn refuses(&self, url: &CallbackUrl) -> bool {
        match url.url().host() {
            Some(Host::Ipv4(ip)) => !self.guard.admits(ip.into()),
            Some(Host::Ipv6(ip)) => !self.guard.admits(ip.into()),
            Some(Host::Domain(_)) => false,
            None => true,
        }
    }

    /// Sends it once.
    pub async fn post(&self, url: &CallbackUrl, words: &Words, now: Timestamp) -> Result<Reply, Trouble> {
        let done = tokio::time::timeout(self.timeout, self.try_to(url, words, now)).await;
        done.unwrap_or(Err(Trouble::TimedOut))
    }

    async fn try_to(&self, url: &CallbackUrl, words: &Words, now: Timestamp) -> Result<Reply, Trouble> {
        let addresses = self.checked(url).await?;
        let tls = match (url.url().scheme(), url.url().host()) {
            ("https", Some(Host::Domain(name))) => {
                let name = ServerName::try_from(name.to_owned());
                Some(name.map_err(|e| Trouble::Tls(io::Error::other(e)))?)
            }
            ("https", Some(Host::Ipv4(ip))) => Some(ServerName::from(IpAddr::from(ip))),
            ("https", Some(Host::Ipv6(ip))) => Some(ServerName::from(IpAddr::from(ip))),
            _ => None,
        };
        let request = self.request(url, words, now).map_err(Trouble::Unsendable)?;
        self.line.post(&addresses, tls, request).await
    }

    /// The addresses, none of which is refused: a name that leads to one of our own, among others, is somebody's trick.
    async fn checked(&self, url: &CallbackUrl) -> Result<Vec<SocketAddr>, Trouble> {
        let port = url.url().port_or_known_default().unwrap_or(443);
        let addresses = match url.url().host() {
            Some(Host::Ipv4(ip)) => vec![SocketAddr::new(ip.into(), port)],
            Some(Host::Ipv6(ip)) => vec![SocketAddr::new(ip.into(), port)],
            Some(Host::Domain(name)) => self.resolve.resolve(name, port).await.map_err(Trouble::Name)?,
            None => Vec::new(),
        };
        match addresses.iter().find(|address| !self.guard.admits(address.ip())) {
            Some(refused) => Err(Trouble::Refused(refused.ip())),
            None => Ok(addresses),
        }
    }

    fn request(
        &self,
        url: &CallbackUrl,
        words: &Words,
        now: Timestamp,
    ) -> Result<Request<Full<Bytes>>, hyper::http::Error> {
        let seconds = now.as_micros().div_euclid(1_000_000);
        let (url, path) = (url.url(), &url.url()[url::Position::BeforePath..]);
        // As a browser writes it: without the port that the scheme has anyway.
        let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
        let mut request = Request::post(path)
            .header(header::HOST, host)
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::CONNECTION, "close")
            .header(ID, &words.id)
            .header(TIMESTAMP, seconds)
            .header(SIGNATURE, self.keys.sign(&words.id, seconds, &words.body));
        if let Some(trace) = &words.trace {
            request = request.header(TRACEPARENT, trace.traceparent());
            if let Some(state) = &trace.state {
                request = request.header(TRACESTATE, state.as_str());
            }
        }
        request.body(Full::new(words.body.clone()))
    }
}

/// What came of it, for the policy; and what a person reads of it, unless it went well.
pub(crate) fn understand(reply: &Result<Reply, Trouble>, now: Timestamp) -> (Answer, Option<String>) {
    match reply {
        Ok(reply) => {
            let asked = reply
                .retry_after
                .as_deref()
                .and_then(|text| retry_after(text, now));
            let note = match reply.status {
                200..=299 => None,
                status @ 300..=399 => Some(format!("it answered {status}, and redirects are not followed")),
                status => Some(format!("it answered {status}")),
            };
            (Answer::Status(reply.status, asked), note)
        }
        Err(trouble @ Trouble::Refused(_)) => (Answer::Refused, Some(trouble.to_string())),
        Err(trouble) => (Answer::None, Some(trouble.to_string())),
    }
}
