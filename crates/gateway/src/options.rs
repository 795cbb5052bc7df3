//! The bounds of the door.

use std::time::Duration;

use cresset_config::Network;
use tokio::sync::watch;

use crate::auth::Auth;
use crate::client::Identify;
use crate::upload::SpoolOptions;

/// What the door allows. [`GatewayOptions::default`] is what `cresset serve` uses unless told.
#[derive(Clone, Debug)]
pub struct GatewayOptions {
    /// The largest request body. Default 64 MiB.
    pub max_body_bytes: usize,
    /// Request bodies in memory at once, over all connections; above it requests are refused with `server_busy`. Never
    /// less than `max_body_bytes`, or the largest body could not be read at all. Default 1 GiB.
    pub max_inflight_bytes: usize,
    /// Answers of 64 KiB and more on their way to their readers at once; above it `server_busy`. Default 1 GiB.
    pub max_inflight_answer_bytes: usize,
    /// Answers of so many bytes and more are packed, where they are text and their readers ask for that. Default 4 KiB.
    pub compress_above: usize,
    /// Where large bodies are while they come. Default in memory, which they may fill.
    pub spool: Option<SpoolOptions>,
    /// The longest `?wait=`. Default 5 min.
    pub max_wait: Duration,
    /// Open connections at most; further ones are told so and closed. Default 20,000.
    pub max_connections: usize,
    /// The same for each address; IPv6 by networks of 64 bits. Default not bounded.
    pub max_connections_per_address: Option<usize>,
    /// Proxies that are believed what they say of their callers. Default none.
    pub trusted_proxies: Vec<Network>,
    /// Origins of pages that may ask from a browser; `*` is all. Default none.
    pub cors_origins: Vec<String>,
    /// Browsers that came in TLS are told to come in nothing else for so long. Default they are not told.
    pub hsts: Option<Duration>,
    /// How clients are told apart, for the bounds that the engine sets each. Default not at all.
    pub identify: Identify,
    /// Who may come in. Default anybody.
    pub auth: Option<Auth>,
    /// Why what work comes from cannot be used, each while that is so: the server is not ready then. Default there is none.
    pub broker: Vec<watch::Receiver<Option<String>>>,
    /// Tracebacks of failed tasks are answered to callers. Default false.
    pub show_tracebacks: bool,
    /// A connection on which nothing is asked is closed after this. Default 75 s, above the 60 s for which nginx keeps idle
    /// upstream connections, so that the proxy is the one who closes.
    pub idle_timeout: Duration,
    /// From the first byte of a request's head to its last. Default 10 s.
    pub head_timeout: Duration,
    /// A body must move on by `min_rate` in each such span in which it is waited for. Default 30 s.
    pub body_timeout: Duration,
    /// The same for answers and those who read them. Default 30 s.
    pub write_timeout: Duration,
    /// Bytes a second, at least, of a body on its way in or an answer on its way out. Default 1 KiB.
    pub min_rate: u64,
    /// After the stop signal, requests in flight may take this long; then their connections are cut. Default 30 s.
    pub drain_timeout: Duration,
}

impl Default for GatewayOptions {
    fn default() -> Self {
        Self {
            max_body_bytes: 64 << 20,
            max_inflight_bytes: 1 << 30,
            max_inflight_answer_bytes: 1 << 30,
            compress_above: 4 << 10,
            spool: None,
            max_wait: Duration::from_secs(300),
            max_connections: 20_000,
            max_connections_per_address: None,
            trusted_proxies: Vec::new(),
            cors_origins: Vec::new(),
            hsts: None,
            identify: Identify::Off,
            auth: None,
            broker: Vec::new(),
            show_tracebacks: false,
            idle_timeout: Duration::from_secs(75),
            head_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            min_rate: 1 << 10,
            drain_timeout: Duration::from_secs(30),
        }
    }
}
