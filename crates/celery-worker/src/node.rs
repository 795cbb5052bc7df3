//! Who we are: our name, our process, the machine's load.

use cresset_celery::Identity;

/// `cresset@` and the machine's name.
#[must_use]
pub fn default_node() -> String {
    format!("cresset@{}", host_name())
}

/// The name of this machine.
pub fn host_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match host.trim() {
        "" => "localhost",
        host => host,
    }
    .to_owned()
}

/// Who tells events.
pub(crate) fn identity(node: &str) -> Identity {
    Identity {
        node: node.to_owned(),
        pid: std::process::id(),
        version: env!("CARGO_PKG_VERSION").into(),
    }
}

/// The load of the last 1, 5 and 15 minutes; zero where it is not known.
pub(crate) fn load() -> [f64; 3] {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let mut numbers = text.split_whitespace().map(|word| word.parse().unwrap_or(0.0));
    std::array::from_fn(|_| numbers.next().unwrap_or(0.0))
}
