//! `cresset gateway`: doors over a store whose tasks others run.

use clap::Args;
use cresset_engine::Role;

use super::{roles, serve};
use crate::args::settings::SettingsArgs;
use crate::exit::{Exit, Trouble};

/// Takes and answers requests for the models of workers on the same store.
///
/// It starts no model: it learns from the workers on its store (`cresset worker`, `cresset serve`) which models there are, what
/// these take and how they stand. --broker is where the tasks are, in PostgreSQL, MySQL or MariaDB. DIR, with models that are to be known before a
/// worker has said so, is not needed. The flags are those of `cresset serve`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset gateway --broker postgresql://cresset@db.internal/cresset --listen 0.0.0.0:8700\n  \
    cresset gateway --broker mysql://cresset@db.internal/cresset\n  \
    cresset gateway --config /etc/cresset.toml")]
pub(crate) struct GatewayArgs {
    #[command(flatten)]
    settings: SettingsArgs,
}

pub(crate) fn run(args: &GatewayArgs) -> Result<Exit, Trouble> {
    let (settings, _) = roles::broker_as_store(args.settings.clone(), Role::Gateway)?;
    let look = settings.look_without_models();
    if let Some(effective) = &look.effective {
        if effective.config.celery.is_on() {
            let trouble = Trouble::new(
                Exit::USAGE,
                "a gateway runs no models, so it cannot take Celery's tasks",
            );
            return Err(
                trouble.hint("`cresset worker --celery QUEUE` takes them; leave [celery] queues out here")
            );
        }
        roles::needs_shared_store(&effective.config, Role::Gateway)?;
    }
    serve::look_and_run(look, Role::Gateway)
}
