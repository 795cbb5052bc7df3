//! The `cresset` program: reads the command line, runs one command, turns its end into an exit status.
//!
//! Only here are concrete types picked and is the process ended; everything a command does is in `commands`, `jsonl` and
//! `serve`. Data goes to stdout, everything else to stderr (`out`); every exit status is in `exit`.

mod args;
mod cli;
mod client;
mod commands;
mod exit;
mod input;
mod jsonl;
mod logging;
mod out;
mod serve;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use cli::{Cli, Command};
use exit::{Exit, Trouble};

/// Ten thousand connections that wait take a quarter less memory than with glibc's (docs/decisions/0017-allocator.md).
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return said_by_clap(&error),
    };
    match run(cli.command) {
        Ok(exit) => exit.number().into(),
        Err(trouble) => {
            if !trouble.is_quiet() {
                out::note(&trouble.to_string());
            }
            trouble.exit().number().into()
        }
    }
}

fn run(command: Command) -> Result<Exit, Trouble> {
    match command {
        Command::Serve(args) => commands::serve::run(&args),
        Command::Gateway(args) => commands::gateway::run(&args),
        Command::Worker(args) => commands::worker::run(&args),
        Command::Check(args) => commands::check::run(&args),
        Command::Doctor(args) => commands::doctor::run(&args),
        Command::Init(args) => commands::init::run(&args),
        Command::Config(args) => commands::config::run(&args),
        Command::Env(args) => commands::env::run(&args),
        Command::Store(args) => commands::store::run(&args),
        Command::Keys(args) => commands::keys::run(*args),
        Command::Submit(args) => commands::submit::run(*args),
        Command::Batch(args) => commands::batch::run(&args),
        Command::Status(args) => commands::status::run(&args),
        Command::Result(args) => commands::result::run(&args),
        Command::Cancel(args) => commands::cancel::run(&args),
        Command::Tasks(args) => commands::tasks::run(&args),
        Command::Dead(args) => commands::dead::run(&args),
        Command::Webhooks(args) => commands::webhooks::run(&args),
        Command::Models(args) => commands::models::run(&args),
        Command::Workers(args) => commands::workers::run(&args),
        Command::Completions(args) => commands::completions::run(&args, Cli::command()),
    }
}

/// Help and version are data and a success; anything else is a wrong command line.
fn said_by_clap(error: &clap::Error) -> ExitCode {
    let exit = if error.use_stderr() { Exit::USAGE } else { Exit::OK };
    // A closed pipe (`cresset --help | head`) is no error; nor is there anywhere left to say so.
    let _ = error.print();
    exit.number().into()
}
