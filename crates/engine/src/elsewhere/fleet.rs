//! What a gateway knows of the models that servers on the store run: learned from what these say of themselves.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use cresset_config::{ModelConfig, read_settings};
use cresset_queue::{Member, QueueError};
use cresset_task::{ModelName, Timestamp};
use tokio::time::{Instant, sleep_until};

use super::sight::{in_order, who};
use super::{Elsewhere, Sight, way};
use crate::api::Runner;
use crate::engine::Engine;
use crate::served::{Models, Served};

/// Servers are looked at this often without a bell: one may be lost with its connection.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A model is known for so long after its last server has gone; the store remembers that as long.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

/// Who ran a model last, and how it was described.
struct Last {
    who: String,
    settings: String,
    /// When that one went; `None` while it is there.
    gone_at: Option<Timestamp>,
}

/// A description, read; or why it cannot be.
type Read = Result<Arc<ModelConfig>, String>;

/// All of it.
pub(crate) struct Fleet {
    engine: Engine,
    /// Models that are known though nobody runs them.
    declared: BTreeMap<ModelName, Arc<ModelConfig>>,
    last: BTreeMap<ModelName, Last>,
    read: HashMap<String, Read>,
    has_looked: bool,
}

impl Fleet {
    pub(crate) fn new(engine: Engine, declared: Vec<ModelConfig>) -> Self {
        let declared = declared
            .into_iter()
            .map(|config| (config.name.clone(), Arc::new(config)));
        Self {
            engine,
            declared: declared.collect(),
            last: BTreeMap::new(),
            read: HashMap::new(),
            has_looked: false,
        }
    }

    /// Looks again whenever something may have changed, until the engine drains.
    pub(crate) async fn run(mut self) {
        let engine = self.engine.clone();
        let shared = &engine.inner.shared;
        loop {
            let next = Instant::now() + LOOK_EVERY;
            tokio::select! {
                biased;
                () = shared.draining.cancelled() => return,
                () = shared.members.notified() => {}
                () = sleep_until(next) => {}
            }
            // What was seen last stands until the store can be asked again, and that says what is wrong with it.
            if let Err(error) = self.look().await {
                tracing::debug!(%error, "the other servers cannot be looked for");
            }
        }
    }

    /// Looks once.
    pub(crate) async fn look(&mut self) -> Result<(), QueueError> {
        let members = self.engine.all_members(!self.has_looked).await?;
        self.has_looked = true;
        self.remember(&members, Timestamp::now());
        let known = self.last.keys().chain(self.declared.keys());
        let names: BTreeSet<ModelName> = known.cloned().collect();
        let (mut models, mut unreadable) = (Models::new(), BTreeMap::new());
        let before = self.engine.inner.models.load_full();
        for name in names {
            let runners = in_order(&members, name.as_str());
            match self.describe(&name, &runners) {
                Ok(config) => {
                    let sight = self.sight(&name, runners, &config);
                    let served = self.served(before.get(&name), config, sight);
                    models.insert(name, served);
                }
                Err(why) => {
                    unreadable.insert(name, why);
                }
            }
        }
        for (name, gone) in before.iter().filter(|(name, _)| !models.contains_key(*name)) {
            tracing::info!(model = %name, "the model is not known any more");
            way::retire(&self.engine, gone);
        }
        self.engine.inner.models.store(Arc::new(models));
        self.engine.inner.unreadable.store(Arc::new(unreadable));
        Ok(())
    }

