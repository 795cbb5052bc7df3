//! `cresset env`: the interpreters that Cresset builds from `requirements.txt`.

mod build;
mod list;
mod prune;
mod words;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use cresset_config::{Effective, ModelConfig, discover};
use cresset_runner::{EnvError, EnvManager};

pub(crate) use self::words::size;
use super::serve;
use crate::args::settings::{FileArgs, SettingsArgs};
use crate::exit::{Exit, Trouble};

/// Lists, builds and removes the Python environments of models.
///
/// An environment belongs to the contents of a requirements.txt; models that ask for the same share one.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset env list\n  \
    cresset env build models\n  \
    cresset env prune models")]
pub(crate) struct EnvArgs {
    #[command(subcommand)]
    command: EnvCommand,
}

#[derive(Debug, Subcommand)]
enum EnvCommand {
    List(list::ListArgs),
    Build(build::BuildArgs),
    Prune(prune::PruneArgs),
}

/// Where the environments are.
#[derive(Debug, Args)]
struct CacheArgs {
    /// Where environments are kept; what the settings say if not given
    #[arg(long, value_name = "DIR")]
    cache_dir: Option<PathBuf>,
    #[command(flatten)]
    file: FileArgs,
}

impl CacheArgs {
    fn settings(&self, models: Option<&Path>) -> Result<Effective, Trouble> {
        SettingsArgs::of(self.file.clone(), models)
            .with("--cache-dir", "server.cache_dir", self.cache_dir.as_deref())
            .resolve()
            .map_err(|mistakes| serve::wrong(&mistakes))
    }
}

pub(crate) fn run(args: &EnvArgs) -> Result<Exit, Trouble> {
    match &args.command {
        EnvCommand::List(args) => list::run(args),
        EnvCommand::Build(args) => build::run(args),
        EnvCommand::Prune(args) => prune::run(args),
    }
}

fn manager(settings: &Effective) -> EnvManager {
    EnvManager::new(&settings.config.cache_dir)
}

fn models(dir: &Path) -> Result<Vec<ModelConfig>, Trouble> {
    discover(dir).map_err(|mistakes| serve::wrong(&mistakes))
}

/// What went wrong with an environment, as the end of the command.
fn trouble(error: &EnvError) -> Trouble {
    use cresset_runner::env::BuildFailure;
    let exit = match error {
        EnvError::Build {
            failure: BuildFailure::Network,
            ..
        } => Exit::TRY_AGAIN,
        EnvError::Build {
            failure: BuildFailure::DiskFull,
            ..
        }
        | EnvError::Io { .. } => Exit::IO,
        EnvError::NoUv { .. } | EnvError::NoPython { .. } => Exit::UNAVAILABLE,
        EnvError::Build { .. }
        | EnvError::Named { .. }
        | EnvError::Requirements { .. }
        | EnvError::TooDeep { .. } => Exit::DATA,
    };
    let text = error.to_string();
    let mut lines = text.lines();
    let mut trouble = Trouble::new(exit, lines.next().unwrap_or_default());
    for line in lines {
        trouble = trouble.detail(line);
    }
    trouble
}
