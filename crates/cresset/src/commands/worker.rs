//! `cresset worker`: models without doors, for gateways on the same store or behind the same broker; or `cresset serve` that insists on being a Celery worker.

use std::path::Path;

use clap::Args;
use cresset_engine::Role;

use super::{roles, serve};
use crate::args::settings::SettingsArgs;
use crate::exit::{Exit, Trouble};

/// Runs the models in a folder for gateways, or for an existing Celery application.
///
/// With --broker postgresql://... it runs the tasks that gateways (`cresset gateway`, `cresset serve`) have stored there; with redis:// or
/// amqp:// those that gateways send by that broker, each model by a queue of its own; with --results beside it, the same as the gateways',
/// payloads that are large for a message go by that database. It opens no door but the one of --listen, if that
/// is given: health, figures and who else is there.
///
/// With --celery it is a Celery worker to the application: it takes tasks from these queues, answers those that a model names in
/// its model.toml ([celery] tasks) or that cresset.toml maps to one ([celery.tasks]), and stores the results where the
/// application looks for them. HTTP, with health and metrics, is served too. DIR and the flags are those of `cresset serve`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset worker models --broker postgresql://cresset@db.internal/cresset\n  \
    cresset worker models --broker redis://redis.internal:6379/0\n  \
    cresset worker models --broker amqps://cresset@rabbit.internal/cresset --results postgresql://cresset@db.internal/cresset\n  \
    cresset worker models --celery inference --broker redis://127.0.0.1:6379/0 --result-backend redis://127.0.0.1:6379/0\n  \
    cresset worker examples/digits --celery celery --broker redis://localhost --celery-tasks proj.tasks.classify=digits")]
pub(crate) struct WorkerArgs {
    /// Where gateways keep tasks, in PostgreSQL, MySQL or MariaDB, where --broker is Redis or RabbitMQ: large inputs and results go by it
    #[arg(long, value_name = "URL")]
    results: Option<String>,
    #[command(flatten)]
    settings: SettingsArgs,
}

pub(crate) fn run(args: &WorkerArgs) -> Result<Exit, Trouble> {
    let results = args.results.as_deref().map(Path::new);
    let given = roles::results_as_store(args.settings.clone(), results)?;
    let (settings, is_store) = roles::broker_as_store(given, Role::Worker)?;
    let look = settings.look();
    let Some(effective) = &look.effective else {
        return serve::look_and_run(look, Role::Worker, None);
    };
    let celery = &effective.config.celery;
    if celery.is_on() {
        roles::has_no_results(results)?;
        if is_store {
            let trouble = Trouble::new(
                Exit::USAGE,
                "--broker names a database, which is no broker of Celery",
            );
            return Err(trouble.hint(
                "leave out --celery for a worker of gateways; or name Celery's broker, redis:// or amqp://, and the store with --store",
            ));
        }
        return serve::look_and_run(look, Role::Serve, None);
    }
    let fleet = roles::fleet(effective)?;
    match fleet {
        None => {
            roles::needs_shared_store(&effective.config, Role::Worker)?;
            roles::has_no_results(results)?;
        }
        Some(_) => {
            roles::has_no_store(&args.settings)?;
            if results.is_some() {
                roles::has_shared_results(&effective.config)?;
            }
        }
    }
    serve::look_and_run(look, Role::Worker, fleet)
}
