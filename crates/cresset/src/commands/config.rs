//! `cresset config`: what is set, and by what; and a file to start from.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use cresset_config::{Row, default_cresset_toml};
use serde::Serialize;

use super::{init, serve};
use crate::args::settings::SettingsArgs;
use crate::exit::{Exit, Trouble};
use crate::out;

/// Shows the effective settings of a server, or writes a settings file.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  cresset config show\n  cresset config init")]
pub(crate) struct ConfigArgs {
    #[command(subcommand)]
    command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
enum ConfigCommand {
    Show(Box<ShowArgs>),
    Init(WriteArgs),
}

/// Prints every setting with its effective value and where it comes from.
///
/// Takes the flags of `cresset serve`, so that one sees what they would do. The output reads as a cresset.toml.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset config show\n  \
    CRESSET_LISTEN=0.0.0.0:80 cresset config show --json\n  \
    cresset config show --result-ttl 7d | grep ttl")]
struct ShowArgs {
    /// Print one JSON document
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    settings: SettingsArgs,
}

/// Writes a commented cresset.toml in which everything has its default.
///
/// Never writes over a file that is there.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  cresset config init\n  cresset config init /etc/cresset.toml")]
struct WriteArgs {
    /// Where to
    #[arg(default_value = "cresset.toml")]
    file: PathBuf,
}

#[derive(Serialize)]
struct Document {
    settings: Vec<Row>,
}

pub(crate) fn run(args: &ConfigArgs) -> Result<Exit, Trouble> {
    match &args.command {
        ConfigCommand::Show(args) => show(args),
        ConfigCommand::Init(args) => {
            init::write_new(&args.file, &default_cresset_toml())?;
            out::note(&format!("wrote {}", args.file.display()));
            Ok(Exit::OK)
        }
    }
}

fn show(args: &ShowArgs) -> Result<Exit, Trouble> {
    let effective = args
        .settings
        .resolve()
        .map_err(|mistakes| serve::wrong(&mistakes))?;
    for warning in &effective.warnings {
        out::note(&warning.to_string());
    }
    if args.json {
        out::json(&Document {
            settings: effective.rows(),
        })?;
    } else {
        out::raw(effective.to_toml().as_bytes())?;
    }
    Ok(Exit::OK)
}
