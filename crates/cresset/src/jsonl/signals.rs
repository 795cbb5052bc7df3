//! SIGINT and SIGTERM, as the exit status that each leads to.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::{Exit, Trouble};

/// The signals that stop a run.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// From now on they no longer end the process.
    pub(super) fn new() -> Result<Self, Trouble> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Trouble::new(Exit::SOFTWARE, format!("cannot listen for signals: {error}")))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// The next one. Cancel-safe.
    pub(super) async fn next(&mut self) -> Exit {
        tokio::select! {
            _ = self.interrupt.recv() => Exit::INTERRUPTED,
            _ = self.terminate.recv() => Exit::TERMINATED,
        }
    }
}
