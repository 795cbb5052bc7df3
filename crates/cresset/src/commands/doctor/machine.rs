//! What the machine, the process and its cgroup allow.

use std::fs;
use std::path::{Path, PathBuf};

use cresset_config::{ModelConfig, ServerConfig};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::process::{Resource, getrlimit};

use super::line::Lines;
use crate::commands::env::size;

/// Files that a server has open besides connections: the store's, sockets and memory of instances, logs.
const FILES_BESIDES: u64 = 256;
/// Of those for each instance.
const FILES_PER_INSTANCE: u64 = 16;

pub(super) fn versions(lines: &mut Lines) {
    // "Linux version 6.1.0 (who built it, and how) ..."
    let kernel = fs::read_to_string("/proc/version").unwrap_or_default();
    let kernel = kernel
        .split(" (")
        .next()
        .unwrap_or_default()
        .replace(" version", "");
    lines.ok(
        "version",
        format!(
            "cresset {}, SQLite {}, {kernel}, {} cores",
            env!("CARGO_PKG_VERSION"),
            cresset_queue_sql::sqlite_version(),
            std::thread::available_parallelism().map_or(0, usize::from),
        ),
    );
}

pub(super) fn limits(config: &ServerConfig, models: &[ModelConfig], lines: &mut Lines) {
    let instances: u64 = models
        .iter()
        .map(|model| (model.instances.count * model.instances.devices.len()) as u64)
        .sum();
    open_files(getrlimit(Resource::Nofile).current, config, instances, lines);
    if models.iter().any(|model| {
        model
            .instances
            .devices
            .iter()
            .any(|device| device.starts_with("cuda"))
    }) {
        locked_memory(getrlimit(Resource::Memlock).current, lines);
    }
    match memfd_create("cresset-doctor", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING) {
        Ok(_) => lines.ok("memory", "memory can be shared with model processes (memfd)"),
        Err(error) => lines.fail(
            "memory",
            format!("memory cannot be shared with model processes: memfd_create: {error}"),
            "allow memfd_create in the container's seccomp profile",
        ),
    }
    cgroup(
        Path::new("/sys/fs/cgroup"),
        "/proc/self/cgroup",
        config,
        instances,
        lines,
    );
}

fn open_files(limit: Option<u64>, config: &ServerConfig, instances: u64, lines: &mut Lines) {
    let wanted = config.max_connections as u64 + FILES_BESIDES + FILES_PER_INSTANCE * instances;
    match limit {
        Some(limit) if limit < wanted => lines.warn(
            "open files",
            format!(
                "this process may open {limit}; {} connections and the rest want {wanted}",
                config.max_connections
            ),
            "raise it (`ulimit -n`, LimitNOFILE= of systemd), or lower server.max_connections",
        ),
        Some(limit) => lines.ok(
            "open files",
            format!("this process may open {limit}, {wanted} are wanted"),
        ),
        None => lines.ok("open files", "not limited"),
    }
}

/// Memory that is shared with a process on a GPU is pinned; drivers differ in whether the limit holds for that.
fn locked_memory(limit: Option<u64>, lines: &mut Lines) {
    match limit {
        Some(limit) => lines.warn(
            "locked memory",
            format!("this process may lock {}", size(limit)),
            "`ulimit -l unlimited` or LimitMEMLOCK=infinity, should the log say that memory could not be pinned",
        ),
        None => lines.ok("locked memory", "not limited"),
    }
}

fn cgroup(root: &Path, own: &str, config: &ServerConfig, instances: u64, lines: &mut Lines) {
    let memory = narrowest(root, own, "memory.max", |text| text.trim().parse::<u64>().ok());
    let cpu = narrowest(root, own, "cpu.max", |text| {
        let (quota, period) = text.split_once(' ')?;
        let (quota, period): (u64, u64) = (quota.parse().ok()?, period.trim().parse().ok()?);
        // In thousandths of a core.
        (quota * 1_000).checked_div(period)
    });
    match memory {
        Some(limit) if limit / 2 < config.max_inflight_body_bytes as u64 => lines.warn(
            "cgroup",
            format!(
                "memory is limited to {}, and bodies in flight alone may take {}",
                size(limit),
                size(config.max_inflight_body_bytes as u64)
            ),
            "raise the limit, or lower server.max_inflight_body_bytes to less than half of it",
        ),
        Some(limit) => lines.ok("cgroup", format!("memory is limited to {}", size(limit))),
        None => lines.ok("cgroup", "memory is not limited"),
    }
    match cpu {
        Some(millicores) if millicores < 1_000 * instances.max(1) => lines.warn(
            "cgroup",
            format!(
                "{}.{:03} cores for {instances} instances",
                millicores / 1_000,
                millicores % 1_000
            ),
            "raise the limit, or set instances.threads = 1 and fewer instances",
        ),
        Some(millicores) => lines.ok(
            "cgroup",
            format!("{}.{:03} cores", millicores / 1_000, millicores % 1_000),
        ),
        None => lines.ok("cgroup", "cores are not limited"),
    }
}

/// The smallest of a limit in our group and those above it (version 2 of cgroups; others tell nothing here).
fn narrowest(root: &Path, own: &str, file: &str, read: impl Fn(&str) -> Option<u64>) -> Option<u64> {
    let own = fs::read_to_string(own).ok()?;
    let group = own.lines().find_map(|line| line.strip_prefix("0::"))?;
    let folder: PathBuf = root.join(group.trim_start_matches('/'));
    folder
        .ancestors()
        .take_while(|folder| folder.starts_with(root))
        .filter_map(|folder| read(&fs::read_to_string(folder.join(file)).ok()?))
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A cgroup of ours within one with these limits.
    fn group(memory: &str, cpu: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("outer/own");
        fs::create_dir_all(&own).unwrap();
        fs::write(own.join("memory.max"), "max\n").unwrap();
        fs::write(own.join("cpu.max"), "max 100000\n").unwrap();
        fs::write(dir.path().join("outer/memory.max"), memory).unwrap();
        fs::write(dir.path().join("outer/cpu.max"), cpu).unwrap();
        fs::write(dir.path().join("self"), "0::/outer/own\n").unwrap();
        dir
    }

    #[test]
    fn limits_read_well_whether_they_do_or_not() {
        let config = ServerConfig::default();
        let mut lines = Lines::default();
        open_files(Some(1_024), &config, 2, &mut lines);
        open_files(Some(1 << 20), &config, 2, &mut lines);
        open_files(None, &config, 2, &mut lines);
        locked_memory(Some(8 << 20), &mut lines);
        locked_memory(None, &mut lines);
        for (memory, cpu) in [
            ("1073741824\n", "150000 100000\n"),
            ("17179869184\n", "400000 100000\n"),
            ("max\n", "max 100000\n"),
        ] {
            let dir = group(memory, cpu);
            let own = dir.path().join("self");
            cgroup(dir.path(), own.to_str().unwrap(), &config, 2, &mut lines);
        }
        insta::assert_snapshot!(lines.render());
    }
}
