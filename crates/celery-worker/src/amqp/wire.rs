//! The bytes under AMQP: TCP, and TLS of the kind that the rest of the program has. The AMQP library brings a TLS of its own, and with
//! it readers of key stores and ciphers that nobody here needs; it is given a stream that is ready instead.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_rs::Tokio;
use async_rs::traits::{Executor, Reactor, RuntimeKit};
use async_rs::util::Task;
use futures_util::Stream;
use futures_util::io::{AsyncRead, AsyncWrite};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::compat::TokioAsyncReadCompatExt as _;

use super::address::Address;
use super::guard::{Cord, Guard};

/// A server that does not take a connection by then is not there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes both ways.
pub(super) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// A stream, whatever is under it.
pub(super) type Wire = Box<dyn Duplex>;

/// TLS with the roots that the machine trusts.
pub(super) fn tls() -> Result<TlsConnector, String> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (added, _) = roots.add_parsable_certificates(found.certs);
    if added == 0 {
        return Err("this machine has no root certificates to check the broker's with".into());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Connects.
pub(super) async fn connect(address: &Address, tls: Option<&TlsConnector>, cord: Cord) -> io::Result<Wire> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time");
    let target = (address.host(), address.port());
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(target))
        .await
        .map_err(late)??;
    stream.set_nodelay(true)?;
    let Some(tls) = tls else {
        return Ok(Box::new(Guard::new(stream.compat(), cord)));
    };
    let name = ServerName::try_from(address.host().to_owned())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the host's name cannot be checked"))?;
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, tls.connect(name, stream))
        .await
        .map_err(late)??;
    Ok(Box::new(Guard::new(stream.compat(), cord)))
}

/// tokio, with streams of ours.
#[derive(Clone, Debug)]
pub(super) struct Kit(Tokio);

impl Kit {
    /// That of the runtime we are in.
    pub(super) fn current() -> Self {
        Self(Tokio::current())
    }
}

impl RuntimeKit for Kit {}

impl Executor for Kit {
    type Task<T: Send + 'static> = <Tokio as Executor>::Task<T>;

    fn block_on<T, F: Future<Output = T>>(&self, f: F) -> T {
        self.0.block_on(f)
    }

    fn spawn<T: Send + 'static, F: Future<Output = T> + Send + 'static>(&self, f: F) -> Task<Self::Task<T>> {
        self.0.spawn(f)
    }

    fn spawn_blocking<T: Send + 'static, F: FnOnce() -> T + Send + 'static>(
        &self,
        f: F,
    ) -> Task<Self::Task<T>> {
        self.0.spawn_blocking(f)
    }
}

impl Reactor for Kit {
    type TcpStream = Wire;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: io::Read + io::Write + AsFd + AsRawFd + Send + 'static>(
        &self,
        socket: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        self.0.register(socket)
    }

    fn sleep(&self, dur: Duration) -> Self::Sleep {
        self.0.sleep(dur)
    }

    fn interval(&self, dur: Duration) -> impl Stream<Item = Instant> + Send + 'static {
        self.0.interval(dur)
    }

    fn tcp_connect_addr(
        &self,
        addr: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        let connecting = self.0.tcp_connect_addr(addr);
        async move { Ok(Box::new(connecting.await?) as Wire) }
    }
}