    /// Who ran what last. What nobody has run for long is forgotten.
    fn remember(&mut self, members: &[Member], now: Timestamp) {
        let mut there = BTreeSet::new();
        for member in members {
            let is_there = member.ended_at.is_none() && !member.about.stopping;
            for (name, offer) in &member.about.models {
                if is_there {
                    there.insert(name.clone());
                }
                let last = Last {
                    who: who(&member.about.host, member.about.pid),
                    settings: offer.settings.clone(),
                    gone_at: (!is_there).then(|| member.ended_at.unwrap_or(now)),
                };
                // One that stops is seen again and again while it does; it went when that began.
                match self.last.get_mut(name) {
                    Some(known) if known.who == last.who && known.gone_at.is_some() && !is_there => {}
                    Some(_) if !is_there && there.contains(name) => {}
                    _ => {
                        self.last.insert(name.clone(), last);
                    }
                }
            }
        }
        self.last.retain(|name, last| {
            if !there.contains(name) {
                last.gone_at.get_or_insert(now);
            }
            last.gone_at.is_none_or(|at| now.since(at) < REMEMBERED)
        });
        let told = |settings: &String| {
            let of = |last: &Last| last.settings == *settings;
            self.last.values().any(of)
                || members
                    .iter()
                    .any(|member| member.about.models.values().any(|o| o.settings == *settings))
        };
        self.read.retain(|settings, _| told(settings));
    }

    /// The settings that count: of the first server whose words we know; of the last; or those that we have of our own.
    fn describe(&mut self, name: &ModelName, runners: &[Runner]) -> Read {
        let last = self.last.get(name).map(|last| last.settings.clone());
        let told: Vec<String> = match runners {
            [] => last.into_iter().collect(),
            _ => runners
                .iter()
                .map(|runner| runner.offer.settings.clone())
                .collect(),
        };
        let mut why = None;
        for settings in told {
            match self
                .read
                .entry(settings.clone())
                .or_insert_with(|| read(&settings))
            {
                Ok(config) => return Ok(Arc::clone(config)),
                Err(words) => why = why.or_else(|| Some(words.clone())),
            }
        }
        let own = self.declared.get(name).map(Arc::clone);
        own.ok_or_else(|| why.unwrap_or_else(|| "nobody says what it takes".into()))
    }

    fn sight(&self, name: &ModelName, runners: Vec<Runner>, config: &ModelConfig) -> Sight {
        let mut sight = if runners.is_empty() {
            let last = self.last.get(name);
            Sight::gone(last.and_then(|last| Some((last.who.as_str(), last.gone_at?))))
        } else {
            Sight::of(runners)
        };
        if config.webhook.is_some() && self.engine.inner.shared.courier.get().is_none() {
            sight.is_ready = false;
            sight.state = cresset_runner::PoolState::Failed;
            sight.reason = Some(
                "it has a [webhook], and this gateway has no secrets to sign with: its operator sets `webhooks.secrets_file`"
                    .into(),
            );
            sight.is_closed = true;
        }
        sight
    }

    /// The model as it was, if nothing but its sight has changed.
    fn served(&self, before: Option<&Arc<Served>>, config: Arc<ModelConfig>, sight: Sight) -> Arc<Served> {
        let name = config.name.clone();
        let (state, reason) = (sight.state.name(), sight.reason.clone().unwrap_or_default());
        let kept = before.filter(|served| served.config.settings == config.settings);
        if let Some(served) = kept
            && let Some(elsewhere) = &served.elsewhere
        {
            let was = elsewhere.see(sight, &served.config);
            if was.state.name() != state || was.reason.clone().unwrap_or_default() != reason {
                tracing::info!(model = %name, state, reason, "the model stands otherwise");
            }
            return Arc::clone(served);
        }
        tracing::info!(model = %name, version = config.version, state, reason, "the model is known");
        let metrics = self.engine.inner.metrics.model(name.as_str());
        if let Some(old) = before {
            way::retire(&self.engine, old);
        }
        match &self.engine.inner.reach {
            Some(reach) => way::open(&self.engine, &**reach, config, sight, metrics),
            None => Arc::new(Served::elsewhere(config, Elsewhere::new(sight, None), metrics).0),
        }
    }
}

fn read(settings: &str) -> Read {
    read_settings(settings).map(Arc::new).map_err(|mistakes| {
        let words: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        format!(
            "this server cannot read how those that run it describe it (is it of an older version?): {}",
            words.join("; ")
        )
    })
}
