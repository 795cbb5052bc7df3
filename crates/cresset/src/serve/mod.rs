//! A server from start to stop, in order. Here concrete types are picked: the SQLite store, real model processes, the
//! HTTP door; everything else knows them by their ports only.
//!
//! Start: bind the door -> open the store -> start the engine -> start the models -> open the door. The models only
//! begin to load: the door opens long before they are ready, so that probes and submits are answered meanwhile, and
//! after the engine knows them all, so that no probe sees a server that is ready because it serves nothing yet.
//!
//! Stop: not ready, no new work -> finish or give back what is under way -> stop the processes -> close the store ->
//! close the door (a door that was handed over is closed first: the next server has the callers). A second signal ends at
//! once; the model processes die with us.

pub(crate) mod canary;
mod models;
mod service;
mod signals;
mod store;

pub(crate) use self::store::DATABASE;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use cresset_config::{ClientIdentity, ModelConfig, ServerConfig};
use cresset_engine::{Engine, EngineOptions};
use cresset_gateway::{GatewayOptions, Identify, SpoolOptions};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::exit::{Exit, Trouble};

/// Expired tasks are looked for at least this often, and at most every `PURGE_LONGEST`.
const PURGE_SHORTEST: Duration = Duration::from_millis(200);
const PURGE_LONGEST: Duration = Duration::from_secs(30);

/// Whatever still blocks a thread when all is stopped (a stuck disk, say) is given this long.
const LAST_GRACE: Duration = Duration::from_secs(1);

/// Serves until told to stop.
pub(crate) fn run(config: &ServerConfig, models: Vec<ModelConfig>) -> Result<Exit, Trouble> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("cresset")
        .build()
        .map_err(|error| Trouble::new(Exit::SOFTWARE, format!("cannot start the runtime: {error}")))?;
    let end = runtime.block_on(serve(config, models));
    runtime.shutdown_timeout(LAST_GRACE);
    end
}

async fn serve(config: &ServerConfig, models: Vec<ModelConfig>) -> Result<Exit, Trouble> {
    let began = Instant::now();
    let mut signals = signals::Signals::install()?;
    let (listener, is_handed_over) = match service::handed_over()? {
        Some(listener) => (listener, true),
        None => (bind(config.listen)?, false),
    };
    let store = store::open(config)?;
    let purge_every = (config.result_ttl / 4).clamp(PURGE_SHORTEST, PURGE_LONGEST);
    let options = EngineOptions {
        purge_every,
        admission: config.admission.clone(),
    };
    let engine = Engine::start(store, &options);

    let (tracker, close_door) = (TaskTracker::new(), CancellationToken::new());
    let at = listener
        .local_addr()
        .map_err(|error| cannot_listen(config.listen, &error))?;
    let served = models.len();
    models::start(config, models, &engine)?;
    let door = cresset_gateway::serve(listener, engine.clone(), door_options(config), close_door.clone());
    let door = tracker.spawn(door);
    let told = CancellationToken::new();
    tracker.spawn(service::tell(engine.clone(), told.clone()));
    tracker.close();
    tracing::info!(
        url = %format_args!("http://{at}"),
        models = served,
        started_ms = began.elapsed().as_millis() as u64,
        "listening"
    );

    let signal = signals.next().await;
    service::stopping();
    if is_handed_over {
        // Whoever comes now waits in the backlog for the server after us.
        close_door.cancel();
    }
    tracing::info!(signal, drain_timeout = ?config.drain_timeout, "stopping; a second signal ends at once");
    tokio::select! {
        () = engine.stop(config.drain_timeout) => {}
        signal = signals.next() => {
            tracing::warn!(signal, "ended by a second signal; running tasks go back to the queue at the next start");
            return Ok(Exit::TERMINATED);
        }
    }
    close_door.cancel();
    match door.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::error!(%error, "door failed"),
        Err(error) => tracing::error!(%error, "door panicked"),
    }
    told.cancel();
    tracing::info!("stopped");
    Ok(Exit::OK)
}

fn bind(listen: SocketAddr) -> Result<TcpListener, Trouble> {
    cresset_gateway::bind(listen).map_err(|error| cannot_listen(listen, &error))
}

fn cannot_listen(listen: SocketAddr, error: &std::io::Error) -> Trouble {
    Trouble::new(Exit::UNAVAILABLE, format!("cannot listen on {listen}: {error}"))
        .hint("choose another address with --listen HOST:PORT")
}

/// A header's name has been checked with the settings.
fn identify(config: &ServerConfig) -> Identify {
    match (config.clients.identify, config.clients.header.parse()) {
        (ClientIdentity::Header, Ok(name)) => Identify::Header(name),
        (ClientIdentity::Off, _) => Identify::Off,
        (ClientIdentity::Address | ClientIdentity::Header, _) => Identify::Address,
    }
}

fn door_options(config: &ServerConfig) -> GatewayOptions {
    GatewayOptions {
        max_body_bytes: config.max_body_bytes,
        max_inflight_bytes: config.max_inflight_body_bytes,
        max_inflight_answer_bytes: config.max_inflight_answer_bytes,
        compress_above: config.compress_above,
        spool: Some(SpoolOptions {
            // The store's lock on the data folder is ours by now, so nobody else's bodies are there.
            dir: config.data_dir.join("spool"),
            above: config.spool_above,
            max_bytes: config.max_spool_bytes,
        }),
        max_wait: config.max_wait,
        max_connections: config.max_connections,
        max_connections_per_address: config.max_connections_per_address.map(|n| n as usize),
        idle_timeout: config.idle_timeout,
        head_timeout: config.head_timeout,
        body_timeout: config.body_timeout,
        write_timeout: config.write_timeout,
        min_rate: config.min_rate,
        identify: identify(config),
        show_tracebacks: config.show_tracebacks,
        drain_timeout: config.drain_timeout,
    }
}
