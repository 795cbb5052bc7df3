//! `submit --jsonl`: JSON Lines in, JSON Lines out, in order, many in flight, interruptible and resumable.
//!
//! ```text
//!   lines ----> driver ----> worker (one for each line in flight: submit -> journal -> wait)
//!                 |  ^---------- its record
//!                 v
//!               window (puts records back into the input's order) ----> output (a thread that only writes)
//! ```
//!
//! Nothing here grows with the input: lines in flight, records that wait for an earlier one, and bytes held are bounded.
//! The journal remembers which line became which task until its record is written, so a run that is resumed waits for
//! those tasks instead of submitting their lines again. What the journal cannot know is a submit that was cut off between
//! the server's storing it and our reading the answer (a lost connection, a kill -9 in that instant): its line is
//! submitted again, under the same `Idempotency-Key`. Only the driver decides when to stop; workers are told and come back at the next safe place.

mod driver;
mod journal;
mod lines;
mod output;
mod patience;
mod progress;
mod record;
mod signals;
mod store;
mod window;
mod words;
mod worker;

use std::path::PathBuf;
use std::time::Duration;

use cresset_task::RetryTerms;
use serde_json::value::RawValue;

use crate::client::Client;
use crate::exit::{Exit, Trouble};

/// What to do.
#[derive(Debug)]
pub(crate) struct Options {
    /// The server.
    pub(crate) client: Client,
    /// The model's name.
    pub(crate) model: String,
    /// JSON Lines; `-` is stdin.
    pub(crate) source: PathBuf,
    /// Of every task.
    pub(crate) priority: Option<i8>,
    /// Of every task.
    pub(crate) metadata: Option<Box<RawValue>>,
    /// Of every task.
    pub(crate) retry: Option<RetryTerms>,
    /// Lines submitted and not yet ended, at most.
    pub(crate) in_flight: usize,
    /// Where the records go; stdout if not given.
    pub(crate) output: Option<PathBuf>,
    /// Go on with what `output` and its journal hold.
    pub(crate) resume: bool,
    /// Stop when the server has taken no work for this long.
    pub(crate) give_up_after: Duration,
}

/// Runs it all. `Ok` when every line has its record; the exit status says whether all were successes.
pub(crate) fn run(options: Options) -> Result<Exit, Trouble> {
    // Two threads: one for the driver and the workers, one so that a tick and a signal never wait for them.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Trouble::new(Exit::SOFTWARE, format!("cannot start the runtime: {error}")))?;
    let end = runtime.block_on(driver::drive(options));
    // A read of stdin that never comes back must not keep us.
    runtime.shutdown_background();
    end
}
