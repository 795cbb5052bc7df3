//! `cresset completions`: a completion script for the shell.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::exit::{Exit, Trouble};
use crate::out;

/// Prints a completion script for a shell.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    cresset completions bash > ~/.local/share/bash-completion/completions/cresset\n  \
    cresset completions zsh > ~/.zfunc/_cresset")]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs) -> Result<Exit, Trouble> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "cresset", &mut script);
    out::raw(&script)?;
    Ok(Exit::OK)
}
