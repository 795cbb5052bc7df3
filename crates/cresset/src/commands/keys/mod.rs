//! `cresset keys`: who may come in. Works on the file of keys, beside a running server or without one: the server sees within a
//! second that it has changed. Nothing of it goes over the network, so that no key can make another.

mod create;
mod list;
mod revoke;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use cresset_keys::{KeyFile, KeyFileError};

use super::serve;
use crate::args::settings::{FileArgs, SettingsArgs};
use crate::exit::{Exit, Trouble};

/// Makes API keys, lists and revokes them.
///
/// They count where the server is told that requests need a key: `auth.enabled` in cresset.toml, or --auth. A running server
/// sees within a second what was changed here.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset keys create --name 'web shop' --tenant shop --scope submit --scope read\n  \
    cresset keys list\n  \
    cresset keys revoke 0123456789abcdef")]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    Create(create::CreateArgs),
    List(list::ListArgs),
    Revoke(revoke::RevokeArgs),
}

/// Where the keys are.
#[derive(Debug, Args)]
struct PlaceArgs {
    /// The folder with the task store; what the settings say if not given
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The file of keys; what the settings say if not given, keys.json in that folder unless they do
    #[arg(long, value_name = "FILE")]
    auth_keys: Option<PathBuf>,
    #[command(flatten)]
    file: FileArgs,
}

impl PlaceArgs {
    /// The file of keys, and whether these settings ask for any.
    fn keys(&self) -> Result<(KeyFile, bool), Trouble> {
        SettingsArgs::of(self.file.clone(), None)
            .with("--data-dir", "server.data_dir", self.data_dir.as_deref())
            .with("--auth-keys", "auth.keys", self.auth_keys.as_deref())
            .resolve()
            .map(|effective| {
                let config = effective.config;
                (KeyFile::at(config.keys_file()), config.auth.enabled)
            })
            .map_err(|mistakes| serve::wrong(&mistakes))
    }
}

pub(crate) fn run(args: KeysArgs) -> Result<Exit, Trouble> {
    match args.command {
        KeysCommand::Create(args) => create::run(args),
        KeysCommand::List(args) => list::run(&args),
        KeysCommand::Revoke(args) => revoke::run(&args),
    }
}

fn trouble(error: &KeyFileError) -> Trouble {
    let exit = match error {
        KeyFileError::Io(..) => Exit::IO,
        KeyFileError::Damaged(..) => Exit::DATA,
        KeyFileError::Full(_) => Exit::CANNOT_CREATE,
    };
    Trouble::new(exit, error.to_string())
}
