//! What a service manager that speaks systemd's protocols is told, and what it hands over; nothing happens without one.
//!
//! Notifications (sd_notify(3)): `READY=1` once the door is open, `STATUS=` with the models that can serve, `STOPPING=1`,
//! and `WATCHDOG=1` in time while this process makes progress. The start does not wait for the models: one that never
//! comes up would otherwise take down the service of the others.
//!
//! Socket activation (sd_listen_fds(3)): the manager keeps the listening socket. While one server stops and the next
//! starts, callers wait in the socket's backlog instead of being refused.

use std::net::TcpListener as StdListener;
use std::time::Duration;

use cresset_engine::Engine;
use listenfd::ListenFd;
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::exit::{Exit, Trouble};

/// How often the status is looked at, where there is no watchdog to be in time for.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The watchdog hears from us this many times in its interval.
const WATCHDOG_SHARE: u32 = 3;

/// The socket that the service manager has bound for us, if it has. Must be called inside a tokio runtime.
pub(super) fn handed_over() -> Result<Option<TcpListener>, Trouble> {
    let mut sockets = ListenFd::from_env();
    let count = sockets.len();
    if count == 0 {
        return Ok(None);
    }
    let bad = |why: String| {
        Trouble::new(
            Exit::UNAVAILABLE,
            format!("cannot use the socket that was handed over: {why}"),
        )
        .hint("the socket unit has one ListenStream= with a TCP port")
    };
    if count > 1 {
        return Err(bad(format!("there are {count}, and one is wanted")));
    }
    let listener = sockets
        .take_tcp_listener(0)
        .and_then(|found| found.ok_or_else(|| std::io::ErrorKind::NotFound.into()))
        .and_then(usable)
        .map_err(|error| bad(error.to_string()))?;
    Ok(Some(listener))
}

fn usable(listener: StdListener) -> std::io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

/// Tells the manager that the service has started, and from then on how it stands, until `stop`.
pub(super) async fn tell(engine: Engine, stop: CancellationToken) {
    let watchdog = sd_notify::watchdog_enabled();
    let every = watchdog.map_or(LOOK_EVERY, |limit| (limit / WATCHDOG_SHARE).min(LOOK_EVERY));
    let mut status = status(&engine);
    send(&[NotifyState::Ready, NotifyState::Status(&status)]);
    // The first tick comes at once, the others in time; a late one is not made up for.
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = stop.cancelled() => return,
        }
        let now = self::status(&engine);
        if now != status {
            send(&[NotifyState::Status(&now)]);
            status = now;
        }
        if watchdog.is_some() {
            send(&[NotifyState::Watchdog]);
        }
    }
}

/// Tells the manager that the service has begun to stop.
pub(super) fn stopping() {
    send(&[NotifyState::Stopping, NotifyState::Status("finishing what runs")]);
}

fn status(engine: &Engine) -> String {
    let health = engine.health();
    let (ready, all) = (
        health.models.iter().filter(|m| m.ready).count(),
        health.models.len(),
    );
    match health.store {
        None => format!("{ready} of {all} models ready"),
        Some(trouble) => format!("{ready} of {all} models ready; the task store: {trouble}"),
    }
}

/// Without a manager (`NOTIFY_SOCKET`) this does nothing.
fn send(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager could not be told");
    }
}
