//! What the HTTP door counts.

use std::time::Duration;

use super::{Metrics, ReasonLabel, RequestLabel};

impl Metrics {
    /// Counts one answered HTTP request. `route` is the matched pattern, never the raw path.
    pub fn http_request(&self, method: &str, route: &str, status: u16, took: Duration) {
        let label = RequestLabel {
            method: method.to_owned(),
            route: route.to_owned(),
            code: status,
        };
        self.requests.get_or_create(&label).inc();
        self.request_seconds.observe(took.as_secs_f64());
    }

    /// A connection was let in.
    pub fn connection_opened(&self) {
        self.connections.inc();
    }

    /// One that had been let in has ended.
    pub fn connection_closed(&self) {
        self.connections.dec();
    }

    /// A connection was turned away.
    pub fn connection_refused(&self, reason: &'static str) {
        self.connections_refused
            .get_or_create(&ReasonLabel { reason })
            .inc();
    }

    /// A connection was closed because its other end kept it waiting.
    pub fn connection_given_up(&self, reason: &'static str) {
        self.connections_given_up
            .get_or_create(&ReasonLabel { reason })
            .inc();
    }
}
