//! `cresset env prune`: environments that nobody needs any more.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use cresset_runner::EnvManager;
use serde::Serialize;

use super::words::{Environment, size, table};
use super::{CacheArgs, manager, models, trouble};
use crate::args;
use crate::exit::{Exit, Trouble};
use crate::out;

/// Removes environments: all but those that the models in DIR need, or with --all every one.
///
/// An environment that a running process uses always stays. What is removed is built again when it is needed.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("which").required(true).args(["dir", "all"]))]
#[command(after_help = "Examples:\n  \
    cresset env prune models\n  \
    cresset env prune --all --downloads")]
pub(super) struct PruneArgs {
    /// Keep what the models in this folder need (one model folder, or a folder of them)
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Keep none but those in use
    #[arg(long)]
    all: bool,
    /// Also remove the downloaded packages: the next build fetches them again
    #[arg(long)]
    downloads: bool,
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cache: CacheArgs,
}

#[derive(Serialize)]
struct Document<'a> {
    removed: Vec<Environment<'a>>,
    in_use: Vec<Environment<'a>>,
    bytes_freed: u64,
}

pub(super) fn run(args: &PruneArgs) -> Result<Exit, Trouble> {
    let settings = args.cache.settings(args.dir.as_deref())?;
    let manager = manager(&settings);
    let keep = match &args.dir {
        Some(dir) => args::block_on(needed(&manager, dir))?,
        None => HashSet::new(),
    };
    let pruned = manager.prune(&keep).map_err(|error| trouble(&error))?;
    let mut freed: u64 = pruned.removed.iter().map(|info| info.bytes_own).sum();
    if args.downloads {
        freed += manager.clear_downloads().map_err(|error| trouble(&error))?;
    }
    if args.json {
        let all = |infos| -> Vec<Environment<'_>> { <[_]>::iter(infos).map(Environment::of).collect() };
        out::json(&Document {
            removed: all(&pruned.removed),
            in_use: all(&pruned.in_use),
            bytes_freed: freed,
        })?;
    } else {
        if !pruned.removed.is_empty() {
            out::raw(table(&pruned.removed).as_bytes())?;
        }
        let in_use = match pruned.in_use.len() {
            0 => String::new(),
            count => format!("; {count} in use stayed"),
        };
        out::note(&format!(
            "removed {}, freed {}{in_use}",
            pruned.removed.len(),
            size(freed)
        ));
    }
    Ok(Exit::OK)
}

/// The environments of the models in `dir`. One that cannot be told stops the command: it might be removed otherwise.
async fn needed(manager: &EnvManager, dir: &Path) -> Result<HashSet<cresset_runner::EnvKey>, Trouble> {
    let mut keys = HashSet::new();
    for model in models(dir)? {
        let progress = |line: &str| out::note(&format!("{}: {line}", model.name));
        let key = manager.key(&model, &progress).await.map_err(|error| {
            trouble(&error).detail(format!(
                "so it is not known what `{}` needs; nothing was removed",
                model.name
            ))
        })?;
        keys.extend(key);
    }
    Ok(keys)
}
