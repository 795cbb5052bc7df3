//! The load generator: asks one server over HTTP/1.1, measures, and prints one JSON object.
//!
//! It shares the machine with the server, so it must cost little: plain sockets, requests built once, as much of an
//! answer parsed as tells where it ends, and no timer for a single request (a run ends as a whole, answered or not). It
//! knows nothing of Cresset but defaults that can be overridden, so that every server is measured by the same hands.
//! ../README.md shows its use. `ceiling` is no load: it is the server that does nothing, to compare others with.

mod body;
mod ceiling;
mod client;
mod closed;
mod http;
mod open;
mod options;
mod process;
mod report;
mod run;
mod tally;
mod tasks;

use std::process::ExitCode;

use clap::Parser;

use options::{Command, Options};

/// What any mode fails with: this is a program, and its errors are read by people.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let done = match Options::parse().command {
        Command::Closed(options) => {
            run::measure("closed", &options.common, |start| closed::start(&options, start))
        }
        Command::Open(options) => run::measure("open", &options.common, |start| open::start(&options, start)),
        Command::SubmitWait(options) => run::measure("submit-wait", &options.common, |start| {
            tasks::start(&options, start)
        }),
        Command::Ceiling(options) => ceiling::serve(&options).map(|()| None),
    };
    match done {
        Ok(Some(report)) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Ok(None) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
