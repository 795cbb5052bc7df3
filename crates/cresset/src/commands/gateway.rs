//! `cresset gateway`: doors over a store whose tasks others run.

use std::path::Path;

use clap::Args;
use cresset_engine::Role;

use super::{roles, serve};
use crate::args::settings::SettingsArgs;
use crate::exit::{Exit, Trouble};

/// Takes and answers requests for the models of workers on the same store, or behind the same broker.
///
/// It starts no model: it learns from the workers (`cresset worker`) which models there are, what these take and how they stand.
/// --broker is what leads to them: the database in PostgreSQL, MySQL or MariaDB where the tasks are, or Redis or RabbitMQ. With these two the
/// gateway has a store of its own beside it: --results, or an SQLite database in the data folder. DIR, with models that are to be known before a
/// worker has said so, is not needed. The flags are those of `cresset serve`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset gateway --broker postgresql://cresset@db.internal/cresset --listen 0.0.0.0:8700\n  \
    cresset gateway --broker mysql://cresset@db.internal/cresset\n  \
    cresset gateway --broker redis://redis.internal:6379/0 --listen 0.0.0.0:8700\n  \
    cresset gateway --broker amqps://cresset@rabbit.internal/cresset --results postgresql://cresset@db.internal/cresset\n  \
    cresset gateway --config /etc/cresset.toml")]
pub(crate) struct GatewayArgs {
    /// Where tasks and results are kept, where --broker is Redis or RabbitMQ: the same as --store
    #[arg(long, value_name = "URL")]
    results: Option<String>,
    #[command(flatten)]
    settings: SettingsArgs,
}

pub(crate) fn run(args: &GatewayArgs) -> Result<Exit, Trouble> {
    let results = args.results.as_deref().map(Path::new);
    let given = roles::results_as_store(args.settings.clone(), results)?;
    let (settings, _) = roles::broker_as_store(given, Role::Gateway)?;
    let look = settings.look_without_models();
    let Some(effective) = &look.effective else {
        return serve::look_and_run(look, Role::Gateway, None);
    };
    if effective.config.celery.is_on() {
        let trouble = Trouble::new(
            Exit::USAGE,
            "a gateway runs no models, so it cannot take Celery's tasks",
        );
        return Err(
            trouble.hint("`cresset worker --celery QUEUE` takes them; leave [celery] queues out here")
        );
    }
    let fleet = roles::fleet(effective)?;
    if fleet.is_none() {
        roles::needs_shared_store(&effective.config, Role::Gateway)?;
    }
    serve::look_and_run(look, Role::Gateway, fleet)
}
