//! Connections: accept, bound, serve, drain.
//!
//! Stopping, in order: no new connections; idle ones are closed; long polls answer what they know; requests in flight
//! are finished; what is left at the deadline is cut.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use cresset_engine::Engine;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::client::{Identify, Peer};
use crate::options::GatewayOptions;
use crate::router;

/// After an accept fails for lack of descriptors or memory: long enough not to spin, short enough not to be noticed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections that the kernel finishes before we accept them; it cuts this to its own limit (`net.core.somaxconn`).
/// With the usual 128, some of a few hundred callers that come at once are dropped, and try again after a second.
const BACKLOG: u32 = 65_535;

/// Opens the port. Apart from [`serve`], so that a taken port is known before models are loaded. Must be called inside a
/// tokio runtime.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restart must not wait for connections of the last run to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Answers HTTP/1.1 on `listener` until `stop` is cancelled and the requests in flight are done, or
/// `options.drain_timeout` has passed. When it returns, every connection is closed.
pub async fn serve(
    listener: TcpListener,
    engine: Engine,
    options: GatewayOptions,
    stop: CancellationToken,
) -> io::Result<()> {
    let tracker = TaskTracker::new();
    let drain_timeout = options.drain_timeout;
    let slots = Arc::new(Semaphore::new(
        options.max_connections.min(Semaphore::MAX_PERMITS),
    ));
    let http = protocol(&options);
    let identify = options.identify.clone();
    let app = App::new(engine, options, stop.clone(), tracker.clone());
    let router = router::router(app);
    let cut = CancellationToken::new();

    while let Some((stream, address, slot)) = next_connection(&listener, &slots, &stop).await {
        let service = Answering {
            router: TowerToHyperService::new(router.clone()),
            peer: (identify != Identify::Off).then(|| Peer(address.ip())),
        };
        let served = connection(
            stream,
            http.clone(),
            service,
            stop.child_token(),
            cut.child_token(),
        );
        tracker.spawn(async move {
            served.await;
            drop(slot);
        });
    }
    drop(listener); // the kernel refuses callers from now on

    tracker.close();
    if tokio::time::timeout(drain_timeout, tracker.wait()).await.is_err() {
        tracing::warn!(
            connections = tracker.len(),
            ?drain_timeout,
            "requests were not done in time; their connections are cut"
        );
        cut.cancel();
        tracker.wait().await;
    }
    Ok(())
}

fn protocol(options: &GatewayOptions) -> http1::Builder {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new());
    http.header_read_timeout(options.header_read_timeout);
    // Answers to pipelined requests leave together.
    http.pipeline_flush(true);
    http
}

/// The next connection and its slot; `None` once told to stop. The slot is taken first: while all are taken, callers
/// wait in the kernel's backlog.
async fn next_connection(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    stop: &CancellationToken,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    // Both futures below may be dropped at any point: a permit is given back, a connection stays in the backlog.
    let slot = tokio::select! {
        biased;
        () = stop.cancelled() => return None,
        slot = Arc::clone(slots).acquire_owned() => slot.expect("the semaphore is never closed"),
    };
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => return Some((stream, address, slot)),
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                tracing::error!(%error, "connections cannot be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The caller went away between knocking and being let in.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

/// What answers the requests of one connection.
struct Answering {
    router: TowerToHyperService<Router>,
    /// Told to whoever tells clients apart.
    peer: Option<Peer>,
}

impl Service<hyper::Request<Incoming>> for Answering {
    type Response = axum::response::Response;
    type Error = Infallible;
    type Future = <TowerToHyperService<Router> as Service<hyper::Request<Incoming>>>::Future;

    fn call(&self, mut request: hyper::Request<Incoming>) -> Self::Future {
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(peer);
        }
        self.router.call(request)
    }
}

/// One connection, to its end. The tokens are this connection's own, so that polling them contends with nobody.
async fn connection(
    stream: TcpStream,
    http: http1::Builder,
    service: Answering,
    stop: CancellationToken,
    cut: CancellationToken,
) {
    // Answers are written whole; waiting to fill a segment would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection ended as it began");
        return;
    }
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), service));
    // `connection` is only borrowed by the branches, so nothing is lost when the other one wins.
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = cut.cancelled() => return,
            }
        }
    };
    if let Err(error) = ended {
        // Hang-ups, time-outs and bytes that are not HTTP: the caller's affair.
        tracing::debug!(%error, "a connection broke");
    }
}
