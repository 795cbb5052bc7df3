//! What a process does, from its start to its death: one batch after the other, as their inputs say and the dice allow.

use std::time::Duration;

use cresset_queue::conformance::Dice;
use cresset_runner::{DownReason, ItemEnd, JobEnd, PoolEvent, RecycleReason};
use cresset_task::{Again, InstanceId, Payload};
use tokio::time::{Instant, sleep, sleep_until};

use super::{SimPool, failure};
use crate::history::Serial;
use crate::plan::{Kind, millis};

/// Of processes killed from outside no input sees more, or it would be found guilty with right.
const KILLED_MAX: u32 = 4;

impl SimPool {
    /// One process after the other, until the server stops.
    pub(super) async fn live(&self, at: usize, mut dice: Dice) {
        loop {
            sleep(millis(&mut dice, 0, 1_200)).await;
            if self.lock().stopped {
                return;
            }
            if self.lock().unloaded {
                self.loads[at].notified().await;
                continue;
            }
            let troubled = self.world.plan.deaths && !self.world.is_mended();
            let reason = if troubled && dice.chance(15) {
                DownReason::Start(failure("ImportError", Again::Policy))
            } else {
                self.up(at);
                let reason = self.serve(at, &mut dice).await;
                self.shut(at);
                reason
            };
            // It takes nothing any more; the news of it come a moment later.
            for _ in 0..dice.below(4) {
                tokio::task::yield_now().await;
            }
            if dice.chance(30) {
                sleep(millis(&mut dice, 1, 200)).await;
            }
            self.down(at, reason);
        }
    }

    /// The serials of the first batch, if there is one.
    fn first(&self, at: usize) -> Option<Vec<Serial>> {
        let inner = self.lock();
        inner.places[at].jobs.front().map(|job| job.serials.clone())
    }

    /// Whether a kill from outside may hit what runs; it is counted then.
    fn may_be_killed(&self, at: usize) -> bool {
        let serials = self.first(at).unwrap_or_default();
        let spared = |serial: &Serial| self.world.with_input(*serial, |input| input.killed >= KILLED_MAX);
        if serials.iter().any(spared) {
            return false;
        }
        for serial in serials {
            self.world.with_input(serial, |input| input.killed += 1);
        }
        true
    }

    /// A process from when it is up to its death.
    async fn serve(&self, at: usize, dice: &mut Dice) -> DownReason {
        let is_killed = self.world.plan.deaths && dice.chance(40);
        let killed_at = Instant::now() + millis(dice, 0, 15_000);
        let mut killed = std::pin::pin!(sleep_until(killed_at));
        let mut may_be_killed = is_killed;
        loop {
            tokio::select! {
                biased;
                () = &mut killed, if may_be_killed => {
                    may_be_killed = false;
                    if !self.world.is_mended() && self.may_be_killed(at) {
                        return DownReason::Signal(9);
                    }
                }
                () = self.told_to_unload(at) => {
                    self.shut(at);
                    while self.first(at).is_some() {
                        if let Some(reason) = self.serve_one(at, dice).await {
                            return reason;
                        }
                    }
                    return DownReason::Unloaded;
                }
                reason = self.serve_one(at, dice) => {
                    if let Some(reason) = reason {
                        return reason;
                    }
                }
            }
        }
    }

    /// Resolves when there is no work; one that was told so, and then the contrary, before it looked has noticed nothing.
    async fn told_to_unload(&self, at: usize) {
        while !self.lock().unloaded {
            self.loads[at].notified().await;
        }
    }

