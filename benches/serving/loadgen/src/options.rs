//! The command line.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Measures an inference server over HTTP and prints one JSON object.
#[derive(Debug, Parser)]
#[command(name = "cresset-loadgen", version)]
pub(crate) struct Options {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Each connection asks again as soon as it is answered.
    Closed(Closed),
    /// Requests at a fixed rate, whatever the server does; latency counts from when each should have started.
    Open(Open),
    /// Each connection submits a task, then asks for its result until it has ended; latency is both together.
    SubmitWait(SubmitWait),
    /// Serve POST on any path: parse {"input": [64 numbers]}, answer a constant.
    Ceiling(Ceiling),
}

/// What every kind of load takes.
#[derive(Clone, Debug, Args)]
pub(crate) struct Common {
    /// Where to post, such as http://127.0.0.1:8700/v1/models/mlp/predict.
    pub(crate) url: String,
    /// A file whose lines are bodies; they are sent in turn.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "body",
        required_unless_present = "body"
    )]
    pub(crate) lines: Option<PathBuf>,
    /// A file that is a body. Several are sent in turn.
    #[arg(long, value_name = "FILE")]
    pub(crate) body: Vec<PathBuf>,
    /// The Content-Type of the bodies.
    #[arg(long, default_value = "application/json")]
    pub(crate) content_type: String,
    /// A further header, "Name: value".
    #[arg(long, value_name = "HEADER")]
    pub(crate) header: Vec<String>,
    /// Connections, kept alive. In open loop: the most requests on their way at once.
    #[arg(long, short, default_value_t = 64)]
    pub(crate) connections: usize,
    /// Threads of the generator. One sends beyond 100,000 small requests a second.
    #[arg(long, default_value_t = 1)]
    pub(crate) threads: usize,
    /// Seconds that count.
    #[arg(long, short, default_value = "5", value_parser = seconds)]
    pub(crate) duration: Duration,
    /// Seconds before them that do not.
    #[arg(long, short, default_value = "1", value_parser = seconds)]
    pub(crate) warmup: Duration,
    /// A process of the server. Its CPU time, children included, and its own memory are reported. May be repeated.
    #[arg(long)]
    pub(crate) pid: Vec<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Closed {
    #[command(flatten)]
    pub(crate) common: Common,
}

#[derive(Debug, Args)]
pub(crate) struct Open {
    #[command(flatten)]
    pub(crate) common: Common,
    /// Requests a second.
    #[arg(long)]
    pub(crate) rate: f64,
    /// How they are spread in time.
    #[arg(long, value_enum, default_value_t = Arrivals::Poisson)]
    pub(crate) arrivals: Arrivals,
    /// Seconds after the end in which answers to requests that began before it are still counted.
    #[arg(long, default_value = "5", value_parser = seconds)]
    pub(crate) drain: Duration,
    /// Requests that may wait for a free connection; later ones are not sent, and counted.
    #[arg(long, default_value_t = 100_000)]
    pub(crate) backlog: usize,
    /// The start of the random numbers: the same seed gives the same arrivals.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

/// How requests are spread in time.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Arrivals {
    /// Independent of each other, as those of many callers.
    Poisson,
    /// Evenly.
    Uniform,
}

#[derive(Debug, Args)]
pub(crate) struct SubmitWait {
    #[command(flatten)]
    pub(crate) common: Common,
    /// The key of the answer to a submit under which the task's id stands.
    #[arg(long, default_value = "task_id")]
    pub(crate) id_key: String,
    /// Where to ask for the result; {id} is the task's id.
    #[arg(long, default_value = "/v1/tasks/{id}?wait=30s")]
    pub(crate) result_path: String,
    /// Text in an answer that says that the task has succeeded.
    #[arg(long, default_value = "\"SUCCESS\"")]
    pub(crate) done: String,
    /// Text in an answer that says that it never will. May be repeated.
    #[arg(long, default_values = ["\"FAILURE\"", "\"REVOKED\""])]
    pub(crate) failed: Vec<String>,
    /// Milliseconds between two questions for a task that has not ended; the first comes after as many. 0 is for
    /// servers that wait themselves.
    #[arg(long, default_value_t = 0)]
    pub(crate) poll_ms: u64,
}

#[derive(Debug, Args)]
pub(crate) struct Ceiling {
    /// Where to listen; the address is printed.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// Threads that serve.
    #[arg(long, default_value_t = 2)]
    pub(crate) threads: usize,
}

/// A number of seconds, bounded so that a slip of the finger does not load a machine for days.
fn seconds(text: &str) -> Result<Duration, String> {
    const LONGEST: f64 = 3600.0;
    match text.parse::<f64>() {
        Ok(number) if (0.0..=LONGEST).contains(&number) => Ok(Duration::from_secs_f64(number)),
        _ => Err(format!("not a number of seconds from 0 to {LONGEST}")),
    }
}
