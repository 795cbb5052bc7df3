//! `cresset completions`: a completion script for the shell.

use clap::{Args, Command};
use clap_complete::Shell;

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

/// `cresset` is the whole command line.
pub(crate) fn run(args: &CompletionsArgs, mut cresset: Command) -> Result<Exit, Trouble> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut cresset, "cresset", &mut script);
    out::raw(&script)?;
    Ok(Exit::OK)
}
