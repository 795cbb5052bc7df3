//! Connections: accept, bound, serve, drain.
//!
//! Stopping, in order: no new connections; idle ones are closed; long polls answer what they know; requests in flight
//! are finished; what is left at the deadline is cut.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::task::{Context, Poll};
use std::time::Duration;

use cresset_engine::Engine;
use hyper::server::conn::http1;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::app::App;
use crate::client::{Identify, Peer};
use crate::connection::{House, Lobby, Patience, Raw, turn_away};
use crate::entrance::Entrance;
use crate::options::GatewayOptions;
use crate::router;
use crate::tls::Tls;
use crate::upload::Spool;

/// After an accept fails for lack of descriptors or memory: long enough not to spin, short enough not to be noticed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What a connection holds of what has come and is not parsed yet, at most.
const READ_BUFFER_MAX: usize = 64 << 10;

/// Answers HTTP/1.1 at the `entrances` until `stop` is cancelled and the requests in flight are done, or
/// `options.drain_timeout` has passed. When it returns, every connection is closed.
pub async fn serve(
    entrances: Vec<Entrance>,
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
    let tells_callers_apart = options.identify != Identify::Off || !options.trusted_proxies.is_empty();
    let patience = Patience {
        idle: options.idle_timeout,
        head: options.head_timeout,
        write: options.write_timeout,
        min_rate: options.min_rate,
    };
    let spool = options.spool.clone().map(Spool::open).transpose()?;
    let app = App::new(engine.clone(), options, stop.clone(), tracker.clone(), spool);
    let house = |entrance: &Entrance| House {
        http: protocol(),
        router: router::router(app.clone(), entrance.audience),
        patience,
        engine: engine.clone(),
        tls: entrance.tls.as_ref().map(Tls::acceptor),
    };
    let houses: Vec<House> = entrances.iter().map(house).collect();
    // Entrances that show the same certificate have one who looks after it.
    for tls in Tls::each_once(entrances.iter().filter_map(|entrance| entrance.tls.as_ref())) {
        tracker.spawn(tls.keep_fresh(stop.clone()));
    }
    let cut = CancellationToken::new();

    let mut last = 0;
    while let Some((at, stream, address)) = next_connection(&entrances, last, &stop).await {
        last = at;
        let guest = match lobby.admit(address) {
            Ok(guest) => guest,
            Err(why) => {
                // Dropped without a word where too many are being told already, or words would take a handshake.
                if houses[at].tls.is_none()
                    && let Some(permit) = lobby.may_tell()
                {
                    tracker.spawn(async move {
                        turn_away(stream.plain(), why).await;
                        drop(permit);
                    });
                }
                continue;
            }
        };
        let peer = tells_callers_apart.then_some(Peer(address));
        let (stop, cut) = (stop.child_token(), cut.child_token());
        tracker.spawn(houses[at].clone().serve(stream, guest, peer, stop, cut));
    }
    drop(entrances); // the kernel refuses callers from now on

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

/// The next connection, and where it came in; `None` once told to stop. Who came in `last` is asked last.
async fn next_connection(
    entrances: &[Entrance],
    last: usize,
    stop: &CancellationToken,
) -> Option<(usize, Raw, Option<IpAddr>)> {
    let next = |cx: &mut Context<'_>| {
        for i in 1..=entrances.len() {
            let at = (last + i) % entrances.len();
            if let Poll::Ready(accepted) = entrances[at].poll_accept(cx) {
                return Poll::Ready(accepted.map(|(stream, address)| (at, stream, address)));
            }
        }
        Poll::Pending
    };
    // Both futures below may be dropped at any point: a connection stays in the backlog.
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return None,
            accepted = poll_fn(next) => accepted,
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
