//! SIGTERM and SIGINT, as a stream.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::exit::{Exit, Trouble};

/// The signals that ask a server to stop.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Takes the signals over from their default action.
    pub(crate) fn install() -> Result<Self, Trouble> {
        let take = |kind| {
            signal(kind)
                .map_err(|error| Trouble::new(Exit::SOFTWARE, format!("cannot listen for signals: {error}")))
        };
        Ok(Self {
            terminate: take(SignalKind::terminate())?,
            interrupt: take(SignalKind::interrupt())?,
        })
    }

    /// Waits for the next one and names it. Cancel-safe.
    pub(crate) async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
