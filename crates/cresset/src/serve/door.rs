//! The door's entrances, as the settings have them, and its bounds.

use std::io::ErrorKind;
use std::path::Path;

use cresset_config::{Address, ClientIdentity, Listen, ServerConfig};
use cresset_engine::Role;
use cresset_gateway::{Auth, Entrance, GatewayOptions, Identify, SpoolOptions, Tls};
use tokio::sync::watch;

use super::handed::HandedOver;
use crate::exit::{Exit, Trouble};

/// Opens every entrance that was not handed over: what was, for callers or for operators, stands for all of these that the settings
/// name. Those of a worker take nothing from callers. Must be called inside a tokio runtime.
pub(super) fn open(
    config: &ServerConfig,
    handed_over: HandedOver,
    role: Role,
) -> Result<Vec<Entrance>, Trouble> {
    let tls = certificate(config)?;
    let (mut callers, mut operators) = handed_over.entrances(config, tls.as_ref())?;
    if callers.is_empty() {
        callers = open_all(&config.listen, config.socket_mode, tls.as_ref())?;
    }
    if operators.is_empty() {
        operators = open_all(&config.admin_listen, config.socket_mode, tls.as_ref())?;
    }
    if role == Role::Worker {
        return Ok(callers
            .into_iter()
            .chain(operators)
            .map(Entrance::for_lookers)
            .collect());
    }
    if operators.is_empty() {
        return Ok(callers);
    }
    let callers = callers.into_iter().map(Entrance::for_callers);
    Ok(callers.chain(operators).collect())
}

/// The certificate, if there is one. The settings have made sure that there is none without its key.
pub(crate) fn certificate(config: &ServerConfig) -> Result<Option<Tls>, Trouble> {
    let (Some(cert), Some(key)) = (&config.tls_cert, &config.tls_key) else {
        return Ok(None);
    };
    let tls = Tls::load(cert, key).map_err(|error| {
        let setting = if error.file == *key { "server.tls_key" } else { "server.tls_cert" };
        Trouble::new(Exit::DATA, format!("{setting}: {error}"))
            .hint("`server.tls_cert` is the server's certificate and those between it and a root, `server.tls_key` its key, both in PEM")
    })?;
    Ok(Some(tls))
}

fn open_all(listens: &[Listen], mode: u32, tls: Option<&Tls>) -> Result<Vec<Entrance>, Trouble> {
    let open = |listen: &Listen| {
        let entrance = match &listen.at {
            Address::Tcp(at) => Entrance::tcp(*at).map_err(|error| {
                cannot_listen(listen, &error, "choose another address with --listen HOST:PORT")
            }),
            Address::Unix(path) => Entrance::unix(path, mode)
                .map_err(|error| cannot_listen(listen, &error, why_not(path, &error))),
        }?;
        Ok(match tls {
            Some(tls) if listen.is_tls(true) => entrance.in_tls(tls.clone()),
            _ => entrance,
        })
    };
    listens.iter().map(open).collect()
}

fn cannot_listen(listen: &Listen, error: &std::io::Error, hint: &str) -> Trouble {
    Trouble::new(Exit::UNAVAILABLE, format!("cannot listen on {listen}: {error}")).hint(hint)
}

fn why_not(path: &Path, error: &std::io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::AddrInUse if path.is_dir() => "it is a folder; name a file in it",
        ErrorKind::AddrInUse => "another server listens there, or it is no socket",
        ErrorKind::NotFound => "make its folder first",
        _ => "choose another path with --listen unix:PATH",
    }
}

/// A header's name has been checked with the settings.
fn identify(config: &ServerConfig) -> Identify {
    match (config.clients.identify, config.clients.header.parse()) {
        (ClientIdentity::Header, Ok(name)) => Identify::Header(name),
        (ClientIdentity::Off, _) => Identify::Off,
        (ClientIdentity::Address | ClientIdentity::Header, _) => Identify::Address,
    }
}

pub(super) fn options(
    config: &ServerConfig,
    auth: Option<Auth>,
    broker: Vec<watch::Receiver<Option<String>>>,
) -> GatewayOptions {
    GatewayOptions {
        max_body_bytes: config.max_body_bytes,
        max_inflight_bytes: config.max_inflight_body_bytes,
        max_inflight_answer_bytes: config.max_inflight_answer_bytes,
        trusted_proxies: config.trusted_proxies.clone(),
        hsts: config.hsts,
        cors_origins: config.cors_origins.clone(),
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
        auth,
        broker,
        show_tracebacks: config.show_tracebacks,
        drain_timeout: config.drain_timeout,
    }
}
