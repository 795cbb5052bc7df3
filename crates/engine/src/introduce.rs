//! What this server says of itself to the others on its store: what it is, and which models it runs and how they stand.
//!
//! A gateway takes and answers work by that alone, so a change is told at once; what the models have to do changes with every
//! batch, and is written down now and then for people.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cresset_config::ModelConfig;
use cresset_queue::{About, Member, Offer, OfferLoad, QueueError, Role};
use cresset_runner::InstanceState;
use cresset_task::Timestamp;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::api::EngineError;
use crate::elsewhere::{Fleet, Roster};
use crate::engine::Engine;
use crate::served::Served;

/// Models are looked at this often.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// What they have to do is written down no more often.
const LOAD_EVERY: Duration = Duration::from_secs(5);

/// What was said last.
#[derive(Default)]
pub(crate) struct Said(Mutex<Option<(About, Instant)>>);

impl Said {
    /// Whether this is to be said, and whether the others are to be told at once.
    fn differs(&self, about: &About) -> Option<bool> {
        let said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*said {
            Some((last, _)) if last == about => None,
            Some((last, at)) if last.at_rest() == about.at_rest() => {
                (at.elapsed() >= LOAD_EVERY).then_some(false)
            }
            _ => Some(true),
        }
    }

    fn note(&self, about: About) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((about, Instant::now()));
    }
}

impl Engine {
    /// Comes among the servers on the store: says what this one is, now and whenever that changes, and a gateway learns what the
    /// others run. To be called when all models are served; `declared` are models that a gateway knows though nobody runs them.
    pub async fn join(&self, declared: Vec<ModelConfig>) {
        if let Err(error) = self.introduce().await {
            self.inner.shared.store.failed(&error);
        }
        self.inner.tracker.spawn(keep_saying(self.clone()));
        if let Some(roster) = &self.inner.roster {
            self.inner.tracker.spawn(hear(self.clone(), Arc::clone(roster)));
        }
        if self.inner.me.role == Role::Gateway {
            if let Some(roster) = &self.inner.roster {
                roster.settled().await;
            }
            let mut fleet = Fleet::new(self.clone(), declared);
            if let Err(error) = fleet.look().await {
                self.inner.shared.store.failed(&error);
            }
            self.inner.tracker.spawn(fleet.run());
        }
    }

    /// What this server is.
    #[must_use]
    pub fn about(&self) -> About {
        let mut about = self.inner.me.clone();
        about.stopping = self.inner.shared.draining.is_cancelled();
        if about.role != Role::Gateway {
            let now = self.inner.shared.now();
            let models = self.inner.models.load();
            let offers = models.iter().map(|(name, served)| {
                let mut offer = offer(served);
                offer.load.rate = served.rate(now);
                (name.clone(), offer)
            });
            about.models = offers.collect();
        }
        about
    }

    /// The servers on the store, by number; this one alone where it has the store for itself.
    pub async fn members(&self) -> Result<Vec<Member>, EngineError> {
        let members = self.all_members(false).await?;
        if !members.is_empty() {
            return Ok(members);
        }
        let now = Timestamp::now();
        let uptime = i64::try_from(self.inner.shared.now().as_micros()).unwrap_or(0);
        Ok(vec![Member {
            id: 1,
            since: Timestamp::from_micros(now.as_micros().saturating_sub(uptime)),
            seen_at: now,
            ended_at: None,
            about: self.about(),
        }])
    }

    /// The servers that there are, and with `with_ended` those that were: by whoever knows.
    pub(crate) async fn all_members(&self, with_ended: bool) -> Result<Vec<Member>, QueueError> {
        match &self.inner.roster {
            Some(roster) => Ok(roster.members(with_ended)),
            None => self.inner.shared.backend.members(with_ended).await,
        }
    }

    /// Says it, unless that is known.
    pub(crate) async fn introduce(&self) -> Result<(), QueueError> {
        let about = self.about();
        if let Some(is_news) = self.inner.said.differs(&about) {
            match &self.inner.roster {
                Some(roster) => roster.introduce(about.clone(), is_news),
                None => {
                    let backend = &self.inner.shared.backend;
                    backend.introduce(about.clone(), is_news).await?;
                }
            }
            self.inner.said.note(about);
        }
        Ok(())
    }
}

fn offer(served: &Served) -> Offer {
    let health = served.health();
    let instances = served.executor.status().instances;
    let is_up = |state: &InstanceState| *state == InstanceState::Ready;
    Offer {
        version: served.config.version.clone(),
        settings: served.config.settings.clone(),
        state: health.state.name().into(),
        ready: health.ready,
        reason: health.reason,
        instances: instances.len(),
        up: instances.iter().filter(|instance| is_up(&instance.state)).count(),
        load: OfferLoad {
            running: served.running(),
            rate: None,
        },
    }
}

/// Until the engine drains, and that it does too.
async fn keep_saying(engine: Engine) {
    let shared = &engine.inner.shared;
    if !shared.backend.capabilities().shared && engine.inner.roster.is_none() {
        return;
    }
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let is_last = tokio::select! {
            biased;
            () = shared.draining.cancelled() => true,
            _ = looks.tick() => false,
        };
        // It is said again at the next look, and the store says what is wrong with it.
        if let Err(error) = engine.introduce().await {
            tracing::debug!(%error, "the other servers cannot be told how this one stands");
        }
        if is_last {
            return;
        }
    }
}

/// A gateway looks again whenever others come, go or say something else.
async fn hear(engine: Engine, roster: Arc<dyn Roster>) {
    let shared = &engine.inner.shared;
    loop {
        tokio::select! {
            biased;
            () = shared.draining.cancelled() => return,
            () = roster.changed() => shared.members.notify_one(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn about(ready: bool, running: usize) -> About {
        let offer = Offer {
            ready,
            load: OfferLoad { running, rate: None },
            ..Offer::default()
        };
        About {
            models: [("m".parse().unwrap(), offer)].into(),
            ..About::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_is_told_at_once_and_load_now_and_then() {
        let said = Said::default();
        assert_eq!(said.differs(&about(false, 0)), Some(true));
        said.note(about(false, 0));
        assert_eq!(said.differs(&about(false, 0)), None);
        assert_eq!(said.differs(&about(true, 0)), Some(true));
        assert_eq!(said.differs(&about(false, 3)), None);
        tokio::time::advance(LOAD_EVERY).await;
        assert_eq!(said.differs(&about(false, 0)), None);
        assert_eq!(said.differs(&about(false, 3)), Some(false));
    }
}
