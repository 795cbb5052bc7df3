//! An instance that is worn gives its place to a fresh one, without a gap.
//!
//! The fresh process is started and warmed while the old one serves on. Then it takes the place over in one step (see
//! `place`), and the old one finishes what it has and is shut down. If the fresh one does not come up the old one stays, and
//! another is tried after a while. If the old one dies meanwhile, the fresh one has the place.

use std::future::pending;
use std::time::Duration;

use tokio::sync::{SemaphorePermit, watch};
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::instance::{Life, News};
use crate::port::{DownReason, PoolEvent, RecycleReason};
use crate::supervise::{Living, Supervisor, loaded, report};

/// Processes of one model at most beyond those that it is configured to have: a machine that has room for all its
/// instances and one more can replace them all, one after the other.
pub(crate) const EXTRA_INSTANCES_MAX: usize = 1;

/// What came of replacing an instance.
enum Outcome<'a> {
    /// This one holds the place now, and goes on.
    Goes(Living<'a>),
    /// Whoever held the place is dead, and nobody came after it.
    Ended(Life),
}

/// What came of waiting for a successor.
enum Wait<'a> {
    /// It has taken the place over; the lives that have ended meanwhile are there with their ends.
    TakenOver(Living<'a>, Option<Life>, Option<Life>, SemaphorePermit<'a>),
    /// It came to nothing, or needs nothing further.
    Over(Outcome<'a>),
    /// It did not come up; the old one serves on.
    Failed(Life),
    /// It was stopped, as the model is unloaded, and so will the old one be; unless it is loaded again before that.
    Unloaded,
}

impl<'a> Supervisor<'a> {
    /// Lives this life, and those of its successors, until there is none.
    pub(crate) async fn see_through(&mut self, mut living: Living<'a>) -> Life {
        loop {
            let why = tokio::select! {
                life = &mut living.end => return life,
                why = worn(&mut living.news) => why,
            };
            match self.recycle(living, why).await {
                Outcome::Goes(next) => living = next,
                Outcome::Ended(life) => {
                    self.place.no_successor();
                    return life;
                }
            }
        }
    }

