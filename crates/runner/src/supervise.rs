//! Keeps an instance alive in one place: starts it, waits for its end, starts it again.
//!
//! Decides when, never what: how one instance lives is in `instance`, how long to wait is in `backoff`.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::instance::{self, Life};
use crate::place::Place;
use crate::pool::Shared;
use crate::port::{DownReason, InstanceState, PoolEvent};

/// How many of its last lines a crash report quotes; the log has had all of them before.
const REPORT_LINES: usize = 20;

/// Runs until the pool stops.
pub(crate) async fn supervise(shared: Arc<Shared>, place: Arc<Place>) {
    let mut backoff = Backoff::default();
    let mut first = true;
    while !shared.is_stopping() {
        place.enter(InstanceState::Starting);
        if !std::mem::take(&mut first) {
            place.note_restart();
        }
        let life = one_life(&shared, &place).await;
        if life.reason == DownReason::Stopped {
            place.enter(InstanceState::Stopped);
            shared
                .emit(PoolEvent::Down {
                    instance: place.id,
                    reason: life.reason,
                })
                .await;
            break;
        }
        shared.note_death(&life.reason);
        let delay = backoff.after_death(life.ready_for, rand::random());
        report(&shared, &place, &life, delay);
        place.enter(InstanceState::Waiting {
            reason: life.reason.clone(),
            delay,
        });
        shared
            .emit(PoolEvent::Down {
                instance: place.id,
                reason: life.reason,
            })
            .await;
        let stopped = stopping(&shared);
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = stopped => {}
        }
    }
    place.enter(InstanceState::Stopped);
}

/// Resolves when the pool is told to stop. Cancel-safe.
pub(crate) async fn stopping(shared: &Shared) {
    let mut stop = shared.stop.subscribe();
    tokio::select! {
        () = shared.kill.cancelled() => {}
        // Fails only without a sender, and `shared` holds it.
        _ = stop.wait_for(Option::is_some) => {}
    }
}

async fn one_life(shared: &Arc<Shared>, place: &Place) -> Life {
    let never_ready = |reason| Life {
        reason,
        ready_for: None,
        last_lines: Vec::new(),
    };
    let began = Instant::now();
    let progress = |line: &str| {
        tracing::info!(model = %shared.config.name, "{line}");
        if let Some(tell) = &shared.options.on_progress {
            tell(&shared.config.name, line);
        }
    };
    let interpreter = tokio::select! {
        found = shared.options.env.interpreter(&shared.config, &progress) => found,
        () = stopping(shared) => return never_ready(DownReason::Stopped),
    };
    match interpreter {
        Ok(interpreter) => {
            tracing::debug!(model = %shared.config.name, instance = %place.id, interpreter = %interpreter.display(),
                took = ?began.elapsed(), "the interpreter is there");
            instance::live(shared, place, interpreter).await
        }
        Err(e) => never_ready(DownReason::Spawn(e.to_string())),
    }
}

fn report(shared: &Shared, place: &Place, life: &Life, delay: Duration) {
    let (model, instance) = (&shared.config.name, place.id);
    let skip = life.last_lines.len().saturating_sub(REPORT_LINES);
    let last_lines = life.last_lines[skip..].join("\n");
    let traceback = match &life.reason {
        DownReason::Start(failure) => failure.traceback.as_deref(),
        _ => None,
    };
    tracing::error!(%model, %instance, reason = life.reason.label(), why = %life.reason, ready_for = ?life.ready_for,
        restart_in = ?delay, last_lines, traceback, "an instance is down");
}