    /// The first batch, from when it is there; how it took the process down, if it did.
    async fn serve_one(&self, at: usize, dice: &mut Dice) -> Option<DownReason> {
        let serials = loop {
            if let Some(serials) = self.first(at) {
                break serials;
            }
            self.bells[at].notified().await;
        };
        let serials = self.swapped(at, dice).unwrap_or(serials);
        let config = &self.plan().config;
        let began = Instant::now();
        let any = |of: &dyn Fn(&Kind) -> bool| self.kinds(&serials, of).into_iter().any(|is| is);
        let hangs = any(&|kind| *kind == Kind::Hangs);
        let dawdles = any(&|kind| *kind == Kind::Dawdles);
        let slow = dawdles || any(&|kind| *kind == Kind::Slow);
        let longest = config.limits.timeout / 2;
        let takes = match (hangs, slow) {
            (true, _) => Duration::from_secs(3_600),
            (_, true) => millis(dice, 500, longest.as_millis() as usize),
            _ => self.plan().quickest + millis(dice, 0, 60),
        };
        let (gives_up, stops_early) = (dice.chance(40), dice.chance(60));
        let mut asked = None;
        loop {
            let (must_end, any_unwanted) = {
                let inner = self.lock();
                let job = inner.places[at].jobs.front()?;
                (job.must_end, job.unwanted.iter().any(|is| *is))
            };
            if must_end && asked.is_none() {
                asked = Some(Instant::now());
            }
            if any_unwanted && stops_early && !dawdles && !hangs {
                return self.answer(at, gives_up, began.elapsed(), dice);
            }
            let grace = config.limits.cancel_grace;
            let killed = asked.zip(grace).map(|(asked, grace)| (asked + grace, grace));
            let (ends, hung) = (began + takes, began + config.limits.timeout);
            let next = [Some(ends), Some(hung), killed.map(|(at, _)| at)];
            let next = next.into_iter().flatten().min().unwrap_or(ends);
            tokio::select! {
                biased;
                () = self.bells[at].notified() => {}
                () = sleep_until(next) => {
                    let now = Instant::now();
                    if now >= ends {
                        return self.answer(at, false, takes, dice);
                    }
                    if let Some((_, grace)) = killed.filter(|(at, _)| now >= *at) {
                        return Some(DownReason::Cancelled(grace));
                    }
                    if now >= hung {
                        return Some(DownReason::Hung(config.limits.timeout));
                    }
                }
            }
        }
    }

    /// Sometimes a fresh process takes over, and is done with the second batch before the old one is with the first.
    fn swapped(&self, at: usize, dice: &mut Dice) -> Option<Vec<Serial>> {
        if !dice.chance(10) {
            return None;
        }
        let mut inner = self.lock();
        let jobs = &mut inner.places[at].jobs;
        if jobs.len() < 2 {
            return None;
        }
        jobs.swap(0, 1);
        let serials = jobs.front().map(|job| job.serials.clone());
        self.emit(PoolEvent::Recycled {
            instance: InstanceId(at as u32),
            reason: RecycleReason::Tasks(9),
            end: DownReason::Stopped,
        });
        serials
    }

    /// The first batch ends: by an answer, or with its process.
    fn answer(&self, at: usize, gives_up: bool, took: Duration, dice: &mut Dice) -> Option<DownReason> {
        let serials = self.first(at)?;
        let deaths = self.kinds(&serials, |kind| match kind {
            Kind::Kills(reason) => Some(reason.clone()),
            _ => None,
        });
        if let Some(reason) = deaths.into_iter().flatten().next() {
            return Some(reason);
        }
        let job = self.lock().places[at].jobs.pop_front()?;
        let end = if gives_up && job.unwanted.iter().any(|is| *is) {
            JobEnd::GivenUp(failure("Cancelled", Again::Policy))
        } else if self.kinds(&serials, |kind| *kind == Kind::Raises).contains(&true) {
            JobEnd::Raised(failure("RuntimeError", Again::Policy))
        } else {
            let ends = serials.iter().zip(&job.unwanted);
            let ends = ends.map(|(serial, unwanted)| match *unwanted && dice.chance(60) {
                true => ItemEnd::Skipped,
                false => self.item(*serial),
            });
            JobEnd::Items(ends.collect())
        };
        self.ended(at, &job, end, took);
        None
    }

    fn item(&self, serial: Serial) -> ItemEnd {
        let (kind, tries) = self.world.with_input(serial, |input| {
            input.tries += 1;
            (input.kind.clone(), input.tries)
        });
        match kind {
            Kind::Fails(fails) if tries <= fails => ItemEnd::Failed(failure("ValueError", Again::Policy)),
            Kind::AsksRetry(fails, after) if tries <= fails => {
                ItemEnd::Failed(failure("Retry", Again::Wanted(Some(after))))
            }
            Kind::Rejects => ItemEnd::Failed(failure("Reject", Again::Never)),
            _ => ItemEnd::Done(Payload::Json(serial.to_string().into())),
        }
    }
}
