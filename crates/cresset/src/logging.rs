//! The log of a server: to stderr, as text or as one JSON object a line, filtered by `log.level`.
//!
//! Client commands do not log; they say what there is to say in their output and their errors.

use std::io::IsTerminal as _;

use cresset_config::{LogFormat, ServerConfig};
use tracing_subscriber::EnvFilter;

use crate::exit::{Exit, Trouble};

/// The AMQP library, which is quiet unless a filter names it.
const AMQP: &str = "lapin";
const QUIET: &str = "lapin=off";

/// Starts it; once in a process.
pub(crate) fn start(config: &ServerConfig) -> Result<(), Trouble> {
    let filter = EnvFilter::try_new(&config.log_level).map_err(|error| {
        Trouble::new(
            Exit::DATA,
            format!("log.level `{}` is not a filter: {error}", config.log_level),
        )
        .hint("a level such as `info`, or directives such as `info,cresset_engine=debug`")
    })?;
    // What the AMQP library calls an error is often none: that a queue is not there yet, say. What is one is told by who asked.
    let filter = match QUIET.parse() {
        Ok(quiet) if !config.log_level.contains(AMQP) => filter.add_directive(quiet),
        _ => filter,
    };
    // Colour only for a person who has not asked for none (https://no-color.org).
    let colour =
        std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        // A stderr that is gone must not take the server with it.
        .log_internal_errors(false);
    let started = match config.log_format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .try_init(),
    };
    started.map_err(|error| Trouble::new(Exit::SOFTWARE, format!("cannot start the log: {error}")))
}
