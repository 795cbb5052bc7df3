//! Keeps an instance alive in one place: starts it, waits for its end, starts it again.
//!
//! Decides when, never what: how one instance lives is in `instance`, how long to wait is in `backoff`, and how one that
//! is worn gives its place to a fresh one is in `recycle`.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::instance::{self, Life, News};
use crate::place::{LifeId, Place};
use crate::pool::Shared;
use crate::port::{DownReason, InstanceState, PoolEvent};

/// How many of its last lines a crash report quotes; the log has had all of them before.
const REPORT_LINES: usize = 20;

/// One place, and who sees to it.
pub(crate) struct Supervisor<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) place: &'a Place,
    backoff: Backoff,
}

/// A life that goes on while it is polled.
pub(crate) struct Living<'a> {
    pub(crate) id: LifeId,
    pub(crate) end: Pin<Box<dyn Future<Output = Life> + Send + 'a>>,
    pub(crate) news: watch::Receiver<News>,
}

/// Runs until the pool stops. While the pool is unloaded there is no process.
pub(crate) async fn supervise(shared: Arc<Shared>, place: Arc<Place>) {
    let mut supervisor = Supervisor {
        shared: &shared,
        place: &place,
        backoff: Backoff::default(),
    };
    let mut is_restart = false;
    while wanted(&shared, &place).await {
        if std::mem::replace(&mut is_restart, true) {
            place.note_restart();
        }
        let living = supervisor.live(place.begin());
        let life = supervisor.see_through(living).await;
        if life.reason == DownReason::Stopped && !shared.is_stopping() {
            supervisor.unloaded(&life).await;
            is_restart = false;
            continue;
        }
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
        let delay = supervisor.backoff_after(&life);
        supervisor.died(life, delay).await;
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            () = leaving(&shared) => {}
        }
    }
    place.enter(InstanceState::Stopped);
}

impl<'a> Supervisor<'a> {
    pub(crate) fn live(&self, id: LifeId) -> Living<'a> {
        let (tell, news) = watch::channel(News::Starting);
        Living {
            id,
            end: Box::pin(one_life(self.shared, self.place, id, tell)),
            news,
        }
    }

    pub(crate) fn backoff_after(&mut self, life: &Life) -> Duration {
        if life.reason.is_ours() {
            return Duration::ZERO;
        }
        self.backoff.after_death(life.ready_for, rand::random())
    }

    /// Whoever held the place is gone, as there was no work.
    pub(crate) async fn unloaded(&self, life: &Life) {
        self.place.unloaded();
        if life.ready_for.is_some() {
            let (instance, reason) = (self.place.id, DownReason::Unloaded);
            self.shared.emit(PoolEvent::Down { instance, reason }).await;
        }
    }

    /// Whoever held the place is dead.
    pub(crate) async fn died(&self, life: Life, delay: Duration) {
        let (shared, place) = (self.shared, self.place);
        shared.note_death(&life.reason);
        report(shared, place, &life, delay);
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
    }
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

/// Resolves when processes are to end: the pool is told to stop, or to unload. Cancel-safe.
pub(crate) async fn leaving(shared: &Shared) {
    let mut loaded = shared.loaded.subscribe();
    tokio::select! {
        () = stopping(shared) => {}
        // As `stop`.
        _ = loaded.wait_for(|loaded| !loaded) => {}
    }
}

/// Resolves when there is work for processes, or may be. Cancel-safe.
pub(crate) async fn loaded(shared: &Shared) {
    // As `stop`.
    let _ = shared.loaded.subscribe().wait_for(|loaded| *loaded).await;
}

/// Waits until a process is wanted; false when none ever will be.
async fn wanted(shared: &Shared, place: &Place) -> bool {
    if !*shared.loaded.borrow() {
        place.unloaded();
    }
    tokio::select! {
        biased;
        () = stopping(shared) => false,
        () = loaded(shared) => true,
    }
}

async fn one_life(shared: &Shared, place: &Place, id: LifeId, tell: watch::Sender<News>) -> Life {
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
        () = leaving(shared) => return never_ready(DownReason::Stopped),
    };
    match interpreter {
        Ok(interpreter) => {
            tracing::debug!(model = %shared.config.name, instance = %place.id, interpreter = %interpreter.display(),
                took = ?began.elapsed(), "the interpreter is there");
            instance::live(shared, place, id, tell, interpreter).await
        }
        Err(e) => never_ready(DownReason::Spawn(e.to_string())),
    }
}

/// Tells the operator of a death.
pub(crate) fn report(shared: &Shared, place: &Place, life: &Life, delay: Duration) {
    let (model, instance) = (&shared.config.name, place.id);
    if let DownReason::Cancelled(_) = life.reason {
        tracing::warn!(%model, %instance, reason = life.reason.label(), why = %life.reason, ready_for = ?life.ready_for,
            "an instance was killed for a cancelled task; a model that asks cresset.current().cancelled could have stopped");
        return;
    }
    let skip = life.last_lines.len().saturating_sub(REPORT_LINES);
    let last_lines = life.last_lines[skip..].join("\n");
    let traceback = match &life.reason {
        DownReason::Start(failure) => failure.traceback.as_deref(),
        _ => None,
    };
    tracing::error!(%model, %instance, reason = life.reason.label(), why = %life.reason, ready_for = ?life.ready_for,
        restart_in = ?delay, last_lines, traceback, "an instance is down");
}
