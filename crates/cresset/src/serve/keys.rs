//! The keys of a server, where it takes requests with a key only: read at the start, looked at again every second.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use cresset_config::ServerConfig;
use cresset_gateway::{Auth, Entrance};
use cresset_keys::{KeyFile, Keyring};
use tokio_util::sync::CancellationToken;

use crate::exit::{Exit, Trouble};

/// A key that was made or revoked counts after at most this.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// When keys were last used is written at most so often, in looks: it is for finding those that nobody needs.
const LOOKS_PER_NOTE: u32 = 60;

/// Who may come in, if the settings say that keys are needed.
pub(super) fn open(config: &ServerConfig) -> Result<Option<Auth>, Trouble> {
    if !config.auth.enabled {
        if config.auth.jwt.keys.is_some() {
            tracing::warn!(
                "`auth.jwt_keys` does nothing without `auth.enabled = true`: nobody is asked who they are"
            );
        }
        return Ok(None);
    }
    let file = KeyFile::at(config.keys_file());
    let keys = Keyring::open(file).map_err(|error| {
        Trouble::new(Exit::DATA, error.to_string())
            .hint("move the file away and make new keys with `cresset keys create`, or put back a copy")
    })?;
    let path = keys.file().path().display();
    if keys.is_empty() && config.auth.jwt.keys.is_none() {
        tracing::warn!(
            %path,
            "there is no key yet, so nobody can come in; make one with `cresset keys create`"
        );
    } else {
        tracing::info!(%path, keys = keys.len(), "requests need a key");
    }
    Ok(Some(Auth {
        keys: Arc::new(keys),
        issuer: super::issuer::of(&config.auth.jwt),
        open_metrics: config.auth.open_metrics,
    }))
}

/// Says so, loudly, where anybody in the network may do anything.
pub(super) fn warn_if_open(entrances: &[Entrance], auth: Option<&Auth>) {
    let reachable = entrances.iter().filter_map(Entrance::open_port);
    for at in reachable.take_while(|_| auth.is_none()) {
        tracing::warn!(
            %at,
            "ANYBODY WHO CAN REACH THIS ADDRESS can submit tasks, read all results and cancel them: keys are not needed. \
             Set `auth.enabled = true`, listen on 127.0.0.1, or keep the network closed (SECURITY.md)"
        );
    }
}

/// Looks at the file until `stop`, and notes when keys were last used.
pub(super) async fn watch(keys: Arc<Keyring>, stop: CancellationToken) {
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut count = 0_u32;
    loop {
        let is_over = tokio::select! {
            _ = looks.tick() => false,
            () = stop.cancelled() => true,
        };
        count = count.wrapping_add(1);
        let is_note = is_over || count.is_multiple_of(LOOKS_PER_NOTE);
        let ring = Arc::clone(&keys);
        let work = move || {
            look(&ring);
            if is_note {
                note(&ring);
            }
        };
        // An error means that it panicked, which the panic hook has told; the next look is a new one.
        let _told = tokio::task::spawn_blocking(work).await;
        if is_over {
            return;
        }
    }
}

fn look(keys: &Keyring) {
    match keys.refresh() {
        Ok(true) if keys.is_empty() => {
            tracing::error!(path = %keys.file().path().display(), "the file of keys is gone or empty: nobody can come in");
        }
        Ok(true) => tracing::info!(keys = keys.len(), "keys have changed"),
        Ok(false) => {}
        Err(error) => tracing::error!(
            error = &error as &dyn Error,
            "the file of keys cannot be read; the keys of before stay"
        ),
    }
}

fn note(keys: &Keyring) {
    let seen = keys.used();
    if seen.is_empty() {
        return;
    }
    let noted = keys.file().last_used().and_then(|mut used| {
        let before = used.clone();
        for (id, at) in seen {
            let newest = used.entry(id).or_insert(at);
            *newest = (*newest).max(at);
        }
        if used == before {
            return Ok(());
        }
        keys.file().note_used(&used)
    });
    if let Err(error) = noted {
        tracing::error!(
            error = &error as &dyn Error,
            "when keys were last used cannot be noted"
        );
    }
}
