//! One request over one connection, to an address that has been checked: nothing here looks a name up, follows a redirect, or
//! uses a proxy.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};

use crate::courier::{Reply, Trouble};

/// A handshake with an address that answers at all is done in much less.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Addresses of one name that are tried, at most.
const ADDRESSES_MAX: usize = 3;
/// The status has been told; what else comes is for people to read, and waited for no longer than this.
const TEXT_TIMEOUT: Duration = Duration::from_secs(2);
/// And so much of it is read.
const TEXT_MAX: usize = 4 << 10;
/// What is kept of an answer's head while it comes.
const HEAD_MAX: usize = 16 << 10;
const HEADERS_MAX: usize = 64;

/// How connections are made.
pub(crate) struct Line {
    tls: TlsConnector,
}

impl Line {
    /// With the certificates that this machine trusts. None is not an error: `http://` needs none.
    pub(crate) fn of_this_machine() -> Self {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        let (added, ignored) = roots.add_parsable_certificates(found.certs);
        if added == 0 || ignored > 0 || !found.errors.is_empty() {
            let error = found.errors.first().map(ToString::to_string);
            tracing::warn!(
                added,
                ignored,
                error,
                "not all certificates of this machine can be used for webhooks"
            );
        }
        Self::trusting(roots)
    }

    pub(crate) fn trusting(roots: RootCertStore) -> Self {
        let provider = Arc::new(crypto::ring::default_provider());
        let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = match versions {
            Ok(config) => config.with_root_certificates(roots).with_no_client_auth(),
            // The provider that is named above has them all.
            Err(error) => unreachable!("{error}"),
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self {
            tls: TlsConnector::from(Arc::new(config)),
        }
    }

    /// Sends the request to one of these addresses; over TLS, to a server of that name, when there is one.
    pub(crate) async fn post(
        &self,
        addresses: &[SocketAddr],
        tls: Option<ServerName<'static>>,
        request: Request<Full<Bytes>>,
    ) -> Result<Reply, Trouble> {
        let stream = connect(addresses).await?;
        match tls {
            None => exchange(stream, request).await,
            Some(name) => {
                let handshake = self.tls.connect(name, stream);
                let stream = tokio::time::timeout(CONNECT_TIMEOUT, handshake).await;
                let stream = stream.map_err(|_| Trouble::TimedOut)?.map_err(Trouble::Tls)?;
                exchange(stream, request).await
            }
        }
    }
}

async fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, Trouble> {
    let mut trouble = Trouble::Name(io::Error::other("the name has no address"));
    for address in addresses.iter().take(ADDRESSES_MAX) {
        match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => trouble = Trouble::Connect(error),
            Err(_) => trouble = Trouble::TimedOut,
        }
    }
    Err(trouble)
}

async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> Result<Reply, Trouble>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = http1::Builder::new();
    builder.max_buf_size(HEAD_MAX).max_headers(HEADERS_MAX);
    let (mut sender, connection) = builder
        .handshake(TokioIo::new(stream))
        .await
        .map_err(Trouble::Http)?;
    let talk = async move {
        let response = sender.send_request(request).await.map_err(Trouble::Http)?;
        Ok(read(response).await)
    };
    tokio::pin!(talk, connection);
    tokio::select! {
        biased;
        done = &mut talk => done,
        // Nothing more will come; what has come is still told.
        _ended = &mut connection => talk.await,
    }
}

/// The status is the answer; its text is read as far as it comes soon.
async fn read(response: Response<Incoming>) -> Reply {
    let status = response.status().as_u16();
    let header = response.headers().get(hyper::header::RETRY_AFTER);
    let retry_after = header.and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut body = response.into_body();
    let mut text = BytesMut::new();
    let gather = async {
        while text.len() < TEXT_MAX
            && let Some(Ok(frame)) = body.frame().await
        {
            if let Some(data) = frame.data_ref() {
                text.extend_from_slice(&data[..data.len().min(TEXT_MAX - text.len())]);
            }
        }
    };
    // Late or cut short, it is only text.
    let _late = tokio::time::timeout(TEXT_TIMEOUT, gather).await;
    Reply {
        status,
        retry_after,
        text: text.freeze(),
    }
}
