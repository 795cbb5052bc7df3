//! `cresset env list`.

use clap::Args;
use serde::Serialize;

use super::words::{Environment, table};
use super::{CacheArgs, manager, trouble};
use crate::exit::{Exit, Trouble};
use crate::out;

/// Lists the environments that are built.
///
/// SIZE is what an environment takes on the disk; OWN is what removing it would free, for files are shared.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  cresset env list\n  cresset env list --json | jq '.environments[].path'"
)]
pub(super) struct ListArgs {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cache: CacheArgs,
}

#[derive(Serialize)]
struct Document<'a> {
    environments: Vec<Environment<'a>>,
}

pub(super) fn run(args: &ListArgs) -> Result<Exit, Trouble> {
    let all = manager(&args.cache.settings(None)?)
        .list()
        .map_err(|error| trouble(&error))?;
    if args.json {
        out::json(&Document {
            environments: all.iter().map(Environment::of).collect(),
        })?;
    } else {
        out::raw(table(&all).as_bytes())?;
    }
    Ok(Exit::OK)
}
