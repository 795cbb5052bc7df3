//! What gateways and workers ask of their settings: a store that several servers may share.

use cresset_config::ServerConfig;
use cresset_engine::Role;

use crate::args::settings::SettingsArgs;
use crate::exit::{Exit, Trouble};

/// What `--broker` sets, and what it sets where it names a database.
const BROKER: &str = "celery.broker";
const STORE: &str = "store.url";
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
    if role == Role::Gateway {
        let what = match scheme {
            "" => "--broker is no address".to_owned(),
            scheme => {
                format!("--broker {scheme}://...: a gateway keeps its tasks in PostgreSQL, MySQL or MariaDB")
            }
        };
        return Err(Trouble::new(Exit::USAGE, what).hint(format!("{SHARED_HINT}; {CELERY_HINT}")));
    }
    Ok((settings, false))
}

/// Where a worker takes tasks that are not in a store of ours.
const CELERY_HINT: &str = "Celery's tasks are taken by `cresset worker --celery QUEUE --broker redis://...`";

/// Refuses a store that belongs to one server.
pub(super) fn needs_shared_store(config: &ServerConfig, role: Role) -> Result<(), Trouble> {
    let name = role.name();
    let scheme = config.store.as_ref().map(|url| url.reveal());
    let scheme = scheme.map(|url| url.split_once(':').map_or("", |(scheme, _)| scheme));
    let words = match scheme {
        Some(scheme) if SHARED.contains(&scheme) => return Ok(()),
        Some(_) => {
            format!("store.url is an SQLite database, which belongs to one server: a {name} shares its store")
        }
        None => format!("a {name} shares a store with other servers, and none is named"),
    };
    let hint = format!("{SHARED_HINT}; {CELERY_HINT}; `cresset serve` needs no other server");
    Err(Trouble::new(Exit::USAGE, words).hint(hint))
}
