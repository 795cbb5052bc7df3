//! `cresset env build`: the environments of models before they are served, for images and slow networks.

use std::path::PathBuf;

use clap::Args;
use cresset_config::ModelConfig;
use cresset_runner::{EnvError, EnvManager};
use serde::Serialize;

use super::{CacheArgs, manager, models, trouble};
use crate::args;
use crate::exit::{Exit, Trouble};
use crate::out::{self, Table};

/// Builds the environments that the models in a folder need, and prints each model's interpreter.
///
/// `cresset serve` does the same when it starts; what is built already is used as it is. A model whose environment cannot
/// be built does not stop the others.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset env build models\n  \
    cresset env build examples/digits --cache-dir /var/cache/cresset")]
pub(super) struct BuildArgs {
    /// One model folder, or a folder of them; what the settings say if not given
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cache: CacheArgs,
}

#[derive(Serialize)]
struct Document {
    models: Vec<Built>,
}

#[derive(Serialize)]
struct Built {
    model: String,
    python: Option<String>,
    error: Option<String>,
}

pub(super) fn run(args: &BuildArgs) -> Result<Exit, Trouble> {
    let settings = args.cache.settings(args.dir.as_deref())?;
    let (manager, models) = (manager(&settings), models(&settings.config.models)?);
    let (built, mut troubles) = args::block_on(async { Ok(build(&manager, &models).await) })?;
    if args.json {
        out::json(&Document { models: built })?;
    } else {
        let mut table = Table::new(&["MODEL", "PYTHON"]);
        for built in built {
            table.row([built.model, built.python.unwrap_or_else(|| "-".to_owned())]);
        }
        out::raw(table.render().as_bytes())?;
    }
    // The last one is printed by `main`.
    let last = troubles.pop();
    for trouble in &troubles {
        out::note(&trouble.to_string());
    }
    last.map_or(Ok(Exit::OK), Err)
}

/// One after the other: uv itself fetches many packages at once, and two progress reports at once read badly.
async fn build(manager: &EnvManager, models: &[ModelConfig]) -> (Vec<Built>, Vec<Trouble>) {
    let (mut all, mut troubles) = (Vec::new(), Vec::new());
    // What Celery workers run needs no Python here.
    for model in models.iter().filter(|model| model.celery.call.is_none()) {
        let progress = |line: &str| out::note(&format!("{}: {line}", model.name));
        let found: Result<PathBuf, EnvError> = manager.interpreter(model, &progress).await;
        let (python, error) = match found {
            Ok(python) => (Some(python.display().to_string()), None),
            Err(error) => {
                troubles.push(trouble(&error).detail(format!("the model is `{}`", model.name)));
                (None, Some(error.to_string()))
            }
        };
        all.push(Built {
            model: model.name.to_string(),
            python,
            error,
        });
    }
    (all, troubles)
}
