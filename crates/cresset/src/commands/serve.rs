//! `cresset serve`: settings and models are read and checked before anything starts; then `crate::serve` takes over.

use clap::Args;
use cresset_config::{Celery, Mistake, Origin, render_all};
use cresset_engine::Role;

use super::roles;
use crate::args::settings::{Look, SettingsArgs};
use crate::exit::{Exit, Trouble};
use crate::serve::Between;
use crate::{logging, out, serve};

/// Where callers are answered.
const LISTEN: &str = "server.listen";

/// Serves the models in a folder over HTTP.
///
/// DIR is one model folder, or a folder of them. Flags override environment variables, those override cresset.toml.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset serve examples/digits\n  \
    cresset serve models --listen 0.0.0.0:8700 --data-dir /var/lib/cresset\n  \
    cresset serve --config /etc/cresset.toml --log-format json")]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    settings: SettingsArgs,
}

pub(crate) fn run(args: &ServeArgs) -> Result<Exit, Trouble> {
    look_and_run(args.settings.look(), Role::Serve, None)
}

/// Serves what was found, if nothing is wrong with it; `fleet`: by a broker that leads from gateways to workers.
pub(super) fn look_and_run(look: Look, role: Role, fleet: Option<Celery>) -> Result<Exit, Trouble> {
    let Some(effective) = look.effective.as_ref().filter(|_| look.errors() == 0) else {
        return Err(wrong(&look.mistakes));
    };
    for warning in &look.mistakes {
        out::note(&warning.to_string());
    }
    logging::start(&effective.config)?;
    let mut config = effective.config.clone();
    // It has no door unless one is asked for; the one of the defaults is for callers.
    if role == Role::Worker && effective.origins.get(LISTEN) == Some(&Origin::Default) {
        config.listen.clear();
    }
    let fleet = fleet.map(|broker| Between {
        store: config.store.clone().filter(roles::is_shared),
        broker,
    });
    if role == Role::Worker && fleet.is_some() {
        // What it runs is in the stores of gateways; what is in its own is what it served before it was a worker.
        config.store = None;
    }
    serve::run(&config, look.models, role, fleet)
}

/// All mistakes on stderr, and the end of the command.
pub(super) fn wrong(mistakes: &[Mistake]) -> Trouble {
    out::note(&render_all(mistakes));
    Trouble::new(
        Exit::DATA,
        "the configuration cannot be used; nothing was started",
    )
    .hint("mend what is named above; `cresset check DIR` looks again without starting anything")
}
