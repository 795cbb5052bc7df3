//! A server from start to stop, in order. Here concrete types are picked: the SQLite store or one in a database, real model processes, the
//! HTTP door; everything else knows them by their ports only.
//!
//! Start: bind the door -> open the store -> start the engine -> start the models (a gateway looks for those of others) -> open the door, and take Celery's tasks and the inbox's. The models only
//! begin to load: the door opens long before they are ready, so that probes and submits are answered meanwhile, and
//! after the engine knows them all, so that no probe sees a server that is ready because it serves nothing yet.
//!
//! A fleet that a broker holds together (`cresset-celery-worker`) is joined before the engine starts, and left when it has stopped; a worker's
//! doors to its models' queues open after the models begin to load, and close first.
//!
//! Stop: no more of Celery's tasks -> not ready, no new work -> finish or give back what is under way -> stop the processes -> close the store ->
//! close the door (a door that was handed over is closed first: the next server has the callers) -> send the last spans. A second signal ends at
//! once; the model processes die with us.

pub(crate) mod canary;
mod celery;
pub(crate) mod door;
mod handed;
mod issuer;
mod keys;
mod models;
mod service;
mod signals;
pub(crate) mod store;
mod telemetry;
mod webhooks;

use std::sync::Arc;
use std::time::{Duration, Instant};

use cresset_celery_worker::{Fleet, host_name};
use cresset_config::{ModelConfig, ServerConfig};
use cresset_engine::{About, Engine, EngineOptions, Role};
use cresset_gateway::RowReader;
use cresset_task::Spans;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub(crate) use self::celery::Between;
use crate::exit::{Exit, Trouble};

/// Expired tasks are looked for at least this often, and at most every `PURGE_LONGEST`.
const PURGE_SHORTEST: Duration = Duration::from_millis(200);
const PURGE_LONGEST: Duration = Duration::from_secs(30);

/// Whatever still blocks a thread when all is stopped (a stuck disk, say) is given this long.
const LAST_GRACE: Duration = Duration::from_secs(1);

/// Serves until told to stop. `fleet`: by a broker that leads from gateways to workers.
pub(crate) fn run(
    config: &ServerConfig,
    models: Vec<ModelConfig>,
    role: Role,
    fleet: Option<Between>,
) -> Result<Exit, Trouble> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("cresset")
        .build()
        .map_err(|error| Trouble::new(Exit::SOFTWARE, format!("cannot start the runtime: {error}")))?;
    let end = runtime.block_on(serve(config, models, role, fleet));
    runtime.shutdown_timeout(LAST_GRACE);
    end
}

/// What this server says of itself to those who share its store.
fn me(role: Role) -> About {
    About {
        role,
        host: host_name(),
        pid: std::process::id(),
        program: env!("CARGO_PKG_VERSION").into(),
        ..About::default()
    }
}

