//! What gateways and workers ask of their settings: a store that several servers may share, or a broker that leads from one to the other.

use std::path::Path;

use cresset_config::{Celery, Effective, Origin, ServerConfig, ServiceUrl, no_redis, render_all};
use cresset_engine::Role;

use crate::args::settings::SettingsArgs;
use crate::exit::{Exit, Trouble};

/// What `--broker` sets, and what it sets where it names a database.
const BROKER: &str = "celery.broker";
const STORE: &str = "store.url";
/// What names a store beside a broker.
const RESULTS: &str = "--results";
/// Addresses of a store that servers share.
const SHARED: [&str; 4] = ["postgresql", "postgres", "mysql", "mariadb"];
const SHARED_HINT: &str = "--broker postgresql://USER@HOST/DATABASE or mysql://USER@HOST/DATABASE, or the same as url in [store] of cresset.toml";

/// The settings with the broker that was given as a flag as what it is: a database is broker and store at once. Says whether it
/// was one.
pub(super) fn broker_as_store(
    mut settings: SettingsArgs,
    role: Role,
) -> Result<(SettingsArgs, bool), Trouble> {
    let Some(broker) = settings.given(BROKER) else {
        return Ok((settings, false));
    };
    // Not shown: it may have a password.
    let scheme = broker.split_once("://").map_or("", |(scheme, _)| scheme);
    if SHARED.contains(&scheme) {
        if settings.given(STORE).is_some() {
            let trouble = Trouble::new(Exit::USAGE, "--broker and --store both name the store");
            return Err(trouble.hint("leave out one of them"));
        }
        settings.rename(BROKER, STORE);
        return Ok((settings, true));
    }
    if BROKERS.contains(&scheme) {
        return Ok((settings, false));
    }
    let name = role.name();
    let what = match (scheme, not_spoken_to(scheme)) {
        ("", _) => "--broker is no address".to_owned(),
        (scheme, Some(why)) => format!("--broker {scheme}://...: {why}"),
        (scheme, None) => {
            format!("--broker {scheme}://...: a {name} takes PostgreSQL, MySQL, MariaDB, Redis or RabbitMQ")
        }
    };
    Err(Trouble::new(Exit::USAGE, what).hint(format!("{SHARED_HINT}; {BROKER_HINT}")))
}

/// Brokers that lead from gateways to workers.
const BROKERS: [&str; 6] = ["redis", "rediss", "sentinel", "amqp", "amqps", "pyamqp"];
const BROKER_HINT: &str =
    "or --broker redis://HOST:6379/0, sentinel://HOST:26379/0?master_name=NAME or amqp://USER@HOST/VHOST";

/// Why a broker that others know is none here, where there is more to say than that.
fn not_spoken_to(scheme: &str) -> Option<&'static str> {
    Some(match scheme {
        "sqlite" => {
            "an SQLite database belongs to one process, also on one machine; `cresset serve` is gateway and worker in one"
        }
        "memory" => "what is in the memory of one process is seen by no other",
        other => return no_redis(other),
    })
}

/// What is between gateways and workers, if it is a broker: one that a flag names, or one that the settings name where no store is
/// shared.
pub(super) fn fleet(effective: &Effective) -> Result<Option<Celery>, Trouble> {
    let config = &effective.config;
    if config.celery.broker.is_none() {
        return Ok(None);
    }
    let by_flag = |key| match effective.origins.get(key) {
        Some(Origin::Flag(flag)) => Some(flag.as_str()),
        _ => None,
    };
    // `--results` is said of what is beside a broker.
    let is_flag = by_flag(BROKER).is_some() || by_flag(STORE) == Some(RESULTS);
    if config.store.as_ref().is_some_and(is_shared) && !is_flag {
        return Ok(None);
    }
    let fleet = config.celery.fleet();
    fleet
        .map(Some)
        .map_err(|mistake| Trouble::new(Exit::DATA, render_all(&[*mistake])))
}

/// Whether several servers may have it.
pub(super) fn is_shared(store: &ServiceUrl) -> bool {
    SHARED.contains(&scheme_of(store.reveal()))
}

/// Refuses `--results` where there is no broker that gateways send by.
pub(super) fn has_no_results(results: Option<&Path>) -> Result<(), Trouble> {
    if results.is_none() {
        return Ok(());
    }
    let trouble = Trouble::new(
        Exit::USAGE,
        "--results: a worker has it beside --broker redis:// or amqp://, for large payloads of its gateways",
    );
    Err(trouble
        .hint("leave it out: a shared store has all payloads; Celery's result backend is --result-backend"))
}

/// Refuses one that no gateway can have, too.
pub(super) fn has_shared_results(config: &ServerConfig) -> Result<(), Trouble> {
    if config.store.as_ref().is_some_and(is_shared) {
        return Ok(());
    }
    let trouble = Trouble::new(
        Exit::USAGE,
        "--results: large payloads go by PostgreSQL, MySQL or MariaDB, or whole by the broker",
    );
    Err(trouble.hint("name the database of the gateways' --results, or leave it out"))
}

/// A worker behind a broker keeps nothing.
pub(super) fn has_no_store(settings: &SettingsArgs) -> Result<(), Trouble> {
    if settings.given(STORE).is_none() {
        return Ok(());
    }
    let trouble = Trouble::new(
        Exit::USAGE,
        "--store: a worker behind a broker keeps no tasks, its gateways do",
    );
    Err(trouble.hint(
        "leave it out; `cresset gateway --results URL` names their store, and --results here the same one, by which large payloads go",
    ))
}

/// The settings with the store that `--results` names.
pub(super) fn results_as_store(
    settings: SettingsArgs,
    results: Option<&Path>,
) -> Result<SettingsArgs, Trouble> {
    if results.is_some() && settings.given(STORE).is_some() {
        let trouble = Trouble::new(Exit::USAGE, "--results and --store both name the store");
        return Err(trouble.hint("leave out one of them"));
    }
    Ok(settings.with(RESULTS, STORE, results))
}

fn scheme_of(url: &str) -> &str {
    url.split_once(':').map_or("", |(scheme, _)| scheme)
}

/// Where a worker takes tasks that are not in a store of ours.
const CELERY_HINT: &str = "Celery's tasks are taken by `cresset worker --celery QUEUE --broker redis://...`";

/// Refuses a store that belongs to one server.
pub(super) fn needs_shared_store(config: &ServerConfig, role: Role) -> Result<(), Trouble> {
    let name = role.name();
    let scheme = config.store.as_ref().map(|url| url.reveal());
    let scheme = scheme.map(scheme_of);
    let words = match scheme {
        Some(scheme) if SHARED.contains(&scheme) => return Ok(()),
        Some(_) => {
            format!("store.url is an SQLite database, which belongs to one server: a {name} shares its store")
        }
        None => format!("a {name} shares a store with other servers, and none is named"),
    };
    let hint = format!("{SHARED_HINT}; {BROKER_HINT}; {CELERY_HINT}; `cresset serve` needs no other server");
    Err(Trouble::new(Exit::USAGE, words).hint(hint))
}