    async fn recycle(&mut self, mut old: Living<'a>, why: RecycleReason) -> Outcome<'a> {
        let (model, instance) = (&self.shared.config.name, self.place.id);
        tracing::info!(%model, %instance, reason = why.label(), %why, "an instance is to be replaced");
        let mut tries = Backoff::default();
        loop {
            let failed = match self.succeed(&mut old, why).await {
                Wait::TakenOver(next, old_life, next_life, permit) => {
                    let outcome = self.see_out(old, old_life, next, next_life, why).await;
                    drop(permit);
                    return outcome;
                }
                Wait::Over(outcome) => return outcome,
                Wait::Failed(life) => life,
                Wait::Unloaded => {
                    tokio::select! {
                        life = &mut old.end => return Outcome::Ended(life),
                        () = loaded(self.shared) => continue,
                    }
                }
            };
            self.place.successor_failed(&failed.reason);
            let delay = tries.after_death(None, rand::random());
            tracing::error!(%model, %instance, next_try_in = ?delay,
                "a fresh process that was to replace an instance did not come up; the old one serves on");
            report(self.shared, self.place, &failed, delay);
            self.shared
                .emit(PoolEvent::NotReplaced {
                    instance,
                    reason: failed.reason,
                })
                .await;
            if let Some(life) = ends_within(&mut old, delay).await {
                return Outcome::Ended(life);
            }
        }
    }

    /// Starts a successor, and waits until it is clear what becomes of it.
    async fn succeed(&mut self, old: &mut Living<'a>, why: RecycleReason) -> Wait<'a> {
        let permit = tokio::select! {
            life = &mut old.end => return Wait::Over(Outcome::Ended(life)),
            permit = self.shared.extra.acquire() => permit,
        };
        let Ok(permit) = permit else {
            // Nobody closes the semaphore: it is the pool's for as long as it lives.
            return Wait::Over(Outcome::Ended((&mut old.end).await));
        };
        let mut next = self.live(self.place.begin_successor(why));
        let (old_life, next_life) = tokio::select! {
            life = &mut old.end => (Some(life), None),
            life = &mut next.end => (None, Some(life)),
            () = up(&mut next.news) => (None, None),
        };
        if self.place.is_held_by(next.id) {
            return Wait::TakenOver(next, old_life, next_life, permit);
        }
        match (old_life, next_life) {
            (Some(life), _) if life.reason == DownReason::Stopped && self.shared.is_stopping() => {
                // The pool stops, and so does the successor.
                next.end.await;
                Wait::Over(Outcome::Ended(life))
            }
            (Some(life), _) => {
                // There is no second any more once the successor has the place, so the permit goes.
                drop(permit);
                if life.reason == DownReason::Stopped {
                    // So will the successor be, unless the model is loaded again before it sees that.
                    self.unloaded(&life).await;
                } else {
                    self.backoff_after(&life);
                    self.died(life, Duration::ZERO).await;
                }
                self.place.inherit(next.id);
                Wait::Over(Outcome::Goes(next))
            }
            (None, Some(life)) if life.reason == DownReason::Stopped && !self.shared.is_stopping() => {
                Wait::Unloaded
            }
            (None, Some(life)) if life.reason == DownReason::Stopped => {
                Wait::Over(Outcome::Ended((&mut old.end).await))
            }
            (None, Some(life)) => Wait::Failed(life),
            // It is up and does not hold the place: that cannot be, and is treated as if it did.
            (None, None) => Wait::TakenOver(next, None, None, permit),
        }
    }

    /// The old life finishes what it has. Whatever becomes of the next one meanwhile is told after that: an instance is
    /// down when all its jobs have ended, whichever process had them.
    async fn see_out(
        &mut self,
        mut old: Living<'a>,
        mut old_life: Option<Life>,
        mut next: Living<'a>,
        mut next_life: Option<Life>,
        why: RecycleReason,
    ) -> Outcome<'a> {
        let began = Instant::now();
        let life = loop {
            if let Some(life) = old_life.take() {
                break life;
            }
            tokio::select! {
                life = &mut old.end => old_life = Some(life),
                life = &mut next.end, if next_life.is_none() => next_life = Some(life),
            }
        };
        let (model, instance) = (&self.shared.config.name, self.place.id);
        if life.reason == DownReason::Stopped {
            tracing::info!(%model, %instance, reason = why.label(), %why, served_for = ?life.ready_for,
                finished_in = ?began.elapsed(), "an instance was replaced");
        } else {
            self.shared.note_death(&life.reason);
            report(self.shared, self.place, &life, Duration::ZERO);
        }
        self.shared
            .emit(PoolEvent::Recycled {
                instance,
                reason: why,
                end: life.reason,
            })
            .await;
        match next_life {
            Some(life) => Outcome::Ended(life),
            None => Outcome::Goes(next),
        }
    }
}

/// Resolves when it says that it is worn. Cancel-safe.
async fn worn(news: &mut watch::Receiver<News>) -> RecycleReason {
    let worn = |news: &News| matches!(news, News::Worn(_));
    match news.wait_for(worn).await.map(|news| *news) {
        Ok(News::Worn(why)) => why,
        // It says nothing more, so its life ends.
        _ => pending().await,
    }
}

/// Resolves when it has come up. Cancel-safe.
async fn up(news: &mut watch::Receiver<News>) {
    if news.wait_for(|news| *news != News::Starting).await.is_err() {
        pending().await
    }
}

/// How it ended, if it does within this time.
async fn ends_within(living: &mut Living<'_>, time: Duration) -> Option<Life> {
    tokio::time::timeout(time, &mut living.end).await.ok()
}
