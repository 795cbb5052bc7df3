//! Connections: accept, bound, serve, drain.
//!
//! Stopping, in order: no new connections; idle ones are closed; long polls answer what they know; requests in flight
//! are finished; what is left at the deadline is cut.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use cresset_engine::Engine;
use hyper::server::conn::http1;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::client::{Identify, Peer};
use crate::connection::{House, Lobby, Patience, turn_away};
use crate::options::GatewayOptions;
use crate::router;
use crate::upload::Spool;

/// After an accept fails for lack of descriptors or memory: long enough not to spin, short enough not to be noticed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections that the kernel finishes before we accept them; it cuts this to its own limit (`net.core.somaxconn`).
/// With the usual 128, some of a few hundred callers that come at once are dropped, and try again after a second.
const BACKLOG: u32 = 65_535;

/// What a connection holds of what has come and is not parsed yet, at most.
const READ_BUFFER_MAX: usize = 64 << 10;

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
    let mut lobby = Lobby::new(
        options.max_connections,
        options.max_connections_per_address,
        engine.clone(),
    );
    let tells_clients_apart = options.identify != Identify::Off;
    let patience = Patience {
        idle: options.idle_timeout,
        head: options.head_timeout,
        write: options.write_timeout,
        min_rate: options.min_rate,
    };
    let spool = options.spool.clone().map(Spool::open).transpose()?;
    let app = App::new(engine.clone(), options, stop.clone(), tracker.clone(), spool);
    let house = House {
        http: protocol(),
        router: router::router(app),
        patience,
        engine,
    };
    let cut = CancellationToken::new();

    while let Some((stream, address)) = next_connection(&listener, &stop).await {
        let guest = match lobby.admit(address.ip()) {
            Ok(guest) => guest,
            Err(why) => {
                // Dropped without a word where too many are being told already.
                if let Some(permit) = lobby.may_tell() {
                    tracker.spawn(async move {
                        turn_away(stream, why).await;
                        drop(permit);
                    });
                }
                continue;
            }
        };
        let peer = tells_clients_apart.then(|| Peer(address.ip()));
        let (stop, cut) = (stop.child_token(), cut.child_token());
        tracker.spawn(house.clone().serve(stream, guest, peer, stop, cut));
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

fn protocol() -> http1::Builder {
    let mut http = http1::Builder::new();
    // Heads, idleness and slow readers are watched by `connection`.
    http.header_read_timeout(None);
    // Answers to pipelined requests leave together. Also what makes hyper keep its bare 400 to itself: `connection` says more.
    http.pipeline_flush(true);
    // Heads, and pieces of bodies: each connection may have so much, and it is in no budget.
    http.max_buf_size(READ_BUFFER_MAX);
    http
}

/// The next connection; `None` once told to stop.
async fn next_connection(
    listener: &TcpListener,
    stop: &CancellationToken,
) -> Option<(TcpStream, SocketAddr)> {
    // Both futures below may be dropped at any point: a connection stays in the backlog.
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok(accepted) => return Some(accepted),
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
