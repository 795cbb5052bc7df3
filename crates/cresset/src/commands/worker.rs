//! `cresset worker`: `cresset serve` that insists on being a Celery worker.

use clap::Args;

use super::serve;
use crate::args::settings::SettingsArgs;
use crate::exit::{Exit, Trouble};

/// Answers an existing Celery application's tasks with the models in a folder.
///
/// To the application this is a Celery worker: it takes tasks from the queues of --celery, answers those that a model names in
/// its model.toml ([celery] tasks) or that cresset.toml maps to one ([celery.tasks]), and stores the results where the
/// application looks for them. HTTP, with health and metrics, is served too. DIR and the flags are those of `cresset serve`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset worker models --celery inference --broker redis://127.0.0.1:6379/0 --result-backend redis://127.0.0.1:6379/0\n  \
    cresset worker examples/digits --celery celery --broker redis://localhost --celery-tasks proj.tasks.classify=digits")]
pub(crate) struct WorkerArgs {
    #[command(flatten)]
    settings: SettingsArgs,
}

pub(crate) fn run(args: &WorkerArgs) -> Result<Exit, Trouble> {
    let look = args.settings.look();
    if let Some(effective) = &look.effective
        && !effective.config.celery.is_on()
    {
        let trouble = Trouble::new(Exit::USAGE, "no queue is named, and a worker needs one");
        return Err(trouble.hint("--celery QUEUE[,QUEUE], or queues = \"...\" in [celery] of cresset.toml"));
    }
    serve::look_and_run(look)
}