async fn serve(
    config: &ServerConfig,
    models: Vec<ModelConfig>,
    role: Role,
    fleet: Option<Between>,
) -> Result<Exit, Trouble> {
    let began = Instant::now();
    let keys = webhooks::keys(config, &models)?;
    let otlp = telemetry::start()?;
    let mut signals = signals::Signals::install()?;
    let handed_over = handed::HandedOver::take()?;
    let is_handed_over = handed_over.has_callers();
    let entrances = door::open(config, handed_over, role)?;
    let auth = keys::open(config)?;
    let store = store::open(config, role).await?;
    let parcels = match &fleet {
        Some(between) => celery::parcels(between).await?,
        None => None,
    };
    let me = About {
        store: parcels.as_ref().map(|parcels| parcels.store()),
        ..me(role)
    };
    let fleet = celery::fleet(config, fleet, role, parcels)?;
    let purge_every =
        (config.result_ttl.min(config.webhooks.retention) / 4).clamp(PURGE_SHORTEST, PURGE_LONGEST);
    let options = EngineOptions {
        purge_every,
        admission: config.admission.clone(),
        stream_bytes: config.max_stream_bytes,
        spans: otlp.clone().map(|otlp| otlp as Arc<dyn Spans>),
        me,
        roster: fleet.as_ref().map(Fleet::roster),
        reach: fleet.as_ref().and_then(Fleet::reach),
    };
    let engine = Engine::start(store, &options);
    webhooks::start(config, keys, &engine);

    let (tracker, close_door) = (TaskTracker::new(), CancellationToken::new());
    let urls: Vec<String> = entrances.iter().map(ToString::to_string).collect();
    let served = models.len();
    let routes = celery::routes(config, &models)?;
    let behind_doors: Vec<_> = models.iter().cloned().map(Arc::new).collect();
    let (courier, declared) = match role {
        Role::Gateway => (None, models),
        Role::Serve | Role::Worker => (models::start(config, models, &engine)?, Vec::new()),
    };
    engine.join(declared).await;
    // The inbox is a door: who has no other leaves it to those who have.
    if role != Role::Worker {
        engine.take_in(Arc::new(RowReader), config.max_body_bytes);
    }
    let celery = celery::start(config, routes, &engine)?;
    let doors = match role {
        Role::Worker => celery::doors(config, fleet.as_ref(), behind_doors, &engine),
        Role::Serve | Role::Gateway => None,
    };
    keys::warn_if_open(&entrances, auth.as_ref());
    let told = CancellationToken::new();
    if let Some(auth) = &auth {
        tracker.spawn(keys::watch(Arc::clone(&auth.keys), told.clone()));
        if let (Some(issuer), Some(set)) = (&auth.issuer, &config.auth.jwt.keys) {
            tracker.spawn(issuer::watch(Arc::clone(issuer), set.clone(), told.clone()));
        }
    }
    let broker = match (&celery, role) {
        (Some(worker), _) => vec![worker.broker()],
        // A gateway takes tasks all the while.
        (None, Role::Gateway) => Vec::new(),
        (None, Role::Serve | Role::Worker) => fleet.as_ref().map(Fleet::troubles).unwrap_or_default(),
    };
    let options = door::options(config, auth, broker);
    let door = (!entrances.is_empty()).then(|| {
        tracker.spawn(cresset_gateway::serve(
            entrances,
            engine.clone(),
            options,
            close_door.clone(),
        ))
    });
    tracker.spawn(service::tell(engine.clone(), told.clone()));
    tracker.close();
    let started_ms = began.elapsed().as_millis() as u64;
    if urls.is_empty() {
        tracing::info!(
            models = served,
            started_ms,
            "working; --listen opens a door for health and figures"
        );
    }
    for url in urls {
        tracing::info!(url, models = served, started_ms, "listening");
    }

    let signal = tokio::select! {
        signal = signals.next() => signal,
        () = celery::asked_to_stop(celery.as_ref()) => "shutdown by remote control",
    };
    service::stopping();
    if is_handed_over {
        // Whoever comes now waits in the backlog for the server after us.
        close_door.cancel();
    }
    tracing::info!(signal, drain_timeout = ?config.drain_timeout, "stopping; a second signal ends at once");
    let stop = async {
        // First: what it has under way is the engine's, and what comes back goes to the broker.
        let began = Instant::now();
        if let Some(worker) = celery {
            worker.stop().await;
        }
        if let Some(doors) = doors {
            // The gateways are told first: nobody is to count on us any more. What has not begun goes back to the broker.
            engine.drain();
            doors.close().await;
        }
        engine
            .stop(config.drain_timeout.saturating_sub(began.elapsed()))
            .await;
        if let Some(courier) = courier {
            courier.stop().await;
        }
        if let Some(fleet) = fleet {
            fleet.stop().await;
        }
    };
    tokio::select! {
        () = stop => {}
        signal = signals.next() => {
            tracing::warn!(signal, "ended by a second signal; running tasks go back to the queue at the next start");
            return Ok(Exit::TERMINATED);
        }
    }
    close_door.cancel();
    if let Some(door) = door {
        match door.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "door failed"),
            Err(error) => tracing::error!(%error, "door panicked"),
        }
    }
    told.cancel();
    tracker.wait().await;
    telemetry::stop(otlp).await;
    tracing::info!("stopped");
    Ok(Exit::OK)
}
