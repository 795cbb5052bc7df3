//! What a service manager that speaks systemd's protocols is told; nothing happens without one. What it hands over is in `handed`.
//!
//! Notifications (sd_notify(3)): `READY=1` once the door is open, `STATUS=` with the models that can serve, `STOPPING=1`,
//! and `WATCHDOG=1` in time while this process makes progress. The start does not wait for the models: one that never
//! comes up would otherwise take down the service of the others.

use std::time::Duration;

use cresset_engine::Engine;
use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

/// How often the status is looked at, where there is no watchdog to be in time for.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// The watchdog hears from us this many times in its interval.
const WATCHDOG_SHARE: u32 = 3;

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
