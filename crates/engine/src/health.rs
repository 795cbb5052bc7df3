//! What the health report says, of each model and of the whole: made of the states of processes, of progress, and of the
//! store. It changes nothing.

use cresset_queue::Role;
use cresset_runner::{InstanceState, PoolState, PoolStatus};
use cresset_task::{ModelName, Timestamp};

use crate::api::{Health, ModelHealth, ServerState};
use crate::engine::Engine;
use crate::served::{Served, reason};

impl Engine {
    /// How things stand.
    #[must_use]
    pub fn health(&self) -> Health {
        let shared = &self.inner.shared;
        let mut models: Vec<_> = self.inner.models.load().values().map(|s| s.health()).collect();
        models.extend(self.unreadable());
        let stopping = shared.draining.is_cancelled();
        let store = shared.store.trouble();
        let inbox = (shared.inbox.get()).and_then(|inbox| inbox.state.trouble(Timestamp::now()));
        let is_broken = store.is_some() || inbox.as_ref().is_some_and(|inbox| inbox.is_broken);
        // Without its models a gateway still answers for all tasks there are; every other one would say the same of them.
        let are_elsewhere = self.inner.me.role == Role::Gateway;
        let ready = !stopping && !is_broken && (are_elsewhere || models.iter().all(|model| model.ready));
        Health {
            ready,
            state: state_of(stopping, is_broken, &models),
            stopping,
            store,
            inbox: inbox.map(|inbox| inbox.words),
            models,
        }
    }

    /// Models that others run and this server cannot read the description of.
    fn unreadable(&self) -> Vec<ModelHealth> {
        let unreadable = self.inner.unreadable.load();
        let health = |(name, why): (&ModelName, &String)| ModelHealth {
            name: name.clone(),
            state: PoolState::Down,
            ready: false,
            reason: Some(why.clone()),
        };
        unreadable.iter().map(health).collect()
    }
}

/// The whole, from its parts.
fn state_of(stopping: bool, store_refuses: bool, models: &[ModelHealth]) -> ServerState {
    let all = |state: PoolState| models.iter().all(|model| model.state == state);
    let is_well = |model: &ModelHealth| is_well(model.state);
    let serves = |model: &ModelHealth| is_well(model) || model.state == PoolState::Degraded;
    if stopping {
        ServerState::Stopping
    } else if !store_refuses && models.iter().all(is_well) {
        ServerState::Ready
    } else if models.iter().any(serves) {
        ServerState::Degraded
    } else if !models.is_empty() && all(PoolState::Starting) {
        ServerState::Starting
    } else {
        ServerState::Down
    }
}

/// It does what is asked of it: one that is unloaded, or being loaded for work, does it a little later.
fn is_well(state: PoolState) -> bool {
    matches!(state, PoolState::Ready | PoolState::Unloaded | PoolState::Loading)
}

impl Served {
    /// How the model stands.
    pub(crate) fn health(&self) -> ModelHealth {
        if let Some(elsewhere) = &self.elsewhere {
            return elsewhere.health(&self.config.name);
        }
        let status = self.executor.status();
        let (state, ready, reason) = match status.state {
            PoolState::Ready => match (
                self.progress.stalled().or(self.canary.trouble()),
                missing(&status),
            ) {
                (Some(trouble), _) => (PoolState::Degraded, false, Some(trouble)),
                // What is left serves, if more slowly.
                (None, Some(missing)) => (PoolState::Degraded, true, Some(missing)),
                (None, None) => (PoolState::Ready, true, None),
            },
            state => (state, is_well(state), Some(reason(&status))),
        };
        ModelHealth {
            name: self.config.name.clone(),
            state,
            ready,
            reason,
        }
    }
}

/// Of instances that were up, or should be, and are not: how many, and why one of them is not.
fn missing(status: &PoolStatus) -> Option<String> {
    let is_missing = |state: &InstanceState, restarts: u64| match state {
        InstanceState::Waiting { .. } => true,
        // The first start of one is no fault.
        InstanceState::Starting => restarts > 0,
        InstanceState::Ready | InstanceState::Unloaded | InstanceState::Stopped => false,
    };
    let all = status.instances.len();
    let missing = status
        .instances
        .iter()
        .filter(|i| is_missing(&i.state, i.restarts));
    let count = missing.count();
    let why = status.last_failure.as_ref().filter(|_| count > 0)?;
    Some(format!("{count} of {all} processes are down: the last one {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn model(state: PoolState) -> ModelHealth {
        ModelHealth {
            name: "m".parse().unwrap(),
            state,
            ready: state == PoolState::Ready,
            reason: None,
        }
    }

    #[test]
    fn the_whole_is_ready_degraded_starting_or_down() {
        use PoolState::{Degraded, Down, Failed, Loading, Ready, Starting, Unloaded};
        let state = |states: &[PoolState]| {
            let models: Vec<_> = states.iter().copied().map(model).collect();
            state_of(false, false, &models).name()
        };
        assert_eq!(state(&[]), "ready");
        assert_eq!(state(&[Ready, Ready]), "ready");
        assert_eq!(state(&[Ready, Down]), "degraded");
        assert_eq!(state(&[Degraded]), "degraded");
        assert_eq!(state(&[Ready, Starting]), "degraded");
        assert_eq!(state(&[Unloaded, Loading]), "ready", "they take work");
        assert_eq!(state(&[Ready, Unloaded]), "ready");
        assert_eq!(state(&[Unloaded, Failed]), "degraded");
        assert_eq!(state(&[Starting, Starting]), "starting");
        assert_eq!(state(&[Down, Failed]), "down");
        assert_eq!(state(&[Starting, Failed]), "down");
        assert_eq!(state_of(false, true, &[model(Ready)]).name(), "degraded");
        assert_eq!(state_of(false, true, &[]).name(), "down");
        assert_eq!(state_of(true, false, &[model(Ready)]).name(), "stopping");
    }
}
