//! The bounds of the door.

use std::time::Duration;

use crate::client::Identify;

/// What the door allows. [`GatewayOptions::default`] is what `cresset serve` uses unless told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatewayOptions {
    /// The largest request body. Default 64 MiB.
    pub max_body_bytes: usize,
    /// Request bodies held at once, over all connections; above it requests are refused with `server_busy`. Never
    /// less than `max_body_bytes`, or the largest body could not be read at all. Default 1 GiB.
    pub max_inflight_bytes: usize,
    /// The longest `?wait=`. Default 5 min.
    pub max_wait: Duration,
    /// Open connections at most; further ones wait in the kernel's backlog. Default 20,000.
    pub max_connections: usize,
    /// How clients are told apart, for the bounds that the engine sets each. Default not at all.
    pub identify: Identify,
    /// Tracebacks of failed tasks are answered to callers. Default false.
    pub show_tracebacks: bool,
    /// A request's head must be there this long after the connection opened or the last answer was sent: it bounds slow
    /// writers and idle keep-alive alike. Default 75 s, above the 60 s for which nginx keeps idle upstream connections,
    /// so that the proxy is the one who closes.
    pub header_read_timeout: Duration,
    /// A body may pause this long between two pieces. Default 30 s.
    pub body_read_timeout: Duration,
    /// After the stop signal, requests in flight may take this long; then their connections are cut. Default 30 s.
    pub drain_timeout: Duration,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self {
            max_body_bytes: 64 << 20,
            max_inflight_bytes: 1 << 30,
            max_wait: Duration::from_secs(300),
            max_connections: 20_000,
            identify: Identify::Off,
            show_tracebacks: false,
            header_read_timeout: Duration::from_secs(75),
            body_read_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(30),
        }
    }
}
