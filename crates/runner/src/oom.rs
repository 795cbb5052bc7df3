//! Was it the kernel, for lack of memory? A guess from counters.
//!
//! The kernel tells the parent only "signal 9". It also counts the processes it killed for memory: those of our cgroup in
//! `memory.events` (version 2) or `memory.oom_control` (version 1), those of the whole machine in `/proc/vmstat`. The
//! first of these that can be read is watched. A SIGKILL that we did not send, while the counter went up by a kill that
//! nobody has claimed, is taken for an out-of-memory kill. The guess is wrong when somebody sends `kill -9` just after
//! the kernel has killed another process; the label in a log line is then wrong, and nothing else: both reasons are
//! treated alike.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Watches the counter. One for all instances, so that one kill is not taken for two.
#[derive(Debug)]
pub(crate) struct OomWatch {
    source: Option<PathBuf>,
    accounted: Mutex<u64>,
}

impl OomWatch {
    /// Starts from the counter as it is now.
    pub(crate) fn new() -> Self {
        // Without the file there is no cgroup counter, and the machine's is next.
        let cgroups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let own = cgroups.lines().filter_map(cgroup_counter);
        Self::over(
            own.chain([PathBuf::from("/proc/vmstat")])
                .find(|path| counter(path).is_some()),
        )
    }

    fn over(source: Option<PathBuf>) -> Self {
        let watch = Self {
            source,
            accounted: Mutex::new(0),
        };
        watch.forget();
        watch
    }

    fn now(&self) -> u64 {
        self.source.as_deref().and_then(counter).unwrap_or(0)
    }

    /// True when the kernel killed something for memory that nobody has claimed yet.
    pub(crate) fn claim(&self) -> bool {
        let mut accounted = self.accounted.lock().unwrap_or_else(PoisonError::into_inner);
        let rose = self.now() > *accounted;
        *accounted += u64::from(rose);
        rose
    }

    /// Gives up kills that nobody claimed: they were of other processes. Called when an instance comes up.
    pub(crate) fn forget(&self) {
        *self.accounted.lock().unwrap_or_else(PoisonError::into_inner) = self.now();
    }
}

fn counter(path: &Path) -> Option<u64> {
    // A source that cannot be read (another cgroup version, a container that hides it) says nothing.
    let text = std::fs::read_to_string(path).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// The counter file of one line of `/proc/self/cgroup`.
fn cgroup_counter(line: &str) -> Option<PathBuf> {
    let mut fields = line.splitn(3, ':');
    let (hierarchy, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
    let inside = path.trim_start_matches('/');
    if hierarchy == "0" && controllers.is_empty() {
        Some(Path::new("/sys/fs/cgroup").join(inside).join("memory.events"))
    } else if controllers.split(',').any(|c| c == "memory") {
        Some(
            Path::new("/sys/fs/cgroup/memory")
                .join(inside)
                .join("memory.oom_control"),
        )
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kill_is_claimed_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("memory.events");
        std::fs::write(&path, "low 0\noom 7\noom_kill 3\n").unwrap();
        let watch = OomWatch::over(Some(path.clone()));
        assert!(!watch.claim(), "kills before our time are not ours");
        std::fs::write(&path, "oom 9\noom_kill 5\n").unwrap();
        assert!(watch.claim());
        assert!(watch.claim());
        assert!(!watch.claim());
        std::fs::write(&path, "oom_kill 6\n").unwrap();
        watch.forget();
        assert!(!watch.claim());
    }

    #[test]
    fn a_machine_that_hides_its_counters_never_says_out_of_memory() {
        assert!(!OomWatch::over(None).claim());
    }

    #[test]
    fn cgroup_lines_of_both_versions_are_understood() {
        let path = |line| cgroup_counter(line).map(|p| p.to_string_lossy().into_owned());
        assert_eq!(
            path("0::/user.slice/x").as_deref(),
            Some("/sys/fs/cgroup/user.slice/x/memory.events")
        );
        assert_eq!(
            path("4:memory:/a/b").as_deref(),
            Some("/sys/fs/cgroup/memory/a/b/memory.oom_control")
        );
        assert_eq!(path("2:cpu,cpuacct:/"), None);
        assert_eq!(path("nonsense"), None);
    }
}
